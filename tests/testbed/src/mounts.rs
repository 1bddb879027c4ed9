//! Lists mounts and unmounts below a folder. Never touches a mount outside that folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, umount2};

use crate::wait;

/// Mount points at or below `folder`, in the order of mounting.
pub fn list_mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let table =
        std::fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(|escaped| PathBuf::from(unescape_path(escaped)))
        .filter(|path| path.starts_with(folder))
        .collect())
}

/// The kernel writes space, tab, newline and backslash as octal escapes.
fn unescape_path(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Unmounts everything at or below `folder`, the last mounted first, until the table shows none.
pub fn unmount_below(folder: &Path) -> Result<()> {
    wait::poll_uninterrupted(
        &format!("unmounting all below {}", folder.display()),
        Duration::from_secs(10),
        || {
            let mut left = list_mounts_below(folder)?;
            for path in left.drain(..).rev() {
                // Detached: a dying process may hold it for a moment; the table read again is what counts.
                let _ = umount2(&path, MntFlags::MNT_DETACH);
            }
            Ok(list_mounts_below(folder)?.is_empty().then_some(()))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::unescape_path;

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape_path("/run/a\\040b"), "/run/a b");
    }
}
