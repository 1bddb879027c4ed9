//! The build context: the files of a checkout that `.dockerignore` lets through, and where a `COPY` puts them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::instructions::Copy;

/// The patterns of a `.dockerignore`. The last one that matches a path or a folder above it decides.
pub struct DockerIgnore {
    /// Whether a match lets the path through, and the components of the pattern.
    patterns: Vec<(bool, Vec<String>)>,
}

impl DockerIgnore {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        Self {
            patterns: lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(|line| match line.strip_prefix('!') {
                    Some(pattern) => (true, split_path(pattern)),
                    None => (false, split_path(line)),
                })
                .collect(),
        }
    }

    /// Whether a file or folder, relative to the checkout, is left out.
    pub fn is_excluded(&self, path: &Path) -> bool {
        let path = split_path(path.to_str().unwrap());
        let mut excluded = false;
        for (lets_through, pattern) in &self.patterns {
            if (1..=path.len()).any(|length| is_match(pattern, &path[..length])) {
                excluded = !lets_through;
            }
        }
        excluded
    }

    /// Returns the files that are not left out, relative to the checkout. A folder that is left out is entered only
    /// if a pattern may let through something below it.
    pub fn list_files(&self, checkout: &Path) -> Vec<PathBuf> {
        let mut files = vec![];
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(checkout.join(&folder)).unwrap() {
                let entry = entry.unwrap();
                let path = folder.join(entry.file_name());
                let excluded = self.is_excluded(&path);
                if entry.file_type().unwrap().is_dir() {
                    if !excluded || self.may_let_through_below(&path) {
                        folders.push(path);
                    }
                } else if !excluded {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }

    fn may_let_through_below(&self, folder: &Path) -> bool {
        let folder = split_path(folder.to_str().unwrap());
        self.patterns.iter().any(|(lets_through, pattern)| {
            let head = &pattern[..pattern.len().min(folder.len())];
            *lets_through
                && pattern.len() > folder.len()
                && (head.contains(&"**".to_owned()) || is_match(head, &folder))
        })
    }
}

fn split_path(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .map(str::to_owned)
        .collect()
}

/// Whether a pattern matches a whole path: `*` stands for any text within a component, `**` for any components.
fn is_match(pattern: &[String], path: &[String]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            (0..=path.len()).any(|skipped| is_match(rest, &path[skipped..]))
        }
        (Some((first, rest)), Some((name, below))) => {
            is_name_match(first, name) && is_match(rest, below)
        }
        _ => false,
    }
}

fn is_name_match(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|at| rest.is_char_boundary(*at))
                .any(|at| is_name_match(tail, &rest[at..]))
        }),
    }
}

/// Copies files of the context as a `COPY` does, and returns how many. `destination` is the place of the stage's
/// working folder.
pub fn copy_files(checkout: &Path, files: &[PathBuf], copy: &Copy, destination: &Path) -> usize {
    assert!(
        !copy.destination.starts_with('/'),
        "tests/dockerfile copies only below WORKDIR"
    );
    let target = destination.join(split_path(&copy.destination).join("/"));
    let is_folder = copy.sources.len() > 1 || copy.destination.ends_with(['/', '.']);
    let mut copied = 0;
    for source in &copy.sources {
        let source = PathBuf::from(split_path(source).join("/"));
        let before = copied;
        for file in files {
            let Ok(below) = file.strip_prefix(&source) else {
                continue;
            };
            let place = if below.as_os_str().is_empty() {
                if is_folder {
                    target.join(file.file_name().unwrap())
                } else {
                    target.clone()
                }
            } else {
                target.join(below)
            };
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(checkout.join(file), place).unwrap();
            copied += 1;
        }
        assert!(copied > before, "COPY {}: no such file", source.display());
    }
    copied
}
