//! Finds the packages and the Rust files of a checkout by convention, without running Cargo.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::error::StructureError;

/// Folders of test crates that are built like programs and count where types are compared.
const TEST_CRATES: [&str; 4] = ["tests/lab", "tests/testbed", "tests/sim", "tests/simulator"];

/// A package of the checkout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePackage {
    /// Its name in `Cargo.toml`.
    pub name: String,
    /// Its folder, relative to the checkout; empty for the package at the root.
    pub folder: PathBuf,
    /// The root files of its library and binaries, relative to the checkout.
    pub roots: Vec<PathBuf>,
}

/// Finds the packages whose code is production: the root package and those under `crates/`.
///
/// # Errors
/// When a manifest or folder cannot be read.
pub fn find_production_packages(checkout: &Path) -> Result<Vec<SourcePackage>, StructureError> {
    let mut folders = vec![PathBuf::new()];
    let crates = checkout.join("crates");
    if crates.is_dir() {
        for entry in list_folder(&crates)? {
            folders.extend(entry.file_name().map(|name| Path::new("crates").join(name)));
        }
    }
    read_packages(checkout, folders)
}

/// Finds the test crates whose type names count: the testbed and the simulator.
///
/// # Errors
/// When a manifest or folder cannot be read.
pub fn find_test_packages(checkout: &Path) -> Result<Vec<SourcePackage>, StructureError> {
    read_packages(checkout, TEST_CRATES.iter().map(PathBuf::from).collect())
}

fn read_packages(
    checkout: &Path,
    folders: Vec<PathBuf>,
) -> Result<Vec<SourcePackage>, StructureError> {
    let mut packages = vec![];
    for folder in folders {
        packages.extend(read_package(checkout, &folder)?);
    }
    Ok(packages)
}

/// Reads the package in a folder; `None` when the folder has no manifest with a package.
///
/// # Errors
/// When the manifest or `src/bin` cannot be read.
pub fn read_package(
    checkout: &Path,
    folder: &Path,
) -> Result<Option<SourcePackage>, StructureError> {
    let manifest = checkout.join(folder).join("Cargo.toml");
    if !manifest.is_file() {
        return Ok(None);
    }
    let text = read_text(&manifest)?;
    let Some(name) = manifest_values(&text, &["[package]"], "name").pop() else {
        return Ok(None);
    };
    let mut roots: Vec<PathBuf> = manifest_values(&text, &["[lib]", "[[bin]]"], "path")
        .iter()
        .map(PathBuf::from)
        .chain(["src/lib.rs".into(), "src/main.rs".into()])
        .collect();
    let binaries = checkout.join(folder).join("src/bin");
    if binaries.is_dir() {
        for entry in list_folder(&binaries)? {
            let file = if entry.is_dir() {
                entry.join("main.rs")
            } else {
                entry
            };
            if let Ok(relative) = file.strip_prefix(checkout.join(folder)) {
                roots.push(relative.to_owned());
            }
        }
    }
    let mut seen = vec![];
    for root in roots {
        let root = normalize_path(&folder.join(root));
        if !seen.contains(&root)
            && checkout.join(&root).is_file()
            && root.extension().is_some_and(|x| x == "rs")
        {
            seen.push(root);
        }
    }
    Ok(Some(SourcePackage {
        name,
        folder: folder.to_owned(),
        roots: seen,
    }))
}

/// Returns the string values of a key in the given sections of a manifest, in order.
fn manifest_values(text: &str, sections: &[&str], key: &str) -> Vec<String> {
    let mut section = "";
    let mut values = vec![];
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if sections.contains(&section)
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            values.extend(value.split('"').nth(1).map(str::to_owned));
        }
    }
    values
}

/// Lists all Rust files of the checkout, relative to it and in order, without build output and
/// hidden folders.
///
/// # Errors
/// When a folder cannot be read.
pub fn find_rust_files(checkout: &Path) -> Result<Vec<PathBuf>, StructureError> {
    let mut files = vec![];
    let mut folders = vec![checkout.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in list_folder(&folder)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if entry.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(entry);
                }
            } else if entry.extension().is_some_and(|x| x == "rs")
                && let Ok(relative) = entry.strip_prefix(checkout)
            {
                files.push(relative.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file holds tests by its place: under `tests/` or `testing/`, `tests.rs` or `*_tests.rs`.
///
/// `path` is relative to the package, so that the folder of a test crate does not count.
#[must_use]
pub fn is_test_path(path: &Path) -> bool {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let in_folder = path.parent().is_some_and(|folder| {
        folder
            .components()
            .any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing")
    });
    in_folder || file == "tests.rs" || file.ends_with("_tests.rs")
}

/// Reads a file as text.
///
/// # Errors
/// When it cannot be read.
pub fn read_text(file: &Path) -> Result<String, StructureError> {
    fs::read_to_string(file).map_err(|cause| StructureError::at_file(file, &cause))
}

/// Takes `.` and `..` out of a path without asking the file system.
#[must_use]
pub fn normalize_path(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, StructureError> {
    let fail = |cause: std::io::Error| StructureError::at_file(folder, &cause);
    let mut entries = vec![];
    for entry in fs::read_dir(folder).map_err(fail)? {
        entries.push(entry.map_err(fail)?.path());
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests;
