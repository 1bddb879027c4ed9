//! The cache of built programs and images: outside the checkout, in folders named by version.
//!
//! Gives paths and a lock; never builds or deletes anything itself. An entry counts only under its final name, so
//! whoever fills it writes under [`ToolCache::temporary`] and renames.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

/// The cache folder.
#[derive(Debug, Clone)]
pub struct ToolCache {
    root: PathBuf,
}

impl ToolCache {
    /// `$DBBALANCE_CACHE`, else `$XDG_CACHE_HOME/dbbalance`, else `$HOME/.cache/dbbalance`.
    pub fn locate() -> Result<Self> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let root = set("DBBALANCE_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("dbbalance")))
            .or_else(|| set("HOME").map(|p| p.join(".cache/dbbalance")))
            .ok_or_else(|| {
                anyhow!("no cache folder: set DBBALANCE_CACHE (or HOME) to a writable folder")
            })?;
        fs::create_dir_all(&root).with_context(|| {
            format!(
                "cannot make the cache folder {}; set DBBALANCE_CACHE",
                root.display()
            )
        })?;
        Ok(Self { root })
    }

    /// A path inside the cache.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// A name beside `target` that is not taken for the finished file.
    #[must_use]
    pub fn temporary(target: &Path) -> PathBuf {
        let name = target
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        target.with_file_name(format!(".{name}.{}.partial", std::process::id()))
    }

    /// Removes what an interrupted build left of `target`. The caller holds the lock on its kind.
    pub fn sweep(target: &Path) {
        let (Some(folder), Some(name)) = (target.parent(), target.file_name()) else {
            return;
        };
        let prefix = format!(".{}.", name.to_string_lossy());
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            let found = entry.file_name().to_string_lossy().into_owned();
            if found.starts_with(&prefix) && found.ends_with(".partial") {
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }

    /// Serialises builders of one kind: two of them would do the same minutes of work twice.
    pub fn lock(&self, kind: &str) -> Result<File> {
        let path = self.root.join(format!(".{kind}.lock"));
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!(
                    "waiting for the cache {}, which another process fills",
                    self.root.display()
                );
                file.lock()
                    .with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(e)) => {
                return Err(e).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(file)
    }
}
