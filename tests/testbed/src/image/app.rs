//! The apps with real connection pools: one folder `apps/NAME/` each, with an `app.json` that says how to build it.
//!
//! There are two builds: on Debian packages, or on a Java runtime with libraries from Maven. The image of either must
//! meet the contract of `apps/README.md`. No app is named in this code: another app is another folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::debian_root::DebianRoot;
use super::java::{self, JavaBuild};
use super::oci::ImageBuilder;
use super::{
    BuiltImage, NONROOT, add_busybox, build_cached, busybox_program, in_scratch, passwd_file,
};
use crate::cache::ToolCache;
use crate::tools::crate_folder;

/// What `app.json` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppImage {
    /// One line for a reader.
    pub about: String,
    /// Packages of Debian's, and how the container starts.
    #[serde(default)]
    pub debian: Option<DebianBase>,
    /// Or a Java app.
    #[serde(default)]
    pub java: Option<JavaBuild>,
    /// How its pools are renewed: what a policy says of it.
    pub recycle: RecycleHooks,
    #[serde(skip)]
    name: String,
    #[serde(skip)]
    folder: PathBuf,
}

/// An app on Debian's packages. The files of its folder `app` are at `/app`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianBase {
    /// Release and packages.
    pub root: DebianRoot,
    /// How it starts.
    pub entrypoint: Vec<String>,
    /// `NAME=value`.
    #[serde(default)]
    pub environment: Vec<String>,
}

/// The ways to renew its pools.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecycleHooks {
    /// A signal to process 1, without SIG.
    pub signal: String,
    /// Or a POST to this path on port 8080.
    pub path: String,
}

fn apps_folder() -> PathBuf {
    crate_folder().join("apps")
}

/// The apps' names: the folders with an `app.json`.
pub fn list_apps() -> Result<Vec<String>> {
    let folder = apps_folder();
    let mut names: Vec<String> = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("app.json").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

impl AppImage {
    /// The app with this name.
    pub fn named(name: &str) -> Result<Self> {
        let known = list_apps()?;
        if !known.iter().any(|each| each == name) {
            bail!("unknown app {name:?}; known are {}", known.join(", "));
        }
        let folder = apps_folder().join(name);
        let file = folder.join("app.json");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut app: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not what an app needs", file.display()))?;
        if app.debian.is_some() == app.java.is_some() {
            bail!("{} needs one of debian and java", file.display());
        }
        name.clone_into(&mut app.name);
        app.folder = folder;
        Ok(app)
    }

    /// The image's name.
    #[must_use]
    pub fn image(&self) -> String {
        format!("localhost/dbbalance-{}:1", self.name)
    }

    /// All that the image is made from, but for the busybox.
    fn inputs(&self) -> Result<Vec<Vec<u8>>> {
        let mut inputs = Vec::new();
        for path in java::list_files(&self.folder)? {
            let name = path.strip_prefix(&self.folder)?.to_string_lossy();
            inputs.push(name.as_bytes().to_vec());
            inputs
                .push(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        }
        if let Some(debian) = &self.debian {
            inputs.push(debian.root.key().into_bytes());
        }
        if self.java.is_some() {
            inputs.push(JavaBuild::toolchain()?.into_bytes());
        }
        Ok(inputs)
    }

    fn write(&self, cache: &ToolCache, out: &Path) -> Result<()> {
        let mut image = if let Some(debian) = &self.debian {
            self.on_debian(cache, debian)?
        } else if let Some(java) = &self.java {
            self.on_java(cache, java)?
        } else {
            bail!("the app {} says no way to build it", self.name)
        };
        image.user(&format!("{NONROOT}:{NONROOT}"));
        image.working_folder("/app");
        image.write(out).map(drop)
    }

    fn on_debian(&self, cache: &ToolCache, debian: &DebianBase) -> Result<ImageBuilder> {
        let line: Vec<&str> = debian.entrypoint.iter().map(String::as_str).collect();
        let mut image = ImageBuilder::new(&self.image(), &line);
        image.base(&debian.root.layer(cache)?);
        for entry in &debian.environment {
            image.environment(entry);
        }
        let source = self.folder.join("app");
        for path in java::list_files(&source)? {
            let name = path.strip_prefix(&source)?.display().to_string();
            image.copy(&path, &format!("/app/{name}"), 0o644)?;
        }
        image.text("/etc/passwd", passwd_file(), 0o644);
        Ok(image)
    }

    fn on_java(&self, cache: &ToolCache, java: &JavaBuild) -> Result<ImageBuilder> {
        in_scratch(cache, &self.name, |scratch| {
            let mut files = ImageBuilder::new(&self.image(), &[]);
            let path = java.add(&mut files, &self.folder, scratch)?;
            let line = java.command(&path);
            files.entrypoint(&line);
            add_busybox(&mut files, busybox_program()?)?;
            // The C library would else ask for a name in the DNS first, /etc/hosts second.
            files.text("/etc/nsswitch.conf", "hosts: files dns\n", 0o644);
            Ok(files)
        })
    }
}

/// `localhost/dbbalance-NAME:1`: the app of `apps/NAME`. Cold it takes a minute.
pub fn build_app_image(cache: &ToolCache, name: &str) -> Result<BuiltImage> {
    let app = AppImage::named(name)?;
    let mut inputs = app.inputs()?;
    if app.java.is_some() {
        inputs.push(busybox_program()?);
    }
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    build_cached(cache, name, &inputs, |out| app.write(cache, out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_app_can_be_read() {
        let names = list_apps().unwrap();
        assert!(names.len() >= 2, "{names:?}");
        for name in names {
            let app = AppImage::named(&name).unwrap();
            assert_eq!(app.image(), format!("localhost/dbbalance-{name}:1"));
            assert!(!app.recycle.signal.starts_with("SIG") && app.recycle.path.starts_with('/'));
        }
    }

    #[test]
    fn an_unknown_app_is_refused_with_the_names_of_the_others() {
        let error = AppImage::named("../pause").unwrap_err().to_string();
        assert!(error.contains("activerecord"), "{error}");
    }
}
