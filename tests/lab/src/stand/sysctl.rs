//! The machine-wide settings that a kubelet changes: saved by the first stand to start, restored by the last to stop.
//!
//! Callers hold the lock on the folder of all stands. Nothing else of the machine may be changed by a stand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// kubelet's `setupKernelTunables` (pkg/kubelet/cm), all it may write.
const SETTINGS: &[&str] = &[
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
];

#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    boot: String,
    values: BTreeMap<String, String>,
}

fn file(root: &Path) -> PathBuf {
    root.join("sysctl.saved")
}

/// This boot of the machine.
pub fn boot_id() -> Result<String> {
    let path = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?.trim().to_owned())
}

/// The values now.
#[must_use]
pub fn current() -> BTreeMap<String, String> {
    SETTINGS
        .iter()
        .filter_map(|name| {
            let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
            Some(((*name).to_owned(), value.trim().to_owned()))
        })
        .collect()
}

fn saved(root: &Path) -> Option<Saved> {
    serde_json::from_slice(&fs::read(file(root)).ok()?).ok()
}

/// Saves the values unless a stand of this boot already has.
pub fn save(root: &Path) -> Result<()> {
    let boot = boot_id()?;
    if saved(root).is_some_and(|saved| saved.boot == boot) {
        return Ok(());
    }
    let partial = root.join(".sysctl.partial");
    fs::write(&partial, serde_json::to_vec_pretty(&Saved { boot, values: current() })?)
        .and_then(|()| fs::rename(&partial, file(root)))
        .with_context(|| format!("cannot save the machine's settings in {}", root.display()))
}

/// Puts the saved values back, and forgets them. Values of an earlier boot are only forgotten.
pub fn restore(root: &Path) -> Result<()> {
    if let Some(saved) = saved(root).filter(|saved| boot_id().is_ok_and(|boot| boot == saved.boot)) {
        let now = current();
        for (name, value) in saved.values.iter().filter(|(name, value)| now.get(*name) != Some(*value)) {
            fs::write(format!("/proc/sys/{name}"), value)
                .with_context(|| format!("cannot set {name} back to {value}"))?;
        }
    }
    for leftover in [file(root), root.join(".sysctl.partial")] {
        match fs::remove_file(&leftover) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {}", leftover.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
