//! Deletes a testbed in any state: complete, half started, or left by a killed `testbed` or a reboot.
//!
//! It trusts no record: processes are found by the testbed's mark and cgroup, mounts by their place, and each step is
//! repeated until the machine itself shows nothing. Nothing is shut down gracefully: its data goes with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::cgroup;
use super::component::Component;
use super::layout::Layout;
use super::machine::{self, SHIM_SOCKETS};
use crate::process::{self, ProcessIdentity};
use crate::{mounts, wait};

/// Removes every trace of the testbed but its (empty) state folder, which holds the caller's lock.
pub fn remove_testbed(layout: &Layout) -> Result<()> {
    let sockets = shim_sockets(layout);
    kill_all(layout)?;
    mounts::unmount_below(&layout.folder())?;
    cgroup::remove_cgroup(&layout.cgroup())?;
    for file in sockets.into_iter().chain(machine::testbed_paths(layout)) {
        let _ = fs::remove_file(file);
    }
    // After the mounts are gone: removing must not reach through one.
    for entry in fs::read_dir(layout.folder())
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
    {
        let path = entry.path();
        let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// The last testbed's leaving: the machine's settings, and folders that only testbeds have made. The caller holds the
/// lock on the folder of all testbeds.
pub fn remove_shared(root: &Path) -> Result<()> {
    machine::restore_state(root)?;
    let _ = fs::remove_dir(root);
    Ok(())
}

fn kill_all(layout: &Layout) -> Result<()> {
    let (key, value) = layout.mark();
    let mark = format!("{key}={value}");
    // First those that would restart others. A record alone is not trusted:
    // after a reboot its pid belongs to another process.
    let ours = process::find_marked_processes(&mark)?;
    for process in Component::ALL
        .iter()
        .rev()
        .filter_map(|component| component.running(layout))
    {
        if ours.contains(&process) {
            process.signal(Signal::SIGKILL)?;
        }
    }
    wait::poll_uninterrupted(
        &format!("end of the processes of the testbed {}", layout.name()),
        Duration::from_secs(15),
        || {
            cgroup::thaw_cgroup(&layout.cgroup());
            let mut left: Vec<ProcessIdentity> = cgroup::cgroup_processes(&layout.cgroup());
            left.extend(process::find_marked_processes(&mark)?);
            left.extend(process::find_processes_in(&layout.folder())?);
            for process in &left {
                process.signal(Signal::SIGKILL)?;
            }
            Ok(left.is_empty().then_some(()))
        },
    )
}

/// The shims' sockets, as each shim wrote its own down.
fn shim_sockets(layout: &Layout) -> BTreeSet<PathBuf> {
    let tasks = layout.path("containerd-state/io.containerd.runtime.v2.task/k8s.io");
    fs::read_dir(tasks)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_to_string(entry.path().join("address")).ok())
        .filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?)))
        .filter(|socket| socket.starts_with(SHIM_SOCKETS))
        .collect()
}
