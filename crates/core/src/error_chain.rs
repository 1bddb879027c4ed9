//! Formats an error with its causes on one line, for logs, conditions and command output.

use std::error::Error;

/// Formats an error and its causes as `error: cause: cause of the cause`, each once.
///
/// Many libraries repeat the cause in their own message. A cause whose text the line already contains is left out, as
/// is an empty one.
#[must_use]
pub fn format_error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
