//! The topology of a cluster: its members and their roles, known by immutable ids.
//!
//! Holds values and their fingerprint. How a reading becomes a topology is decided in `tracker`,
//! what two topologies differ in is decided in `change`.

use std::collections::BTreeMap;
use std::fmt;

use crate::hash::StableHash;

/// A DB cluster identifier, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterId(pub String);

/// A `DBInstanceIdentifier`, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub String);

/// A `DbiResourceId` or `DbClusterResourceId`: immutable, survives renames.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(pub String);

/// The short hash of a topology, as in `12-9c413f9c`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub String);

macro_rules! display_inner {
    ($($t:ty),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
display_inner!(ClusterId, InstanceId, ResourceId, Fingerprint);

/// A member's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The one that takes writes.
    Writer,
    /// One that serves reads.
    Reader,
}

/// A member of a topology. Two members are the same only if both ids are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId {
    /// Its name, which a rename changes.
    pub instance: InstanceId,
    /// Its immutable id.
    pub resource: ResourceId,
}

/// What is known of a member besides its role; no part of the topology's identity.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberFacts {
    /// For example `db.r6g.large`; `None` when only the status remembers the member.
    pub class: Option<String>,
    /// The instance endpoint's host name.
    pub endpoint: Option<String>,
}

/// The cluster's members with their roles, as confirmed.
///
/// Invariant: exactly one member is the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The cluster's ARN; another one is another cluster.
    pub arn: String,
    /// The cluster's immutable resource id; another one under the same ARN is a replacement.
    pub resource: ResourceId,
    /// The writer.
    pub writer: MemberId,
    /// The readers.
    pub readers: std::collections::BTreeSet<MemberId>,
}

impl Topology {
    /// All members with their roles, the writer first.
    pub fn members(&self) -> impl Iterator<Item = (&MemberId, Role)> {
        std::iter::once((&self.writer, Role::Writer))
            .chain(self.readers.iter().map(|r| (r, Role::Reader)))
    }

    /// Returns the hash of cluster, members and roles: eight hex digits, equal for equal topologies.
    ///
    /// 32 bits: two topologies of a cluster's life are taken for one with a chance of 1 in 4 billion. Versions up to
    /// 0.1.0 wrote four digits, which equal no fingerprint of today.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = StableHash::from_texts([self.arn.as_str(), self.resource.0.as_str()]);
        for (member, role) in self.members() {
            hash.write(match role {
                Role::Writer => "w",
                Role::Reader => "r",
            });
            hash.write(&member.instance.0);
            hash.write(&member.resource.0);
        }
        Fingerprint(hash.short_hex())
    }
}

/// The cluster's own endpoints. No part of the topology: another name of the same members is no change.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The cluster endpoint's host name, which leads to the writer.
    pub writer: Option<String>,
    /// The reader endpoint's host name.
    pub reader: Option<String>,
    /// The port of all endpoints.
    pub port: Option<u16>,
}

/// A cluster as last read: its topology and what else the reading told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The confirmed topology.
    pub topology: Topology,
    /// `aurora-postgresql` or `aurora-mysql`.
    pub engine: String,
    /// The cluster's endpoints.
    pub endpoints: Endpoints,
    /// Facts of each member by its name.
    pub facts: BTreeMap<InstanceId, MemberFacts>,
}
