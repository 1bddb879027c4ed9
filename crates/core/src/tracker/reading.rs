//! One whole reading of a cluster, and what its status words decide.
//!
//! Holds values that have been checked; the checks themselves are in `aurora::validate`.

use std::collections::BTreeMap;

use crate::topology::{Endpoints, MemberId, ResourceId};

/// The word for a member, or a cluster, at which nothing is going on.
const AVAILABLE: &str = "available";

/// A member that is about to be gone for good.
const DELETING: &str = "deleting";

/// Words at which an instance surely serves nobody. Aurora's list of instance states; every word that is not
/// here may serve (`backing-up`, `modifying`, `storage-optimization`, `upgrading`, …) or is not known to us,
/// and decides nothing. `rebooting` is left out: it ends within a minute, and the DNS name stays.
const SURELY_DOWN: [&str; 11] = [
    "creating",
    "failed",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-network",
    "incompatible-restore",
    "insufficient-capacity",
    "restore-error",
    "starting",
    "stopped",
    "stopping",
];

/// What a member's status word says of its membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberAvailability {
    /// It serves.
    Serves,
    /// It serves nobody, perhaps for a moment.
    Down,
    /// It is going for good.
    Leaves,
    /// The word decides nothing: what was stays.
    Undecided,
}

/// A cluster as one answer told it, checked to be whole.
///
/// At most one member is the writer, by construction. No writer is what a failover looks like for a few
/// seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterReading {
    /// The cluster's ARN.
    pub arn: String,
    /// The cluster's `DbClusterResourceId`.
    pub resource: ResourceId,
    /// The cluster's status word.
    pub status: String,
    /// `aurora-postgresql` or `aurora-mysql`.
    pub engine: String,
    /// The cluster's endpoints.
    pub endpoints: Endpoints,
    /// The member whose writer flag is set.
    pub writer: Option<MemberId>,
    /// All listed members, at least one.
    pub members: BTreeMap<MemberId, MemberReading>,
}

impl ClusterReading {
    /// A member or the cluster is not `available`.
    #[must_use]
    pub fn is_restless(&self) -> bool {
        self.writer.is_none()
            || self.status != AVAILABLE
            || self
                .members
                .values()
                .any(|member| member.status != AVAILABLE)
    }
}

/// A member as one answer told it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberReading {
    /// The instance's status word.
    pub status: String,
    /// For example `db.r6g.large`.
    pub class: Option<String>,
    /// The instance endpoint's host name; absent while it is created.
    pub endpoint: Option<String>,
}

impl MemberReading {
    /// What the status word decides.
    pub(super) fn availability(&self) -> MemberAvailability {
        match self.status.as_str() {
            AVAILABLE => MemberAvailability::Serves,
            DELETING => MemberAvailability::Leaves,
            word if SURELY_DOWN.contains(&word) => MemberAvailability::Down,
            _ => MemberAvailability::Undecided,
        }
    }
}
