//! Finds the shared libraries of a program, as the machine's loader does.
//!
//! Uses `ldd`, which runs the loader of the program: only for programs built here, never for one from elsewhere.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::program;

/// The libraries and the loader, by the paths at which the program looks for them; none for a static one.
pub fn find_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    find_libraries_in(program, &[])
}

/// The same for a program that finds some of them by itself, in these folders.
pub fn find_libraries_in(program: &Path, folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !program.is_file() {
        bail!(
            "the program {} is missing; build it first",
            program.display()
        );
    }
    // A static program makes ldd fail with these words.
    let mut ldd = Command::new("ldd");
    ldd.arg(program);
    if !folders.is_empty() {
        ldd.env("LD_LIBRARY_PATH", std::env::join_paths(folders)?);
    }
    let output = match program::run_output(&mut ldd) {
        Ok(output) => output,
        Err(e) if format!("{e:#}").contains("not a dynamic executable") => return Ok(Vec::new()),
        Err(e) => {
            return Err(e)
                .with_context(|| format!("cannot find the libraries of {}", program.display()));
        }
    };
    let mut found = Vec::new();
    for line in output.lines() {
        if line.contains("not found") {
            bail!(
                "{} needs a library that is not on this machine: {}",
                program.display(),
                line.trim()
            );
        }
        found.extend(path_of(line));
    }
    Ok(found)
}

/// `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`, or a virtual one without a path.
fn path_of(line: &str) -> Option<PathBuf> {
    let right = line
        .split_once("=>")
        .map_or(line, |(_, right)| right)
        .trim();
    let path = right.split_whitespace().next()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_ldd() {
        assert_eq!(path_of("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(
            path_of("\tlibc.so.6 => /lib/libc.so.6 (0x00007f)"),
            Some("/lib/libc.so.6".into())
        );
        assert_eq!(
            path_of("\t/lib64/ld.so.2 (0x00007f)"),
            Some("/lib64/ld.so.2".into())
        );
    }

    #[test]
    fn a_dynamic_program_needs_its_loader_and_c_library() {
        let found = find_libraries(&std::env::current_exe().unwrap()).unwrap();
        let named = |part: &str| {
            found
                .iter()
                .any(|path| path.to_string_lossy().contains(part))
        };
        assert!(named("libc.so") && named("ld-linux"), "{found:?}");
    }
}
