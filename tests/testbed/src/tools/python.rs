//! moto and microburst, in a virtual environment of their own, named by their versions.
//!
//! A virtual environment cannot be renamed (its scripts contain its path), so it is made in place and counts only when
//! its stamp, written last, contains the requirements it was made from.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::crate_folder;
use crate::cache::ToolCache;
use crate::program;

/// The independent AWS emulator: the other side of the contract.
pub const MOTO: &str = "5.2.5";
/// The fault proxy that answers as AWS does.
pub const MICROBURST: &str = "0.10.0";

/// Everything these two pull in, pinned, so that a new release of a dependency changes nothing.
const REQUIREMENTS: &str = include_str!("../../tools/python/requirements.txt");

fn python_environment(cache: &ToolCache) -> PathBuf {
    cache.path(format!("moto-{MOTO}-microburst-{MICROBURST}"))
}

fn is_complete(cache: &ToolCache) -> bool {
    fs::read_to_string(python_environment(cache).join(".verified"))
        .is_ok_and(|stamp| stamp == REQUIREMENTS)
}

/// The interpreter that has both.
pub fn python_interpreter(cache: &ToolCache) -> Result<PathBuf> {
    if !is_complete(cache) {
        bail!(
            "moto {MOTO} and microburst {MICROBURST} are missing in {}: install with: testbed tools",
            cache.path("").display()
        );
    }
    Ok(python_environment(cache).join("bin/python"))
}

/// Installs them if need be; gives the number of new environments.
pub fn ensure_python_tools(cache: &ToolCache) -> Result<usize> {
    if is_complete(cache) {
        return Ok(0);
    }
    program::require_program("python3")?;
    let folder = python_environment(cache);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    eprintln!("installing moto {MOTO} and microburst {MICROBURST} (about 1 minute)…");
    let started = Instant::now();
    program::run_output(Command::new("python3").args(["-m", "venv"]).arg(&folder)).context(
        "cannot make a virtual environment; if ensurepip is missing: apt-get install python3-venv",
    )?;
    let python = folder.join("bin/python");
    program::run_output(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(crate_folder().join("tools/python/requirements.txt")),
    )
    .context("cannot install moto and microburst with pip")?;
    let output = program::run_output(Command::new(&python).args([
        "-c",
        "from importlib.metadata import version as v; import moto.server, microburst.cli; print(v('moto'), v('microburst'))",
    ]))?;
    if output.trim() != format!("{MOTO} {MICROBURST}") {
        bail!(
            "pip installed {:?} instead of moto {MOTO} and microburst {MICROBURST}",
            output.trim()
        );
    }
    fs::write(folder.join(".verified"), REQUIREMENTS).context("cannot write the stamp of moto")?;
    eprintln!(
        "installed moto and microburst in {:.0} s",
        started.elapsed().as_secs_f64()
    );
    Ok(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_pin_what_the_folder_is_named_by() {
        let pins: Vec<&str> = REQUIREMENTS.lines().collect();
        assert!(pins.contains(&format!("moto=={MOTO}").as_str()));
        assert!(pins.contains(&format!("microburst=={MICROBURST}").as_str()));
        assert!(
            pins.iter()
                .all(|pin| pin.contains("==") && !pin.contains('/'))
        );
    }
}
