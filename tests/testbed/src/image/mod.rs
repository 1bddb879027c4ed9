//! The testbed's images, each made from files on the machine: there is no registry to pull from.
//!
//! `pause`, `busybox`, `testapp` and the apps with real pools ([`app`]) are cached under a hash of their inputs; the
//! operator's image is made from a given program. Pods use all of them with `imagePullPolicy: Never`.

pub mod app;
mod debian_root;
mod java;
pub mod oci;
pub mod shared_libraries;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::cache::ToolCache;
use crate::program;
use crate::tools::crate_folder;
pub use app::build_app_image;
use oci::{ImageBuilder, sha256_hex};

/// Holds a pod's namespaces.
pub const PAUSE: &str = "localhost/pause:3";
/// A shell and small tools.
pub const BUSYBOX: &str = "localhost/busybox:1";
/// The app that logs the signals and calls it receives.
pub const TESTAPP: &str = "localhost/dbbalance-testapp:1";
/// The operator's name; the tag is the caller's.
pub const OPERATOR: &str = "localhost/dbbalance";
/// The operator's user: `nonroot`, as distroless images have it.
pub const NONROOT: u32 = 65532;

/// The operator's image may be this large: a start on a cold node is part of the time to react.
pub const OPERATOR_LIMIT: u64 = 30 * 1024 * 1024;

/// An archive in the cache.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The file.
    pub archive: PathBuf,
    /// Was it made just now?
    pub fresh: bool,
}

