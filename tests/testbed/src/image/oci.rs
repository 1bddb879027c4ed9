//! Writes an OCI image archive with uncompressed layers: the same input always gives the same bytes.
//!
//! The last layer is made here from files; below it may be layers that are already archives, such as a Debian root.
//!
//! Times are 0, owners are root, entries are sorted, so an archive's digest identifies its content. Nothing of the
//! machine is read but the given files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::cache::ToolCache;

/// What one path in the image is.
#[derive(Debug, Clone)]
enum LayerEntry {
    Folder { mode: u32 },
    File { content: Vec<u8>, mode: u32 },
    Link { target: String },
}

/// An image to be written.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    name: String,
    entrypoint: Vec<String>,
    user: Option<String>,
    environment: Vec<String>,
    folder: Option<String>,
    bases: Vec<PathBuf>,
    entries: BTreeMap<PathBuf, LayerEntry>,
}

/// Text of a hash.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex_digest(&Sha256::digest(bytes))
}

fn hex_digest(digest: &[u8]) -> String {
    digest
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl ImageBuilder {
    /// An empty image with its full name, such as `localhost/pause:3`.
    #[must_use]
    pub fn new(name: &str, entrypoint: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            entrypoint: entrypoint.iter().map(|&part| part.to_owned()).collect(),
            user: None,
            environment: vec!["PATH=/usr/local/bin:/usr/bin:/bin".to_owned()],
            folder: None,
            bases: Vec::new(),
            entries: BTreeMap::new(),
        }
    }

    /// Puts an uncompressed tar archive below what is added here, above the ones before it.
    pub fn base(&mut self, archive: &Path) {
        self.bases.push(archive.to_owned());
    }

    /// Sets the folder in which the program starts.
    pub fn working_folder(&mut self, path: &str) {
        self.folder = Some(path.to_owned());
    }

    /// Sets how the container starts.
    pub fn entrypoint(&mut self, line: &[String]) {
        self.entrypoint = line.to_vec();
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
        self.insert(path, LayerEntry::Folder { mode });
    }

    /// Adds a file with this content.
    pub fn text(&mut self, path: &str, content: impl Into<Vec<u8>>, mode: u32) {
        self.insert(
            path,
            LayerEntry::File {
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
            LayerEntry::Link {
                target: target.to_owned(),
            },
        );
    }

    fn insert(&mut self, path: &str, entry: LayerEntry) {
        let path = PathBuf::from(path.trim_start_matches('/'));
        for parent in path
            .ancestors()
            .skip(1)
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.entries
                .entry(parent.to_owned())
                .or_insert(LayerEntry::Folder { mode: 0o755 });
        }
        self.entries.insert(path, entry);
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append_entry(&mut archive, path, entry)
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
        let mut layers = Vec::new();
        for base in &self.bases {
            layers.push(OciBlob::file(base)?);
        }
        layers.push(OciBlob::bytes(self.layer()?));
        let mut config = json!({
            "Entrypoint": self.entrypoint, "Env": self.environment,
        });
        if let Some(user) = &self.user {
            config["User"] = json!(user);
        }
        if let Some(folder) = &self.folder {
            config["WorkingDir"] = json!(folder);
        }
        let digests: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        let config = OciBlob::json(&json!({
            "architecture": oci_architecture(), "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": digests},
        }));
        let layer_list: Vec<Value> = layers
            .iter()
            .map(|layer| layer.descriptor("application/vnd.oci.image.layer.v1.tar"))
            .collect();
        let manifest = OciBlob::json(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": layer_list,
        }));
        let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
        entry["annotations"] = json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = OciBlob::json(&json!({"schemaVersion": 2, "manifests": [entry]}));

        let mut files: BTreeMap<String, OciBlob> = BTreeMap::new();
        for blob in layers.into_iter().chain([config, manifest]) {
            files.insert(format!("blobs/sha256/{}", blob.digest), blob);
        }
        files.insert("index.json".into(), index);
        files.insert(
            "oci-layout".into(),
            OciBlob::bytes(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        );
        write_archive(&files, out)
    }
}

/// A file of the archive. Large ones stay on the disk.
struct OciBlob {
    content: BlobContent,
    digest: String,
    size: u64,
}

enum BlobContent {
    Bytes(Vec<u8>),
    File(PathBuf),
}

impl OciBlob {
    fn bytes(content: Vec<u8>) -> Self {
        Self {
            digest: sha256_hex(&content),
            size: content.len() as u64,
            content: BlobContent::Bytes(content),
        }
    }

    fn json(value: &Value) -> Self {
        Self::bytes(value.to_string().into_bytes())
    }

    fn file(path: &Path) -> Result<Self> {
        let (mut hash, mut size) = (Sha256::new(), 0);
        let mut part = vec![0; 1 << 20];
        let cannot = || format!("cannot read the layer {}", path.display());
        let mut file = File::open(path).with_context(cannot)?;
        loop {
            let read = file.read(&mut part).with_context(cannot)?;
            if read == 0 {
                break;
            }
            hash.update(&part[..read]);
            size += read as u64;
        }
        Ok(Self {
            digest: hex_digest(&hash.finalize()),
            size,
            content: BlobContent::File(path.to_owned()),
        })
    }

    fn descriptor(&self, kind: &str) -> Value {
        json!({"mediaType": kind, "digest": format!("sha256:{}", self.digest), "size": self.size})
    }
}

fn write_archive(files: &BTreeMap<String, OciBlob>, out: &Path) -> Result<u64> {
    let partial = ToolCache::temporary(out);
    let written = (|| {
        let mut archive = tar::Builder::new(BufWriter::new(File::create(&partial)?));
        for (path, blob) in files {
            let mut header = header_of(tar::EntryType::Regular, 0o644, blob.size);
            match &blob.content {
                BlobContent::Bytes(bytes) => {
                    archive.append_data(&mut header, path, bytes.as_slice())?;
                }
                BlobContent::File(file) => {
                    archive.append_data(&mut header, path, File::open(file)?)?;
                }
            }
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

fn header_of(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn append_entry<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    path: &Path,
    entry: &LayerEntry,
) -> std::io::Result<()> {
    match entry {
        LayerEntry::Folder { mode } => {
            let mut header = header_of(tar::EntryType::Directory, *mode, 0);
            archive.append_data(&mut header, path, std::io::empty())
        }
        LayerEntry::File { content, mode } => {
            let mut header = header_of(tar::EntryType::Regular, *mode, content.len() as u64);
            archive.append_data(&mut header, path, content.as_slice())
        }
        LayerEntry::Link { target } => {
            let mut header = header_of(tar::EntryType::Symlink, 0o777, 0);
            archive.append_link(&mut header, path, target)
        }
    }
}

/// The machine's architecture in the words of OCI.
fn oci_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
