//! Holds one whole reading of a cluster, and interprets its status words.
//!
//! The values have been validated by the operator's RDS client.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::{Endpoints, InstanceId, MemberId, ResourceId, ServerlessCapacity};

/// The status word of a member, or a cluster, with no operation in progress.
const AVAILABLE: &str = "available";

/// The status word of a member that is being deleted.
const DELETING: &str = "deleting";

/// Status words at which an instance does not serve, from Aurora's list of instance states. Any other word is
/// inconclusive: the instance may serve (`backing-up`, `modifying`, `storage-optimization`, `upgrading`, …), or the
/// word is unknown to the operator. `rebooting` is left out: it ends within a minute, and the DNS name stays.
const SURELY_DOWN: [&str; 15] = [
    "creating",
    "failed",
    "inaccessible-encryption-credentials",
    "inaccessible-encryption-credentials-recoverable",
    "incompatible-create",
    "incompatible-network",
    "incompatible-option-group",
    "incompatible-parameters",
    "incompatible-restore",
    "insufficient-capacity",
    "restore-error",
    "starting",
    "stopped",
    "stopping",
    "storage-full",
];

/// What a member's status word says about its membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemberAvailability {
    /// The member serves.
    Serves,
    /// The member does not serve, possibly for a short time.
    Down,
    /// The member is being deleted.
    Leaves,
    /// The word is inconclusive: the previous state stays.
    Undecided,
}

/// A cluster as one answer described it, validated as whole.
///
/// By construction at most one member is the writer. During a failover there is no writer for a few seconds.
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
    /// Returns the readers that are being deleted, which cannot be undone.
    pub(super) fn find_leaving(&self) -> BTreeSet<InstanceId> {
        let members = self.members.iter();
        members
            .filter(|(id, _)| self.writer.as_ref() != Some(id))
            .filter(|(_, member)| member.availability() == MemberAvailability::Leaves)
            .map(|(id, _)| id.instance.clone())
            .collect()
    }

    /// Returns whether a member or the cluster is not `available`.
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

/// A member as one answer described it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberReading {
    /// The instance's status word.
    pub status: String,
    /// Instance class, for example `db.r6g.large`.
    pub class: Option<String>,
    /// The instance endpoint's host name; `None` while the instance is being created.
    pub endpoint: Option<String>,
    /// The capacity of a Serverless v2 instance.
    pub serverless: Option<ServerlessCapacity>,
}

impl MemberReading {
    /// Returns whether no operation is in progress on the member.
    pub(super) fn is_available(&self) -> bool {
        self.status == AVAILABLE
    }

    /// Returns what the status word says about the member's availability.
    pub(super) fn availability(&self) -> MemberAvailability {
        match self.status.as_str() {
            AVAILABLE => MemberAvailability::Serves,
            DELETING => MemberAvailability::Leaves,
            word if SURELY_DOWN.contains(&word) => MemberAvailability::Down,
            _ => MemberAvailability::Undecided,
        }
    }
}
