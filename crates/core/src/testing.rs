//! Builders for the tests of this crate and of the crates that depend on it.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use crate::evidence::{Socket, SocketState};
use crate::topology::{InstanceId, MemberId, ResourceId, Topology};

/// Builds a topology of members named by letters, the writer first.
///
/// # Panics
/// If `letters` is empty.
#[must_use]
pub fn topology(names: &str) -> Topology {
    let mut members = names.chars().map(|c| MemberId {
        instance: InstanceId(c.to_string()),
        resource: ResourceId(format!("db-{c}")),
    });
    Topology {
        arn: "arn".into(),
        resource: ResourceId("cluster-1".into()),
        writer: members.next().unwrap(),
        readers: members.collect(),
    }
}

/// Builds an established connection from a pod's port to port 5432 of an address.
///
/// # Panics
/// If `remote` is not an IP address.
#[must_use]
pub fn socket(port: u16, remote: &str) -> Socket {
    Socket {
        local: SocketAddr::new("10.0.7.7".parse().unwrap(), port),
        remote: SocketAddr::new(remote.parse().unwrap(), 5432),
        state: SocketState::Established,
        unacknowledged: 0,
        retransmits: 0,
        unanswered_probes: 0,
        opened_after: None,
    }
}
