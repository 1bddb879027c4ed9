//! Locks on folders: on a testbed's own while it is changed, on that of all testbeds while the machine's settings are.
//!
//! The folder itself is locked, so that no lock file stays behind. A waiter whose folder was removed meanwhile notices
//! that its lock is on nothing, and tries again.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{interrupt, wait};

/// Longer than any `up` or `down`.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(3);

/// Makes the folder if need be, and locks it.
pub fn lock_new_folder(folder: &Path) -> Result<File> {
    loop {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}; are you root?", folder.display()))?;
        if let Some(lock) = lock_existing_folder(folder)? {
            return Ok(lock);
        }
    }
}

/// Locks the folder, if it exists.
pub fn lock_existing_folder(folder: &Path) -> Result<Option<File>> {
    loop {
        let file = match File::open(folder) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot open {}", folder.display())),
        };
        acquire_lock(&file, folder)?;
        let same = fs::metadata(folder)
            .is_ok_and(|now| file.metadata().is_ok_and(|held| held.ino() == now.ino()));
        if same {
            return Ok(Some(file));
        }
    }
}

fn acquire_lock(file: &File, folder: &Path) -> Result<()> {
    let what = format!("the lock on {}", folder.display());
    let mut told = false;
    let attempt = || match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => {
            if !told {
                eprintln!(
                    "waiting for {}, which another process changes",
                    folder.display()
                );
                told = true;
            }
            Ok(None)
        }
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot lock {}", folder.display()))
        }
    };
    // Asked again and again instead of waiting in the kernel: an interrupt must end the wait, unless it is
    // what we are cleaning up after.
    if interrupt::is_interrupted() {
        wait::poll_uninterrupted(&what, PATIENCE, attempt)
    } else {
        wait::poll_until(&what, PATIENCE, attempt)
    }
}

/// The testbeds below the folder of all testbeds.
pub fn list_testbeds(root: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", root.display())),
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}