/// The archive made from `inputs`, made now if it is not in the cache.
fn build_cached(
    cache: &ToolCache,
    name: &str,
    inputs: &[&[u8]],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<BuiltImage> {
    let digests: String = inputs.iter().map(|input| sha256_hex(input)).collect();
    let key = sha256_hex(digests.as_bytes());
    let folder = cache.path("images");
    let archive = folder.join(format!("{name}-{}.tar", &key[..16]));
    if archive.is_file() {
        return Ok(BuiltImage {
            archive,
            fresh: false,
        });
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // One builder a name: an app's image takes a minute, and others must not wait for it.
    let _lock = cache.lock(&format!("image-{name}"))?;
    if archive.is_file() {
        return Ok(BuiltImage {
            archive,
            fresh: false,
        });
    }
    ToolCache::sweep(&archive);
    eprintln!("making the image {name}…");
    make(&archive).with_context(|| format!("cannot make the image {name}"))?;
    Ok(BuiltImage {
        archive,
        fresh: true,
    })
}

/// A folder for the build of this name, gone afterwards. The caller holds the name's lock.
fn in_scratch<T>(
    cache: &ToolCache,
    name: &str,
    work: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let build = cache.path(format!("build-{name}"));
    ToolCache::sweep(&build);
    let folder = ToolCache::temporary(&build);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let result = work(&folder);
    let _ = fs::remove_dir_all(&folder);
    result
}

/// `localhost/pause:3`: a static C program of a few lines.
pub fn build_pause_image(cache: &ToolCache) -> Result<BuiltImage> {
    let source = include_bytes!("../../apps/pause/pause.c");
    build_cached(cache, "pause", &[source], |out| {
        in_scratch(cache, "pause", |folder| {
            let (from, to) = (folder.join("pause.c"), folder.join("pause"));
            fs::write(&from, source).context("cannot write pause.c")?;
            program::run_output(
                Command::new("cc")
                    .args(["-Os", "-s", "-static", "-o"])
                    .arg(&to)
                    .arg(&from),
            )
            .context(
                "cannot compile pause.c; for a static C library: apt-get install gcc libc6-dev",
            )?;
            let mut image = ImageBuilder::new(PAUSE, &["/pause"]);
            image.copy(&to, "/pause", 0o755)?;
            image.write(out).map(drop)
        })
    })
}

/// Debian's static busybox.
fn busybox_program() -> Result<Vec<u8>> {
    let file = program::find_program("busybox").with_context(|| {
        "the program busybox is missing: install it with: apt-get install busybox-static".to_owned()
    })?;
    fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

fn add_busybox(image: &mut ImageBuilder, program: Vec<u8>) -> Result<()> {
    image.text("/bin/busybox", program, 0o755);
    for applet in program::run_output(Command::new("busybox").arg("--list"))?
        .lines()
        .filter(|name| *name != "busybox")
    {
        image.link(&format!("/bin/{applet}"), "busybox");
    }
    image.folder("/tmp", 0o1777);
    image.text("/etc/passwd", passwd_file(), 0o644);
    Ok(())
}

fn passwd_file() -> String {
    format!("root:x:0:0:root:/:/bin/sh\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/tmp:/bin/sh\n")
}

/// `localhost/busybox:1`.
pub fn build_busybox_image(cache: &ToolCache) -> Result<BuiltImage> {
    let program = busybox_program()?;
    build_cached(cache, "busybox", &[&program], |out| {
        let mut image = ImageBuilder::new(BUSYBOX, &["/bin/sh"]);
        add_busybox(&mut image, program.clone())?;
        image.write(out).map(drop)
    })
}

/// `localhost/dbbalance-testapp:1`: the app of `apps/testapp`, with busybox for a shell, `cat` and `kill`.
pub fn build_testapp_image(cache: &ToolCache) -> Result<BuiltImage> {
    let folder = crate_folder().join("apps/testapp");
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (source, manifest, lock) = (
        read("src/main.rs")?,
        read("Cargo.toml")?,
        read("Cargo.lock")?,
    );
    let busybox = busybox_program()?;
    build_cached(
        cache,
        "testapp",
        &[&source, &manifest, &lock, &busybox],
        |out| {
            let program = compile_testapp(cache, &folder)?;
            let mut image = ImageBuilder::new(TESTAPP, &["/usr/local/bin/testapp"]);
            image.copy(&program, "/usr/local/bin/testapp", 0o755)?;
            add_busybox(&mut image, busybox.clone())?;
            image.write(out).map(drop)
        },
    )
}

fn compile_testapp(cache: &ToolCache, folder: &Path) -> Result<PathBuf> {
    let output = program::run_output(Command::new("rustc").arg("-vV"))?;
    let Some(target) = output.lines().find_map(|line| line.strip_prefix("host: ")) else {
        bail!("rustc -vV names no host: {output:?}");
    };
    let folder_out = cache.path("testapp-target");
    program::run_output(
        Command::new("cargo")
            // A caller's own build settings must not reach this one; a static C library, so that it runs anywhere.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("CARGO_BUILD_TARGET")
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .current_dir(folder)
            .args([
                "build",
                "--quiet",
                "--release",
                "--locked",
                "--target",
                target,
                "--target-dir",
            ])
            .arg(&folder_out),
    )
    .context("cannot compile the test app")?;
    Ok(folder_out.join(target).join("release/testapp"))
}

/// `localhost/dbbalance:TAG` from a built program: it, its shared libraries, and what TLS and a user need.
/// Gives the archive's size; more than [`OPERATOR_LIMIT`] is an error.
pub fn build_operator_image(program: &Path, tag: &str, out: &Path) -> Result<u64> {
    let mut image = ImageBuilder::new(&format!("{OPERATOR}:{tag}"), &["/usr/local/bin/dbbalance"]);
    image.copy(program, "/usr/local/bin/dbbalance", 0o755)?;
    for library in shared_libraries::find_libraries(program)? {
        let path = library.to_string_lossy().into_owned();
        image.copy(&library, &path, 0o755)?;
    }
    let certificates = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if !certificates.is_file() {
        bail!(
            "{} is missing: install it with: apt-get install ca-certificates",
            certificates.display()
        );
    }
    image.copy(certificates, "/etc/ssl/certs/ca-certificates.crt", 0o644)?;
    image.text(
        "/etc/passwd",
        format!("nonroot:x:{NONROOT}:{NONROOT}:nonroot:/tmp:/sbin/nologin\n"),
        0o644,
    );
    image.text("/etc/group", format!("nonroot:x:{NONROOT}:\n"), 0o644);
    // The C library would else ask for a name in the DNS first, /etc/hosts second.
    image.text("/etc/nsswitch.conf", "hosts: files dns\n", 0o644);
    image.folder("/tmp", 0o1777);
    image.user(&format!("{NONROOT}:{NONROOT}"));
    image.environment("SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt");
    let size = image.write(out)?;
    if size > OPERATOR_LIMIT {
        let _ = fs::remove_file(out);
        bail!(
            "the operator's image would be {size} bytes, more than {OPERATOR_LIMIT}; build it with --release, stripped"
        );
    }
    Ok(size)
}
