//! A root filesystem of Debian packages as a layer: made by `mmdebstrap`, cached by the list of packages.
//!
//! Packages are not pinned to one build, and neither are the testbed's own: a cached layer stays until its list
//! changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::oci::sha256_hex;
use crate::cache::ToolCache;
use crate::program;

/// Raise it when the way a root is made changes.
const EDITION: u32 = 1;

/// Not needed in a pod.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// What the root is made of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianRoot {
    /// The release's name: it decides the versions.
    pub suite: String,
    /// Packages; what they depend on comes by itself.
    pub packages: Vec<String>,
}

impl DebianRoot {
    /// Names what is made from this.
    pub(super) fn key(&self) -> String {
        let list = self.packages.join(" ");
        sha256_hex(format!("{EDITION} {} {list} {}", self.suite, LEFT_OUT.join(" ")).as_bytes())
    }

    /// The layer, made now if it is not in the cache: about a minute.
    pub(super) fn layer(&self, cache: &ToolCache) -> Result<PathBuf> {
        let folder = cache.path("roots");
        let archive = folder.join(format!("{}-{}.tar", self.suite, &self.key()[..16]));
        if archive.is_file() {
            return Ok(archive);
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let _lock = cache.lock("roots")?;
        if archive.is_file() {
            return Ok(archive);
        }
        ToolCache::sweep(&archive);
        eprintln!(
            "making a root of Debian {} with {} (about 1 minute)…",
            self.suite,
            self.packages.join(" ")
        );
        let started = Instant::now();
        let partial = ToolCache::temporary(&archive);
        let made = self.make(&partial);
        if made.is_err() {
            let _ = fs::remove_file(&partial);
        }
        made?;
        fs::rename(&partial, &archive)
            .with_context(|| format!("cannot name {}", archive.display()))?;
        eprintln!("made it in {:.0} s", started.elapsed().as_secs_f64());
        Ok(archive)
    }

    fn make(&self, out: &Path) -> Result<()> {
        let mut command = Command::new(program::require_program("mmdebstrap")?);
        command
            // Times in the archive, so that the same packages give the same bytes.
            .env("SOURCE_DATE_EPOCH", "0")
            .args([
                "--quiet",
                "--format=tar",
                // Without apt: nothing is installed in a pod.
                "--variant=essential",
                // The runtime brings its own devices.
                "--skip=output/dev",
            ])
            .args(
                LEFT_OUT
                    .iter()
                    .map(|path| format!("--dpkgopt=path-exclude={path}")),
            )
            .arg(format!("--include={}", self.packages.join(",")))
            .arg(&self.suite)
            .arg(out)
            .args(sources_of(Path::new("/etc"), &self.suite));
        program::run_output(&mut command)
            .with_context(|| format!("cannot make a root of Debian {}", self.suite))?;
        Ok(())
    }
}

/// The machine's own lists of sources, if it is of that release: they name a mirror that it reaches. Without any,
/// `mmdebstrap` takes Debian's.
fn sources_of(etc: &Path, suite: &str) -> Vec<PathBuf> {
    let release = fs::read_to_string(etc.join("os-release")).unwrap_or_default();
    if !release
        .lines()
        .any(|line| line.strip_prefix("VERSION_CODENAME=") == Some(suite))
    {
        return Vec::new();
    }
    ["apt/sources.list", "apt/sources.list.d/debian.sources"]
        .iter()
        .map(|name| etc.join(name))
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty()))
        .collect()
}

#[cfg(test)]
mod tests;
