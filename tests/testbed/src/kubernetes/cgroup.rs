//! The testbed's cgroups: created before the kubelet starts, and removed with all that is in them.
//!
//! Supports both hierarchies: version 1 (a folder in each controller) and version 2 (one folder). Touches only cgroups
//! named after the testbed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::ProcessIdentity;
use crate::wait;

const MOUNT: &str = "/sys/fs/cgroup";

/// The hierarchies' roots: links such as `cpu` → `cpu,cpuacct` count once.
fn cgroup_roots() -> Vec<PathBuf> {
    let mount = Path::new(MOUNT);
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let Ok(entries) = fs::read_dir(mount) else {
        return Vec::new();
    };
    let found: BTreeSet<PathBuf> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.path().canonicalize().ok())
        .filter(|path| path.join("cgroup.procs").exists())
        .collect();
    found.into_iter().collect()
}

/// Makes the cgroup in every hierarchy.
pub fn create_cgroup(name: &str) -> Result<()> {
    for root in cgroup_roots() {
        if root == Path::new(MOUNT) {
            // Version 2: children have a controller only if the parent hands it on. One that is already handed
            // on, or unknown, changes nothing; the kubelet says what it lacks.
            for controller in ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"] {
                let _ = fs::write(
                    root.join("cgroup.subtree_control"),
                    format!("+{controller}"),
                );
            }
        }
        let path = root.join(name);
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the cgroup {}", path.display()))?;
    }
    Ok(())
}

/// The cgroups with this name, and all below them, the deepest first.
#[must_use]
pub fn list_cgroups(name: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), into);
            }
        }
        into.push(folder.to_owned());
    }
    let mut found = Vec::new();
    for folder in cgroup_roots()
        .into_iter()
        .map(|root| root.join(name))
        .filter(|path| path.is_dir())
    {
        walk(&folder, &mut found);
    }
    found
}

/// The living processes in them: the containers.
#[must_use]
pub fn cgroup_processes(name: &str) -> Vec<ProcessIdentity> {
    let pids: BTreeSet<i32> = list_cgroups(name)
        .iter()
        .filter_map(|folder| fs::read_to_string(folder.join("cgroup.procs")).ok())
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect();
    pids.into_iter()
        .filter_map(ProcessIdentity::of)
        .filter(ProcessIdentity::is_alive)
        .collect()
}

/// Lets frozen processes run on: a frozen one cannot die.
pub fn thaw_cgroup(name: &str) {
    for folder in list_cgroups(name) {
        for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            if folder.join(file).exists() {
                let _ = fs::write(folder.join(file), value);
            }
        }
    }
}

/// Removes them. Processes must have been ended before.
pub fn remove_cgroup(name: &str) -> Result<()> {
    wait::poll_uninterrupted(
        &format!("removing the cgroups {name}"),
        Duration::from_secs(10),
        || {
            for folder in list_cgroups(name) {
                // Busy for a moment after the last process ended: tried again.
                let _ = fs::remove_dir(&folder);
            }
            Ok(list_cgroups(name).is_empty().then_some(()))
        },
    )
}
