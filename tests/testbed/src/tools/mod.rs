//! `testbed tools`: the programs of the testbed, at pinned versions, in the cache or from Debian.
//!
//! Installs what is missing. Built programs are pinned here and by the committed `go.sum` and `requirements.txt`;
//! Debian packages are checked against the oldest version that works. A second call only checks stamps and takes well
//! under a second.

pub mod debian;
pub mod go;
pub mod python;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cache::ToolCache;
use crate::image;

/// This crate's folder: the committed build instructions are read from the checkout.
pub(crate) fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Brings every tool. Says on standard error what it does and how long that takes.
pub fn ensure_tools() -> Result<()> {
    let started = Instant::now();
    let cache = ToolCache::locate()?;
    let _lock = cache.lock("tools")?;
    let mut built = debian::ensure_packages()?;
    built += go::ensure_go_tools(&cache)?;
    built += python::ensure_python_tools(&cache)?;
    built += usize::from(image::build_pause_image(&cache)?.fresh);
    eprintln!(
        "tools: {} ready in {} ({built} new, {:.1} s)",
        debian::PACKAGES.len() + go::TOOLS.len() + 2,
        cache.path("").display(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Fails, naming the cure, unless everything a testbed needs to start is there. Cheap: only looks at files.
pub fn check_tools(cache: &ToolCache) -> Result<()> {
    debian::check_packages()?;
    let missing: Vec<String> = go::TOOLS
        .iter()
        .filter(|tool| tool.for_testbed && !tool.path(cache).is_file())
        .map(|tool| format!("{} {}", tool.binary, tool.version))
        .collect();
    if !missing.is_empty() {
        bail!(
            "missing in {}: {}; build with: testbed tools",
            cache.path("").display(),
            missing.join(", ")
        );
    }
    Ok(())
}

/// The folders of the built programs, for a `PATH`.
#[must_use]
pub fn tool_folders(cache: &ToolCache) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = go::TOOLS.iter().map(|tool| tool.folder_in(cache)).collect();
    folders.dedup();
    folders
}
