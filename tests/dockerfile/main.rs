//! The Dockerfile: what it copies is enough for what it builds, and what it builds is what the image starts.
//!
//! No container engine is needed. `make image-check` runs the steps of the build on this machine as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod context;
mod instructions;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use context::{DockerIgnore, copy_files};
use instructions::{Stage, parse_stages};
use serde_json::Value;

fn checkout_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read_file(path: &str) -> String {
    fs::read_to_string(checkout_folder().join(path)).unwrap()
}

/// Returns the stages of the Dockerfile: the one that builds, and the image's.
fn read_stages() -> (Stage, Stage) {
    let stages: [Stage; 2] = parse_stages(&read_file("Dockerfile"))
        .try_into()
        .expect("two stages");
    stages.into()
}

/// Writes what the stage copies from the build context to an empty folder, and returns the folder.
fn write_context(name: &str, build: &Stage, ignore: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let files = DockerIgnore::parse(ignore).list_files(checkout_folder());
    for copy in build.copies.iter().filter(|copy| copy.stage.is_none()) {
        copy_files(checkout_folder(), &files, copy, &folder);
    }
    folder
}

/// Returns what Cargo reads of the workspace in a folder, with all dependencies, or Cargo's error.
fn read_metadata(folder: &Path) -> Result<Value, String> {
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", host.unwrap()])
        .current_dir(folder)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

/// Returns the members of a workspace, each with the names of its binaries.
fn list_members(metadata: &Value) -> BTreeSet<(String, Vec<String>)> {
    let members = metadata["workspace_members"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .filter(|package| members.contains(&package["id"]))
        .map(|package| {
            let targets = package["targets"].as_array().unwrap().iter();
            let binaries = targets
                .filter(|target| target["kind"][0] == "bin")
                .map(|target| target["name"].as_str().unwrap().to_owned())
                .collect();
            (package["name"].as_str().unwrap().to_owned(), binaries)
        })
        .collect()
}

#[test]
fn the_build_copies_the_whole_workspace() {
    let (build, _) = read_stages();
    let folder = write_context("docker-context", &build, &read_file(".dockerignore"));
    let copied = list_members(&read_metadata(&folder).unwrap_or_else(|e| panic!("{e}")));
    let wanted = list_members(&read_metadata(checkout_folder()).unwrap());
    assert_eq!(copied, wanted);

    let (packages, binaries) = (build.cargo_values("--package"), build.cargo_values("--bin"));
    assert!(!packages.is_empty() && packages.len() == binaries.len());
    for (package, binary) in packages.iter().zip(binaries) {
        assert!(
            copied
                .iter()
                .any(|(name, built)| name == package && built.contains(&binary.to_owned())),
            "{package} has no binary {binary}"
        );
    }
}

#[test]
fn a_copy_that_leaves_a_member_out_is_noticed() {
    let build = &parse_stages(
        "FROM rust AS build\nCOPY Cargo.toml Cargo.lock ./\nCOPY src src\nCOPY crates crates\n",
    )[0];
    let ignore = read_file(".dockerignore");
    let folder = write_context("docker-context-without-tests", build, &ignore);
    let error = read_metadata(&folder).unwrap_err();
    assert!(error.contains("tests/"), "{error}");

    let (build, _) = read_stages();
    let ignore = format!("{}\ncrates/core\n", read_file(".dockerignore"));
    let folder = write_context("docker-context-without-core", &build, &ignore);
    let error = read_metadata(&folder).unwrap_err();
    assert!(error.contains("crates/core"), "{error}");
}

#[test]
fn the_image_starts_the_program_that_was_built() {
    let (build, image) = read_stages();
    let [copy] = &image.copies[..] else {
        panic!("{:?}", image.copies)
    };
    assert_eq!(copy.stage.as_ref(), Some(&build.name));
    assert_eq!(image.entrypoint, [copy.destination.as_str()]);
    let kept: Vec<_> = build.commands.iter().filter(|c| c[0] == "cp").collect();
    let program = format!("target/release/{}", build.cargo_values("--bin")[0]);
    assert_eq!(kept, [&["cp", program.as_str(), copy.sources[0].as_str()]]);
}

#[test]
fn the_compiler_is_the_oldest_that_the_workspace_supports() {
    let (build, _) = read_stages();
    let version = build.base.strip_prefix("rust:").unwrap();
    let version = version.split('-').next().unwrap();
    let wanted = format!("rust-version = \"{version}\"");
    assert!(read_file("Cargo.toml").contains(&wanted), "{}", build.base);
}

#[test]
fn the_last_pattern_that_matches_decides() {
    let ignore = DockerIgnore::parse("# c\n*\n!src\n!Cargo.*\n!a/b/c\n**/target\n*.swp\n");
    for (path, excluded) in [
        ("docs/bench.md", true),
        ("src", false),
        ("src/main.rs", false),
        ("src/deep/target/file", true),
        ("src/targets", false),
        ("src/x.swp", false),
        ("x.swp", true),
        ("Cargo.lock", false),
        ("a/b/d", true),
        ("a/b/c/d", false),
    ] {
        assert_eq!(ignore.is_excluded(Path::new(path)), excluded, "{path}");
    }
}

/// Runs the steps of the Dockerfile one by one, with the folders of this machine in place of the stages' root folders.
#[test]
#[ignore = "builds the release binary, which takes minutes: make image-check"]
fn the_steps_of_the_build_run_on_this_machine() {
    let (build, image) = read_stages();
    let source = write_context("image-check", &build, &read_file(".dockerignore"));
    let layers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-check-layers");
    let _ = fs::remove_dir_all(&layers);
    let place = |stage: &str, path: &str| {
        let place = layers.join(stage).join(path.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        place
    };
    // The stage's cache mount: dependencies stay built from one run to the next.
    let cache = checkout_folder().join("target/image-check");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(&cache, source.join("target")).unwrap();

    let started = Instant::now();
    for command in &build.commands {
        println!("{}", command.join(" "));
        match command[0].as_str() {
            "cargo" => {
                let status = Command::new(env!("CARGO"))
                    .args(&command[1..])
                    .env("CARGO_TARGET_DIR", source.join("target"))
                    .current_dir(&source)
                    .status();
                assert!(status.unwrap().success());
            }
            "cp" => {
                fs::copy(source.join(&command[1]), place("build", &command[2])).unwrap();
            }
            other => panic!("tests/dockerfile does not run {other}"),
        }
    }
    let copy = &image.copies[0];
    let program = place("image", &copy.destination);
    fs::copy(place("build", &copy.sources[0]), &program).unwrap();

    let run = |argument: &str| {
        let output = Command::new(&program).arg(argument).output().unwrap();
        assert!(output.status.success(), "{argument}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let version = run("--version");
    assert_eq!(
        version.trim(),
        concat!("dbbalance ", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(run("crd"), read_file("crds/dbbalancepolicies.yaml"));
    println!(
        "{} of {} KiB, built in {} s",
        version.trim(),
        fs::metadata(&program).unwrap().len() >> 10,
        started.elapsed().as_secs()
    );
}
