//! Holds the topology of a cluster: its members and their roles, identified by immutable IDs.
//!
//! How a reading becomes a topology is decided in `tracker`; the differences between two topologies are computed in
//! `change`.

use std::collections::{BTreeMap, BTreeSet};
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

/// The role of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The member that takes writes.
    Writer,
    /// A member that serves reads.
    Reader,
}

/// A member of a topology. Two members are the same only if both IDs are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId {
    /// Name; a rename changes it.
    pub instance: InstanceId,
    /// Immutable ID.
    pub resource: ResourceId,
}

/// Facts about a member besides its role. They are not part of the topology's identity.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberFacts {
    /// Instance class, for example `db.r6g.large`; `None` when the member is known only from the status.
    pub class: Option<String>,
    /// The instance endpoint's host name.
    pub endpoint: Option<String>,
    /// The capacity of an Aurora Serverless v2 instance.
    pub serverless: Option<ServerlessCapacity>,
    /// Whether its status word was `available` in the last reading: no operation is in progress on it.
    pub is_available: bool,
}

/// The capacity between which Aurora Serverless v2 instances scale, in halves of a capacity unit (ACU): AWS takes steps
/// of 0.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerlessCapacity {
    /// `MinCapacity`; 0 means that the instance may pause.
    pub min_half_units: u32,
    /// `MaxCapacity`.
    pub max_half_units: u32,
}

impl ServerlessCapacity {
    /// Converts the cluster's `ServerlessV2ScalingConfiguration`, in capacity units; `None` for values that are no capacity.
    #[must_use]
    pub fn from_units(min: f64, max: f64) -> Option<Self> {
        /// AWS allows 256 units.
        const MOST: u32 = 4096;
        let halves = |units: f64| (0..=MOST).find(|n| f64::from(*n) >= units * 2.0);
        Some(Self {
            min_half_units: halves(min)?,
            max_half_units: halves(max)?,
        })
    }
}

/// The cluster's members with their roles, as confirmed.
///
/// Invariant: exactly one member is the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The cluster's ARN. Another ARN is another cluster.
    pub arn: String,
    /// The cluster's immutable resource ID. Another ID under the same ARN is a replacement.
    pub resource: ResourceId,
    /// The writer.
    pub writer: MemberId,
    /// The readers.
    pub readers: std::collections::BTreeSet<MemberId>,
}

impl Topology {
    /// Iterates over all members with their roles, the writer first.
    pub fn members(&self) -> impl Iterator<Item = (&MemberId, Role)> {
        std::iter::once((&self.writer, Role::Writer))
            .chain(self.readers.iter().map(|r| (r, Role::Reader)))
    }

    /// Returns the hash of cluster, members and roles: eight hex digits, equal for equal topologies.
    ///
    /// 32 bits: two topologies of a cluster collide with a chance of 1 in 4 billion. Versions up to 0.1.0 wrote four
    /// digits, which never equal a current fingerprint.
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

/// The cluster's own endpoints. They are not part of the topology: a new host name for the same members is not a
/// change.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The cluster endpoint's host name, which resolves to the writer.
    pub writer: Option<String>,
    /// The reader endpoint's host name.
    pub reader: Option<String>,
    /// The port of all endpoints.
    pub port: Option<u16>,
}

/// A cluster as last read: its topology and the other facts of the reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The confirmed topology.
    pub topology: Topology,
    /// `aurora-postgresql` or `aurora-mysql`.
    pub engine: String,
    /// The cluster's endpoints.
    pub endpoints: Endpoints,
    /// Facts about each member, by name.
    pub facts: BTreeMap<InstanceId, MemberFacts>,
    /// Instances that the last reading listed as being deleted. They are readers no more, and DNS may still name them.
    pub leaving: BTreeSet<InstanceId>,
}
