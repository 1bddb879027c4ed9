//! Changes to the machine outside of a testbed's folder: some settings, and a few paths that containerd, CNI and the
//! kubelet have built in. Saved by the first testbed to start, restored by the last to stop.
//!
//! Callers hold the lock on the folder of all testbeds. A path that existed before the first testbed is not touched;
//! nothing else of the machine may be changed by a testbed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::layout::Layout;

/// kubelet's `setupKernelTunables` (pkg/kubelet/cm), all it may write.
const SETTINGS: &[&str] = &[
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

/// containerd's shims put their sockets here.
pub const SHIM_SOCKETS: &str = "/run/containerd/s";
/// CNI's library keeps the result of each attachment here.
const CNI_RESULTS: &str = "/var/lib/cni/results";
/// The kubelet links each container's log here.
const CONTAINER_LOGS: &str = "/var/log/containers";

/// Built-in paths, those within others first. Folders go only if they are empty.
const PATHS: &[&str] = &[
    SHIM_SOCKETS,
    "/run/containerd",
    // libmount's, for mounts with options of its own.
    "/run/mount",
    CNI_RESULTS,
    "/var/lib/cni",
    // The kubelet's socket for device plugins, whatever its root folder is.
    "/var/lib/kubelet/device-plugins/kubelet.sock",
    "/var/lib/kubelet/device-plugins/kubelet_internal_checkpoint",
    "/var/lib/kubelet/device-plugins",
    "/var/lib/kubelet",
    CONTAINER_LOGS,
];

#[derive(Debug, Serialize, Deserialize)]
struct SavedMachineState {
    boot: String,
    settings: BTreeMap<String, String>,
    absent: Vec<PathBuf>,
}

fn state_file(root: &Path) -> PathBuf {
    root.join("machine.before")
}

/// This boot of the machine.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path)
        .with_context(|| format!("cannot read {path}"))?
        .trim()
        .to_owned())
}

/// The settings now.
#[must_use]
pub fn read_settings() -> BTreeMap<String, String> {
    SETTINGS
        .iter()
        .filter_map(|name| {
            let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
            Some(((*name).to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Those of the built-in paths that exist now.
#[must_use]
pub fn builtin_paths() -> Vec<PathBuf> {
    PATHS
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.symlink_metadata().is_ok())
        .collect()
}

fn read_saved_state(root: &Path) -> Option<SavedMachineState> {
    serde_json::from_slice(&fs::read(state_file(root)).ok()?).ok()
}

/// Saves the settings of the machine, unless a testbed already has. After a reboot the settings are saved again: the kernel
/// has them at their start again.
pub fn save_state(root: &Path) -> Result<()> {
    let boot = boot_id()?;
    let old = read_saved_state(root);
    if old.as_ref().is_some_and(|old| old.boot == boot) {
        return Ok(());
    }
    let absent = old.map_or_else(
        || {
            PATHS
                .iter()
                .map(PathBuf::from)
                .filter(|path| path.symlink_metadata().is_err())
                .collect()
        },
        |old| old.absent,
    );
    let partial = root.join(".machine.partial");
    fs::write(
        &partial,
        serde_json::to_vec_pretty(&SavedMachineState {
            boot,
            settings: read_settings(),
            absent,
        })?,
    )
    .and_then(|()| fs::rename(&partial, state_file(root)))
    .with_context(|| format!("cannot note the machine's settings in {}", root.display()))
}

/// Puts the machine back to how it was noted, and forgets that.
pub fn restore_state(root: &Path) -> Result<()> {
    if let Some(before) = read_saved_state(root) {
        let now = read_settings();
        let same_boot = boot_id().is_ok_and(|boot| boot == before.boot);
        for (name, value) in before
            .settings
            .iter()
            .filter(|(name, value)| now.get(*name) != Some(*value))
        {
            // Settings of an earlier boot are gone with it.
            if same_boot {
                fs::write(format!("/proc/sys/{name}"), value)
                    .with_context(|| format!("cannot set {name} back to {value}"))?;
            }
        }
        for path in &before.absent {
            // Not empty, or not there: not ours to remove.
            let _ = fs::remove_dir(path).or_else(|_| fs::remove_file(path));
        }
    }
    for leftover in [state_file(root), root.join(".machine.partial")] {
        match fs::remove_file(&leftover) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", leftover.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What one testbed has in the built-in paths.
#[must_use]
pub fn testbed_paths(layout: &Layout) -> Vec<PathBuf> {
    // Only by what it says of a pod's namespace is it known whose a result is: the loopback's has no other name.
    let inside = format!("\"{}/", layout.folder().display());
    let results = list_entries(CNI_RESULTS)
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&inside)));
    let logs = list_entries(CONTAINER_LOGS)
        .filter(|path| fs::read_link(path).is_ok_and(|target| target.starts_with(layout.folder())));
    results.chain(logs).collect()
}

fn list_entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_paths_come_before_outer_ones() {
        for (at, path) in PATHS.iter().enumerate() {
            assert!(
                !PATHS[at + 1..]
                    .iter()
                    .any(|later| Path::new(later).starts_with(path)),
                "{path}"
            );
        }
    }
}
