//! Errors of reading a checkout.

use std::fmt;
use std::path::Path;

/// Says which file could not be read or parsed, and why.
#[derive(Debug)]
pub struct StructureError(String);

impl StructureError {
    /// Makes an error from a whole sentence.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Makes an error about a file.
    #[must_use]
    pub fn at_file(file: &Path, cause: &dyn fmt::Display) -> Self {
        Self(format!("{}: {cause}", file.display()))
    }
}

impl fmt::Display for StructureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StructureError {}
