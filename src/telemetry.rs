//! Log lines: filter and form, set once.
//!
//! To standard error, so that `crd` can be piped. Nothing here knows what is logged.

use std::io::IsTerminal;

use thiserror::Error;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Why logging cannot begin.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error(
        "the log filter {filter:?} cannot be read: use directives such as info,dbbalance=debug"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// It was begun before.
    #[error("logging was begun twice")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Begins logging.
///
/// # Errors
/// When the filter cannot be read, or logging was begun before.
pub fn init_logging(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let begun = if json {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder.try_init()
    };
    begun.map_err(TelemetryError::Twice)
}
