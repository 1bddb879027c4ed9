//! Programs from Debian packages: installed by `apt-get`, and not older than the versions known to work.
//!
//! Not pinned to one build: security updates must not break the testbed. The versions are the oldest it ran with.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::program;

/// A package and the oldest upstream version that works.
#[derive(Debug)]
pub struct DebianPackage {
    /// Its name.
    pub name: &'static str,
    /// Oldest good version, empty: any.
    pub oldest: &'static str,
}

const fn debian_package(name: &'static str, oldest: &'static str) -> DebianPackage {
    DebianPackage { name, oldest }
}

/// All of them.
pub const PACKAGES: &[DebianPackage] = &[
    // Below 1.6 there is no `netns_mounts_under_state_dir`: pods' namespaces would outlive the state folder.
    debian_package("containerd", "1.6"),
    debian_package("runc", "1.1"),
    debian_package("containernetworking-plugins", "1.1"),
    debian_package("iptables", "1.8"),
    debian_package("iproute2", "5.10"),
    // `unshare --net=FILE` and `nsenter --net=FILE`.
    debian_package("util-linux", "2.36"),
    debian_package("busybox-static", "1.35"),
    debian_package("openssl", "3.0"),
    debian_package("shellcheck", "0.8"),
    // The chart's tests read its schema with it.
    debian_package("jq", "1.6"),
    debian_package("ca-certificates", ""),
    // The static C library, for programs in images without one.
    debian_package("gcc", "10"),
    debian_package("libc6-dev", "2.31"),
    debian_package("python3-venv", "3.10"),
    // The apps with real pools: a root of Debian's packages, and a Java runtime with libraries from Maven.
    debian_package("mmdebstrap", "1.0"),
    debian_package("default-jdk-headless", "1.17"),
    debian_package("maven", "3.8"),
    // The databases of the testbed's Aurora. The major version is in the name: data and settings are of one version.
    debian_package("postgresql-15", "15"),
    // A pooler between pods and databases.
    debian_package("pgbouncer", "1.18"),
];

/// Read by postgresql-common when a server is installed: a cluster made by Debian would run, and run again at each
/// boot, beside what the testbed starts.
const NO_MAIN_CLUSTER: (&str, &str) = (
    "/etc/postgresql-common/createcluster.d/dbbalance-testbed.conf",
    "# Written by `testbed tools`: the testbed makes its own databases.\ncreate_main_cluster = false\n",
);

/// Where Debian puts the CNI plugins.
pub const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Programs `testbed up` runs.
const FOR_STAND: &[&str] = &[
    "containerd",
    "ctr",
    "runc",
    "iptables",
    "ip",
    "nsenter",
    "setsid",
    "unshare",
    "openssl",
];

/// Fails unless the testbed's own programs are there; looks at files only.
pub fn check_packages() -> Result<()> {
    for name in FOR_STAND {
        program::require_program(name)?;
    }
    for plugin in ["bridge", "host-local", "loopback"] {
        let file = format!("{CNI_PLUGINS}/{plugin}");
        if !std::path::Path::new(&file).is_file() {
            bail!(
                "the CNI plugin {file} is missing: install it with: apt-get install containernetworking-plugins"
            );
        }
    }
    Ok(())
}

/// `(name, version)` of what is installed.
fn list_installed() -> Result<Vec<(String, String)>> {
    program::require_program("dpkg-query").context(
        "the testbed takes containerd and others from Debian's packages; on another system install them by hand",
    )?;
    // It fails when one is unknown, and still prints the others.
    let result = Command::new("dpkg-query")
        .args(["-W", "-f", "${db:Status-Status} ${Package} ${Version}\n"])
        .args(PACKAGES.iter().map(|p| p.name))
        .output()
        .context("cannot run dpkg-query")?;
    Ok(String::from_utf8_lossy(&result.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect())
}

/// The leading numbers of a Debian version: `1:1.6.20~ds1-1+deb12u3` is 1, 6, 20.
fn version_numbers(version: &str) -> Vec<u32> {
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let end = upstream
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(upstream.len());
    upstream[..end]
        .split('.')
        .map_while(|part| part.parse().ok())
        .collect()
}

/// What is missing, and what is too old.
fn find_missing() -> Result<(Vec<&'static str>, Vec<String>)> {
    let installed = list_installed()?;
    let (mut missing, mut old) = (Vec::new(), Vec::new());
    for package in PACKAGES {
        match installed.iter().find(|(name, _)| name == package.name) {
            None => missing.push(package.name),
            Some((_, version)) if version_numbers(version) < version_numbers(package.oldest) => {
                old.push(format!(
                    "{} {version} (needs {})",
                    package.name, package.oldest
                ));
            }
            Some(_) => {}
        }
    }
    Ok((missing, old))
}

/// Installs what is missing; gives the number of new packages.
pub fn ensure_packages() -> Result<usize> {
    let (missing, old) = find_missing()?;
    if !old.is_empty() {
        bail!(
            "too old: {}; upgrade with: apt-get install --only-upgrade PACKAGE",
            old.join(", ")
        );
    }
    if missing.is_empty() {
        return Ok(0);
    }
    eprintln!(
        "installing {} with apt-get (about 1 minute)…",
        missing.join(" ")
    );
    if missing.iter().any(|name| name.starts_with("postgresql-")) {
        without_main_cluster()?;
    }
    run_apt(&["update", "-q"], &[])?;
    run_apt(&["install", "-qy", "--no-install-recommends"], &missing)?;
    let (still, old) = find_missing()?;
    if !still.is_empty() || !old.is_empty() {
        bail!(
            "after apt-get install still missing: {}; too old: {}",
            still.join(" "),
            old.join(", ")
        );
    }
    Ok(missing.len())
}

/// Keeps the installation from making and starting a database server.
fn without_main_cluster() -> Result<()> {
    let (file, text) = NO_MAIN_CLUSTER;
    let folder = std::path::Path::new(file)
        .parent()
        .unwrap_or(std::path::Path::new("/"));
    let mut make = as_root("mkdir");
    make.arg("-p").arg(folder);
    program::run_output(&mut make)?;
    let mut write = as_root("sh");
    write.args(["-c", "printf %s \"$1\" > \"$2\"", "sh", text, file]);
    program::run_output(&mut write).with_context(|| format!("cannot write {file}"))?;
    Ok(())
}

/// A command with root's rights.
fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    // -n: a prompt would hang a build; the message then says what to type.
    sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive", program]);
    sudo
}

fn run_apt(arguments: &[&str], packages: &[&str]) -> Result<()> {
    let mut command = as_root("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments)
        .args(packages);
    program::run_output(&mut command).with_context(|| {
        format!(
            "cannot install packages; as root, call: apt-get install {}",
            packages.join(" ")
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::version_numbers;

    #[test]
    fn debian_versions_compare_by_their_numbers() {
        assert_eq!(version_numbers("1.6.20~ds1-1+deb12u3"), [1, 6, 20]);
        assert_eq!(version_numbers("4:12.2.0-3"), [12, 2, 0]);
        assert!(version_numbers("1.10") > version_numbers("1.6"));
        assert!(version_numbers("20230311") >= version_numbers(""));
    }
}
