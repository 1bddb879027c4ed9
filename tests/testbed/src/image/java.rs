//! A Java app: libraries from Maven, compiled by `javac`, on a runtime of only the modules it needs, by `jlink`.
//!
//! With a class data archive (CDS), as many pods start at once on two cores. That archive is the one part whose bytes
//! differ from build to build. `WARM_UP=1` asks the app to load its classes and exit.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::oci::ImageBuilder;
use super::shared_libraries;
use crate::program;

/// Copies an artifact and what it depends on into a folder.
const MAVEN_GOAL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/// The oldest Java that the apps are written for.
const RELEASE: u32 = 17;
/// Raise it when the way an image is made changes.
const EDITION: u32 = 1;
/// Where the runtime is in the image.
const HOME: &str = "/java";
/// Where the app is, and starts: its class path is relative to it, as the archive of class data holds the path.
const FOLDER: &str = "/app";

/// How it is built and started.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JavaBuild {
    /// `group:artifact:version`; what they depend on comes by itself.
    pub artifacts: Vec<String>,
    /// The runtime's modules.
    pub modules: Vec<String>,
    /// The main class. Sources are in `src`.
    pub main: String,
    /// Options of the virtual machine.
    pub options: Vec<String>,
}

impl JavaBuild {
    /// Names the way it is made, and the JDK that the runtime is taken from.
    pub(super) fn toolchain() -> Result<String> {
        Ok(format!(
            "{EDITION}\n{}\n{}",
            program::run_output(Command::new(program::require_program("jlink")?).arg("--version"))?,
            program::run_output(Command::new(program::require_program("javac")?).arg("--version"))?
        ))
    }

    /// Adds runtime, libraries and app to the image; `source` is the app's folder, `scratch` an empty one. Gives the class path.
    pub(super) fn add(
        &self,
        image: &mut ImageBuilder,
        source: &Path,
        scratch: &Path,
    ) -> Result<String> {
        let (libraries, classes) = (scratch.join("lib"), scratch.join("classes"));
        self.fetch(scratch, &libraries)?;
        compile_sources(&source.join("src"), &libraries, &classes)?;
        pack_jar(&classes, &libraries.join("app.jar"))?;
        let home = scratch.join("java");
        self.link(&home)?;
        let path = join_class_path(&libraries)?;
        self.archive(scratch, &home, &path)?;

        for name in path.split(':') {
            image.copy(&scratch.join(name), &format!("{FOLDER}/{name}"), 0o644)?;
        }
        image.copy(
            &scratch.join("app.jsa"),
            &format!("{FOLDER}/app.jsa"),
            0o444,
        )?;
        add_runtime(image, &home)?;
        Ok(path)
    }

    /// How the container starts, given the jars in the image: the same for the archive's making and its use.
    pub(super) fn command(&self, class_path: &str) -> Vec<String> {
        let mut line = vec![
            format!("{HOME}/bin/java"),
            "-XX:SharedArchiveFile=app.jsa".to_owned(),
        ];
        line.extend(self.options.iter().cloned());
        line.extend(["-cp".to_owned(), class_path.to_owned(), self.main.clone()]);
        line
    }

    fn fetch(&self, scratch: &Path, libraries: &Path) -> Result<()> {
        let dependencies: Vec<String> = self
            .artifacts
            .iter()
            .map(|artifact| resolve_dependency(artifact))
            .collect::<Result<_>>()?;
        let dependencies = dependencies.concat();
        let project = format!(
            "<project><modelVersion>4.0.0</modelVersion><groupId>dbbalance</groupId>\
             <artifactId>app</artifactId><version>1</version><dependencies>{dependencies}</dependencies></project>"
        );
        fs::write(scratch.join("pom.xml"), project).context("cannot write pom.xml")?;
        program::run_output(
            Command::new(program::require_program("mvn")?)
                .current_dir(scratch)
                .args(["--quiet", "--batch-mode", MAVEN_GOAL])
                .args(["-DincludeScope=runtime", "-DoutputDirectory=lib"]),
        )
        .with_context(|| format!("cannot get {} with Maven", self.artifacts.join(" ")))?;
        if !libraries.is_dir() {
            bail!("Maven copied nothing for {}", self.artifacts.join(" "));
        }
        Ok(())
    }

