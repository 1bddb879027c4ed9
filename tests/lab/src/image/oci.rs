//! Writes an OCI image archive: one uncompressed layer, and the same bytes for the same input, always.
//!
//! Times are 0, owners are root, entries are sorted; so an archive's digest says what is in it. It must not ask
//! the machine for anything but the files it is given.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cache::Cache;

/// What one path in the image is.
#[derive(Debug, Clone)]
enum Entry {
    Folder { mode: u32 },
    File { content: Vec<u8>, mode: u32 },
    Link { target: String },
}

/// An image to be written.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    entrypoint: Vec<String>,
    user: Option<String>,
    environment: Vec<String>,
    entries: BTreeMap<PathBuf, Entry>,
}

/// Text of a hash.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl Image {
    /// An empty image with its full name, such as `localhost/pause:3`.
    #[must_use]
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            entrypoint: entrypoint.iter().map(|&part| part.to_owned()).collect(),
            user: None,
            environment: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            entries: BTreeMap::new(),
        }
    }

    /// Sets `user:group`, in numbers.
    pub fn user(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// Adds `NAME=value`.
    pub fn environment(&mut self, entry: &str) {
        self.environment.push(entry.to_owned());
    }

    /// Adds a folder; parents come by themselves.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.insert(path, Entry::Folder { mode });
    }

    /// Adds a file with this content.
    pub fn text(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) {
        self.insert(
            path,
            Entry::File {
                content: content.into(),
                mode,
            },
        );
    }

    /// Adds a file of the machine; a link is followed.
    pub fn copy(&mut self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let content = fs::read(from)
            .with_context(|| format!("cannot read {} for an image", from.display()))?;
        self.text(path, content, mode);
        Ok(())
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.insert(
            path,
            Entry::Link {
                target: target.to_owned(),
            },
        );
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = PathBuf::from(path.trim_start_matches('/'));
        for parent in path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.entries
                .entry(parent.to_owned())
                .or_insert(Entry::Folder { mode: 0o755 });
        }
        self.entries.insert(path, entry);
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut archive, path, entry)
                .with_context(|| format!("cannot pack {}", path.display()))?;
        }
        Ok(archive.into_inner()?)
    }

    /// Writes the archive, whole or not at all; gives its size in bytes.
    pub fn write(&self, out: &Path) -> Result<u64> {
        let Some((_, tag)) = self
            .name
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
        else {
            bail!("the image name {:?} has no tag; use NAME:TAG", self.name);
        };
        let layer = self.layer()?;
        let mut config = json!({
            "Entrypoint": self.entrypoint, "Env": self.environment,
        });
        if let Some(user) = &self.user {
            config["User"] = json!(user);
        }
        let config = json!({
            "architecture": architecture(), "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        })
        .to_string()
        .into_bytes();
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [entry]})
            .to_string()
            .into_bytes();

        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for blob in [layer, config, manifest] {
            files.insert(format!("blobs/sha256/{}", sha256(&blob)), blob);
        }
        files.insert("index.json".into(), index);
        files.insert(
            "oci-layout".into(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        );
        save(&files, out)
    }
}

fn save(files: &BTreeMap<String, Vec<u8>>, out: &Path) -> Result<u64> {
    let partial = Cache::temporary(out);
    let written = (|| {
        let mut archive = tar::Builder::new(BufWriter::new(File::create(&partial)?));
        for (path, content) in files {
            append(
                &mut archive,
                Path::new(path),
                &Entry::File {
                    content: content.clone(),
                    mode: 0o644,
                },
            )?;
        }
        archive.into_inner()?.flush()?;
        fs::rename(&partial, out)?;
        fs::metadata(out)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    Ok(written
        .with_context(|| format!("cannot write the image archive {}", out.display()))?
        .len())
}

fn append<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    path: &Path,
    entry: &Entry,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    match entry {
        Entry::Folder { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            archive.append_data(&mut header, path, std::io::empty())
        }
        Entry::File { content, mode } => {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())
        }
        Entry::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            archive.append_link(&mut header, path, target)
        }
    }
}

fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": format!("sha256:{}", sha256(blob)), "size": blob.len()})
}

/// The machine's architecture in the words of OCI.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample() -> Image {
        let mut image = Image::new("localhost/sample:1", &["/bin/app"]);
        image.text("/bin/app", "#!", 0o755);
        image.link("/bin/sh", "app");
        image.folder("/tmp", 0o1777);
        image.user("65532:65532");
        image
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a.tar"), folder.path().join("b.tar"));
        let mut other = Image::new("localhost/sample:1", &["/bin/app"]);
        // Another order of adding, at another time.
        other.user("65532:65532");
        other.folder("/tmp", 0o1777);
        other.link("/bin/sh", "app");
        other.text("/bin/app", "#!", 0o755);
        sample().write(&a).unwrap();
        other.write(&b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    }

    #[test]
    fn every_blob_is_named_by_its_hash_and_the_index_names_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.tar");
        sample().write(&file).unwrap();
        let mut blobs = 0;
        for entry in tar::Archive::new(File::open(&file).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let mut content = Vec::new();
            std::io::copy(&mut entry, &mut content).unwrap();
            if let Some(name) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(name, sha256(&content));
                blobs += 1;
            } else if path == "index.json" {
                let index: Value = serde_json::from_slice(&content).unwrap();
                let annotations = &index["manifests"][0]["annotations"];
                assert_eq!(
                    annotations["io.containerd.image.name"],
                    "localhost/sample:1"
                );
                assert_eq!(annotations["org.opencontainers.image.ref.name"], "1");
            }
        }
        assert_eq!(blobs, 3);
    }

    #[test]
    fn a_name_without_a_tag_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Image::new("localhost:5000/x", &[])
            .write(&folder.path().join("x"))
            .unwrap_err();
        assert!(error.to_string().contains("no tag"));
    }
}
