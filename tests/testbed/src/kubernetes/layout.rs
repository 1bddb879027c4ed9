//! Names, addresses and paths of a testbed.
//!
//! Everything a testbed makes is below its state folder, so deleting that folder deletes the testbed. The exceptions
//! are its cgroups, named in [`Layout::cgroup`], and what [`super::machine`] names.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The node, and the host side of the testbed's bridge: pods reach what listens here.
///
/// 198.18.0.0/15 is set aside for tests of devices (RFC 2544), so no real network uses it. Documentation ranges
/// are not safe: machines without an internet of their own do use them.
pub const NODE_IP: &str = "198.18.0.1";
/// Length of the bridge's range: 198.18.0.0 to 198.18.3.255.
pub const PREFIX: u8 = 22;
/// The bridge's range.
pub const POD_RANGE: &str = "198.18.0.0/22";
/// Pods take from here on; 198.18.0.2 to 198.18.0.254 are left to servers on the host side.
pub const FIRST_POD_IP: &str = "198.18.1.1";
/// Room for three times the node's pods: addresses of ended pods come back late.
pub const LAST_POD_IP: &str = "198.18.3.250";
/// Services.
pub const SERVICE_RANGE: &str = "198.19.0.0/24";
/// The API server as pods see it.
pub const API_SERVICE_IP: &str = "198.19.0.1";
/// The cluster's name server as pods see it. Refused at once while none runs, like a Service without endpoints.
pub const DNS_SERVICE_IP: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 10);
/// The cluster's domain: Kubernetes's default.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// The API server's port on the namespace's loopback.
pub const API_PORT: u16 = 6443;
/// etcd's ports: not its usual ones, so that a user's own etcd client never reaches it by default.
pub const ETCD_PORT: u16 = 23790;
/// etcd's port for its (absent) peers.
pub const ETCD_PEER_PORT: u16 = 23800;
/// The bridge, inside the testbed's network namespace.
pub const BRIDGE: &str = "kb0";
/// The bridge's own address: given, as it would else be the lowest of its ports', and change when that pod goes.
/// Pods that have the old one in their ARP caches would lose every packet for half a minute.
pub const BRIDGE_MAC: &str = "02:db:ba:1a:4c:e0";
/// The node's name.
pub const NODE: &str = "dbbalance-node";

/// Default name of a testbed.
pub const DEFAULT_NAME: &str = "dbb";
/// Where state folders are: volatile by its meaning, and short, as Unix socket paths end at 107 bytes.
pub const DEFAULT_FOLDER: &str = "/run/dbbalance-testbed";
/// Keeps the socket paths below that limit.
const LONGEST_NAME: usize = 20;

/// The rest of them: 107 bytes, less a name and `/containerd.sock`.
const LONGEST_FOLDER: usize = 64;

/// One testbed's places.
#[derive(Debug, Clone)]
pub struct Layout {
    name: String,
    root: PathBuf,
}

impl Layout {
    /// Of the testbed with this name, below `$DBBALANCE_TESTBED_DIR` or `/run/dbbalance-testbed`.
    pub fn of(name: &str) -> Result<Self> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > LONGEST_NAME
            || !name.chars().all(good)
            || name.starts_with('-')
        {
            bail!(
                "{name:?} is not a valid testbed name: use 1 to {LONGEST_NAME} of a-z, 0-9 and -, not - first"
            );
        }
        let root = std::env::var_os("DBBALANCE_TESTBED_DIR")
            .filter(|value| !value.is_empty())
            .map_or_else(|| PathBuf::from(DEFAULT_FOLDER), PathBuf::from);
        if !root.is_absolute() {
            bail!(
                "DBBALANCE_TESTBED_DIR is {}: it must be an absolute path",
                root.display()
            );
        }
        if root.as_os_str().len() > LONGEST_FOLDER {
            bail!(
                "DBBALANCE_TESTBED_DIR is {}: Unix sockets below it would have too long a path; use at most \
                 {LONGEST_FOLDER} characters",
                root.display()
            );
        }
        Ok(Self {
            name: name.to_owned(),
            root,
        })
    }

    /// The testbed's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder of all testbeds.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The testbed's state folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// A path in the state folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The network namespace: a file in the state folder, not in `/run/netns`, so that nothing outside changes.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        self.path("netns")
    }

    /// A kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.path("pki").join(format!("{user}.kubeconfig"))
    }

    /// A file of the PKI.
    #[must_use]
    pub fn pki(&self, file: &str) -> PathBuf {
        self.path("pki").join(file)
    }

    /// Record of a process.
    #[must_use]
    pub fn pid(&self, component: &str) -> PathBuf {
        self.path("pid").join(component)
    }

    /// Log of a process.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.path("log").join(format!("{component}.log"))
    }

    /// containerd's socket.
    #[must_use]
    pub fn containerd_socket(&self) -> PathBuf {
        self.path("containerd.sock")
    }

    /// Name of the testbed's cgroup in every controller, and of its CNI network: two testbeds must not share one.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("dbbalance-{}", self.name)
    }

    /// Environment entry of every process that belongs to the testbed: they are found by it at the end, even if
    /// their pid was never written down.
    #[must_use]
    pub fn mark(&self) -> (&'static str, String) {
        (
            "DBBALANCE_TESTBED_OWNER",
            self.folder().to_string_lossy().into_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        for bad in ["", "..", "a/b", "A", "-a", "a_b", &"x".repeat(21)] {
            assert!(Layout::of(bad).is_err(), "{bad}");
        }
        assert!(Layout::of("dbb-2").is_ok());
    }

    #[test]
    fn socket_paths_fit() {
        let layout = Layout::of(&"x".repeat(LONGEST_NAME)).unwrap();
        assert!(layout.containerd_socket().as_os_str().len() < 100);
    }
}
