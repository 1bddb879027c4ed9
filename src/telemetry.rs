//! Sets up logging, once: the filter and the format of log lines.
//!
//! They go to standard error, so that the output of `crd` can be piped.

use std::io::IsTerminal;

use thiserror::Error;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::LogFormat;

/// Describes why logging cannot start.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter cannot be parsed.
    #[error("invalid log filter {filter:?} (examples: info, info,dbbalance=debug)")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was started before.
    #[error("logging is already started")]
    Twice(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging to standard error. A terminal gets text, anything else JSON, unless `format` says otherwise.
///
/// # Errors
/// When the filter cannot be parsed, or logging was started before.
pub fn init_logging(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    build_subscriber(json, terminal, filter, std::io::stderr)?
        .try_init()
        .map_err(|error| TelemetryError::Twice(Box::new(error)))
}

/// Builds the subscriber that formats log lines. In JSON, the fields of the innermost span are in the object `span`.
pub(crate) fn build_subscriber<W>(
    json: bool,
    colours: bool,
    filter: &str,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter {
        filter: filter.to_owned(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours);
    Ok(if json {
        Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        )
    } else {
        Box::new(builder.finish())
    })
}
