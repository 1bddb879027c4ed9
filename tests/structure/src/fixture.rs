//! Writes small checkouts for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::StructureError;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A checkout in a temporary folder that is removed when this is dropped.
#[derive(Debug)]
pub struct FixtureTree {
    root: PathBuf,
}

impl FixtureTree {
    /// Writes files, given as path and text.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_files(files: &[(&str, &str)]) -> Result<Self, StructureError> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dbbalance-structure-{}-{count}", std::process::id());
        let tree = Self {
            root: std::env::temp_dir().join(name),
        };
        for (path, text) in files {
            tree.write_file(path, text)?;
        }
        Ok(tree)
    }

    /// Writes one more file, or writes it again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, path: &str, text: &str) -> Result<(), StructureError> {
        let file = self.root.join(path);
        let folder = file.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, text))
            .map_err(|cause| StructureError::at_file(&file, &cause))
    }

    /// Returns the folder of the checkout.
    #[must_use]
    pub fn root_folder(&self) -> &Path {
        &self.root
    }
}

impl Drop for FixtureTree {
    fn drop(&mut self) {
        // What stays behind in the temporary folder harms no later test.
        let _ = fs::remove_dir_all(&self.root);
    }
}
