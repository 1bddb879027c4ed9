//! Finds what is left of a testbed on the machine: after `down` it must be nothing.
//!
//! Inspects the machine itself, never the testbed's records, and changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use super::layout::Layout;
use super::{cgroup, machine};
use crate::{mounts, process};

/// How the machine is without testbeds: what the last one to leave must restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSnapshot {
    settings: BTreeMap<String, String>,
    paths: Vec<PathBuf>,
}

impl MachineSnapshot {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            settings: machine::read_settings(),
            paths: machine::builtin_paths(),
        }
    }
}

/// Everything there is of the testbed with this name, in words; empty if it has left nothing.
pub fn find_leftovers(name: &str) -> Result<Vec<String>> {
    let layout = Layout::of(name)?;
    let (key, value) = layout.mark();
    let mut found = Vec::new();
    for process in process::find_marked_processes(&format!("{key}={value}"))? {
        found.push(format!("process {}", process.pid));
    }
    for process in cgroup::cgroup_processes(&layout.cgroup()) {
        found.push(format!("container process {}", process.pid));
    }
    for process in process::find_processes_in(&layout.folder())? {
        found.push(format!("process {} working in its folder", process.pid));
    }
    for mount in mounts::list_mounts_below(&layout.folder())? {
        found.push(format!("mount {}", mount.display()));
    }
    for folder in cgroup::list_cgroups(&layout.cgroup()) {
        found.push(format!("cgroup {}", folder.display()));
    }
    for path in machine::testbed_paths(&layout) {
        found.push(format!("file {}", path.display()));
    }
    if layout.folder().symlink_metadata().is_ok() {
        found.push(format!("folder {}", layout.folder().display()));
    }
    Ok(found)
}