    fn link(&self, home: &Path) -> Result<()> {
        program::run_output(
            Command::new(program::require_program("jlink")?)
                .args(["--strip-debug", "--no-header-files", "--no-man-pages"])
                .args(["--add-modules", &self.modules.join(",")])
                .arg("--output")
                .arg(home),
        )
        .context("cannot make a runtime with jlink")?;
        Ok(())
    }

    fn archive(&self, scratch: &Path, home: &Path, class_path: &str) -> Result<()> {
        // It is told from another class path by names, sizes and times, and times in the image are 0.
        for name in class_path.split(':') {
            let file = File::options().write(true).open(scratch.join(name))?;
            file.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))?;
        }
        let java = home.join("bin/java");
        program::run_output(
            Command::new(&java)
                .current_dir(scratch)
                .env("WARM_UP", "1")
                .args(["-Xshare:off", "-XX:DumpLoadedClassList=classes.list"])
                .args(&self.options)
                .args(["-cp", class_path, &self.main]),
        )
        .context("the app does not load its classes when WARM_UP is set")?;
        program::run_output(
            Command::new(&java)
                .current_dir(scratch)
                .args(["-Xshare:dump", "-XX:SharedClassListFile=classes.list"])
                .arg("-XX:SharedArchiveFile=app.jsa")
                .args(&self.options)
                .args(["-cp", class_path]),
        )
        .context("cannot make the archive of class data")?;
        Ok(())
    }
}

/// `group:artifact:version` as Maven wants it.
fn resolve_dependency(artifact: &str) -> Result<String> {
    let parts: Vec<&str> = artifact.split(':').collect();
    let [group, name, version] = parts[..] else {
        bail!("{artifact:?} is not group:artifact:version");
    };
    Ok(format!(
        "<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>"
    ))
}

/// All files below a folder, in order.
pub(super) fn list_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found.into_iter().collect())
}

fn compile_sources(sources: &Path, libraries: &Path, classes: &Path) -> Result<()> {
    program::run_output(
        Command::new(program::require_program("javac")?)
            // sun.misc.Signal is the only way to catch a signal, and javac warns of it.
            .args([
                "-nowarn",
                "-XDignore.symbol.file",
                "--release",
                &RELEASE.to_string(),
            ])
            .arg("-cp")
            .arg(libraries.join("*"))
            .arg("-d")
            .arg(classes)
            .args(list_files(sources)?),
    )
    .context("cannot compile the app")?;
    Ok(())
}

fn pack_jar(classes: &Path, jar: &Path) -> Result<()> {
    program::run_output(
        Command::new(program::require_program("jar")?)
            // The oldest time that a zip archive can hold.
            .args(["--create", "--date=1980-01-01T00:00:02Z", "--file"])
            .arg(jar)
            .arg("-C")
            .arg(classes)
            .arg("."),
    )
    .context("cannot pack the app's classes")?;
    Ok(())
}

/// `lib/a.jar:lib/b.jar`, in order.
fn join_class_path(libraries: &Path) -> Result<String> {
    let names: Vec<String> = list_files(libraries)?
        .iter()
        .filter_map(|path| Some(format!("lib/{}", path.file_name()?.to_str()?)))
        .collect();
    Ok(names.join(":"))
}

fn add_runtime(image: &mut ImageBuilder, home: &Path) -> Result<()> {
    let own = [home.join("lib"), home.join("lib/server")];
    let mut needed = BTreeSet::new();
    for file in list_files(home)? {
        let Ok(name) = file.strip_prefix(home) else {
            continue;
        };
        // Licence notices link to one another, and are not needed in a pod.
        if name.starts_with("legal") {
            continue;
        }
        let program = name.starts_with("bin")
            || name.ends_with("jspawnhelper")
            || name.extension().is_some_and(|end| end == "so");
        let mode = if program { 0o755 } else { 0o644 };
        image.copy(&file, &format!("{HOME}/{}", name.display()), mode)?;
        if program {
            needed.extend(shared_libraries::find_libraries_in(&file, &own)?);
        }
    }
    for library in needed.iter().filter(|path| !path.starts_with(home)) {
        image.copy(library, &library.to_string_lossy(), 0o755)?;
    }
    Ok(())
}
