//! Output of `testbed aurora status`: what the databases are, what the API reports, and what DNS answers, side by side.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::cluster_faults::ClusterFaults;
use super::inventory::{cluster_endpoint, reader_endpoint};

/// All clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// By name.
    pub clusters: Vec<ClusterStatus>,
}

/// One cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// `DBClusterIdentifier`.
    pub name: String,
    /// Its timelines.
    pub profile: String,
    /// What the API says of it.
    pub api_status: String,
    /// The database that takes writes.
    pub writer: Option<String>,
    /// Where the cluster endpoint leads.
    pub dns_writer: Option<String>,
    /// What is under way: `failover`, `create orders-3`, …
    pub busy: Vec<String>,
    /// How its API behaves.
    pub faults: ClusterFaults,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
}

/// One instance: answers to independent questions, each yes or no.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceStatus {
    /// `DBInstanceIdentifier`.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// What the database itself says: standby or not; none if it does not answer.
    pub standby: Option<bool>,
    /// `DBInstanceStatus`, before faults.
    pub api_status: String,
    /// `IsClusterWriter`, before faults.
    pub api_writer: bool,
    /// Has it a record of its own?
    pub dns_own: bool,
    /// May the reader endpoint lead to it?
    pub dns_reader: bool,
    /// Are its packets dropped?
    pub partitioned: bool,
}

impl FleetStatus {
    /// The cluster of this name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&ClusterStatus> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// As a table for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for cluster in &self.clusters {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{}  {}  profile {}{}\n  {} -> {}\n  {}",
                cluster.name,
                cluster.api_status,
                cluster.profile,
                if cluster.busy.is_empty() {
                    String::new()
                } else {
                    format!("  busy: {}", cluster.busy.join(", "))
                },
                cluster_endpoint(&cluster.name),
                cluster.dns_writer.as_deref().unwrap_or("nothing"),
                reader_endpoint(&cluster.name),
            );
            let _ = writeln!(
                text,
                "  {:<22} {:<15} {:<9} {:<12} {:<7} {:<12} NETWORK",
                "INSTANCE", "ADDRESS", "DATABASE", "API", "MEMBER", "DNS"
            );
            for instance in &cluster.instances {
                let _ = writeln!(text, "  {}", instance.row(cluster));
            }
        }
        if self.clusters.is_empty() {
            text.push_str("no clusters; create one with: testbed aurora up --readers 2\n");
        }
        text
    }
}

impl InstanceStatus {
    fn row(&self, cluster: &ClusterStatus) -> String {
        let database = match self.standby {
            Some(true) => "standby",
            Some(false) => "primary",
            None => "down",
        };
        let mut dns: Vec<&str> = Vec::new();
        if cluster.dns_writer.as_deref() == Some(&self.name) {
            dns.push("writer");
        }
        if self.dns_reader {
            dns.push("reader");
        }
        format!(
            "{:<22} {:<15} {database:<9} {:<12} {:<7} {:<12} {}",
            self.name,
            self.address.to_string(),
            self.api_status,
            if self.api_writer { "writer" } else { "reader" },
            if dns.is_empty() {
                "-".to_owned()
            } else {
                dns.join("+")
            },
            if self.partitioned { "half-open" } else { "-" },
        )
    }
}
