//! The world as one pass sees it: everything that the planner may know. The operator fills it from its caches.

mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use peers::{ClusterPeers, PeerHolding};

use crate::types::Gate;
use dbbalance_api::spec::{DbBalancePolicySpec, Endpoint};
use dbbalance_api::status::{DbBalancePolicyStatus, MemberStatus, RoleStatus, TopologyStatus};
use dbbalance_core::budget::{Holding, Load};
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::disruption::DisruptionBudget;
use dbbalance_core::dns::{AddressBook, DnsView};
use dbbalance_core::evidence::{Measured, PodHoldings, PodMeasurement, PodReading, Socket};
use dbbalance_core::narrow::{NameLook, ObservedName};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::PolicyMark;
use dbbalance_core::topology::{ClusterView, InstanceId, MemberId, ResourceId, Topology};
use dbbalance_core::workload::WorkloadFacts;

/// How long an answer with a former address is not taken for the instance that has the name now: far longer than DNS
/// takes to follow (33 s after a blue/green switchover, by the AWS JDBC driver's log). After that the subnet may
/// have given the address to the new instance, and a change must not be held for ever.
const FORMER_FOR: SignedDuration = SignedDuration::from_mins(10);

/// The policy object besides its spec and status.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFacts {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The value of `dbbalance.io/recycle-requested`.
    pub token: Option<String>,
    /// The value of `dbbalance.io/pause-until`.
    pub pause_until: Option<String>,
    /// The value of `dbbalance.io/drain`.
    pub drain: Option<String>,
    /// Whether the object is being deleted.
    pub deleting: bool,
}

impl PolicyFacts {
    /// Returns the mark that stamps and claims of this policy carry.
    #[must_use]
    pub fn mark(&self) -> PolicyMark {
        PolicyMark::from_uid(&self.uid)
    }
}

/// What is known of the cluster's topology now.
#[derive(Clone, Debug, PartialEq)]
pub enum TopologyState {
    /// It has not been read completely yet.
    Pending,
    /// The last readings were complete.
    Current(ClusterView),
    /// The last readings failed.
    Failing {
        /// What failed.
        error: TopologyError,
        /// The last good view.
        last: Option<ClusterView>,
    },
}

impl TopologyState {
    /// Returns the view that may be acted on.
    #[must_use]
    pub fn current(&self) -> Option<&ClusterView> {
        match self {
            Self::Current(view) => Some(view),
            Self::Pending | Self::Failing { .. } => None,
        }
    }

    /// Returns the last good view, for what does not change with the topology. Nothing may be decided on it.
    #[must_use]
    pub fn last(&self) -> Option<&ClusterView> {
        match self {
            Self::Current(view) => Some(view),
            Self::Failing { last, .. } => last.as_ref(),
            Self::Pending => None,
        }
    }
}

/// Why the topology could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyError {
    /// The reason of the condition.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

impl TopologyError {
    /// The reason of a cluster that does not exist: the policy names another one, so it is not ready.
    pub const CLUSTER_NOT_FOUND: &'static str = "ClusterNotFound";

    /// The reason of a cluster that the policy's namespace may not name.
    pub const CLUSTER_NOT_ALLOWED: &'static str = "ClusterNotAllowed";

    /// The reason of a cluster that is stopping, stopped or starting.
    pub const CLUSTER_STOPPED: &'static str = "ClusterStopped";

    /// Whether the cluster does not exist.
    #[must_use]
    pub fn is_cluster_missing(&self) -> bool {
        self.reason == Self::CLUSTER_NOT_FOUND
    }
}

/// How long a target's effects are put off, after the last attempt was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectBackoff {
    /// The gate that is shown meanwhile.
    pub gate: Gate,
    /// Why the attempt was refused.
    pub message: String,
    /// When to try again.
    pub until: Timestamp,
}

/// One target as it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetWorld {
    /// Its workload, if the spec names one and it exists.
    pub workload: Option<WorkloadFacts>,
    /// The pods that belong to it and not to an older policy.
    pub pods: Vec<PodFacts>,
    /// The `PodDisruptionBudget`s that select some of its pods; empty where they may not be read, and for methods that they do
    /// not concern.
    pub disruption_budgets: Vec<DisruptionBudget>,
    /// The older policy that owns some of its pods, or its workload.
    pub owned_by: Option<String>,
    /// Why the header of its hook cannot be read, if it has one and cannot.
    pub header_problem: Option<String>,
    /// Until when effects are put off.
    pub backoff: Option<EffectBackoff>,
    /// How many pods of the last step are still to be taken: the rate limit has cut it. Zero after a restart.
    pub left_of_step: usize,
    /// What was measured; empty without evidence.
    pub evidence: TargetEvidence,
}

/// What was measured of a target's pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetEvidence {
    /// The last reading of each pod, by UID.
    pub measured: Measured,
    /// The sockets of recycled pods as they were before, by UID, as long as this replica remembers them: a recycle
    /// is proved by them.
    pub before: BTreeMap<String, Arc<[Socket]>>,
    /// Since when this replica reads the target's pods: what had been opened before is not dated. `None`: it does not.
    pub read_since: Option<Timestamp>,
    /// Since when this replica reads the pods and has no evidence that can be relied on: from its first request, or from
    /// the last pass that had some. `None` while it has not asked for a reading: that is no silence.
    pub silent_since: Option<Timestamp>,
}

impl TargetEvidence {
    /// Returns the last successful reading of a pod.
    pub(crate) fn reading(&self, uid: &str) -> Option<&PodReading> {
        self.measured
            .pods
            .get(uid)
            .and_then(PodMeasurement::reading)
    }
}

/// A pod that two targets of one policy select.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetOverlap {
    /// The name of the one target.
    pub first: String,
    /// The name of the other.
    pub second: String,
    /// The pod's name.
    pub pod: String,
}

/// Everything that a pass knows.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, not a state
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The policy object.
    pub policy: PolicyFacts,
    /// Its spec, as read. The planner reads it only through [`crate::policy::Policy`].
    pub spec: DbBalancePolicySpec,
    /// Its status, as last recorded.
    pub status: DbBalancePolicyStatus,
    /// The cluster.
    pub topology: TopologyState,
    /// What DNS has answered.
    pub dns: Arc<DnsView>,
    /// Since when differences have been there.
    pub settling: SettlingChanges,
    /// One entry for each of `spec.targets`, in order.
    pub targets: Vec<TargetWorld>,
    /// Other policies of the cluster.
    pub peers: ClusterPeers,
    /// The highest epoch on this policy's stamps on pods and templates.
    pub highest_stamp: Option<i64>,
    /// No effect before: an epoch has just opened, or this replica has just become the leader.
    pub effects_not_before: Option<Timestamp>,
    /// Whether the policy's namespace may name the cluster by its role, as the operator's configuration binds them.
    pub cluster_allowed: bool,
    /// Whether the role, if the spec names one, may be assumed.
    pub role_allowed: bool,
    /// Whether the operator was granted `pods/exec` here, for method Signal.
    pub signal_allowed: bool,
    /// Whether the operator was granted `pods/exec` here, for evidence by `ProcNet`.
    pub evidence_allowed: bool,
    /// Pods that two targets of the policy select.
    pub overlaps: Vec<TargetOverlap>,
    /// The name of `spec.dns.steering`. Without steering, the one that `status.dns` still records, so that a name is
    /// widened whose steering was removed. `None` without either.
    pub steered_name: Option<SteeredName>,
}

/// A name that the policy may narrow, as it stands now.
#[derive(Clone, Debug, PartialEq)]
pub struct SteeredName {
    /// What stands in the cluster.
    pub observed: ObservedName,
    /// Look-ups of the name, oldest first. Made only while it is narrowed: a name that nobody asks is in no cache.
    pub looks: Vec<NameLook>,
    /// The greatest TTL, in seconds, that any look-up of the name was ever answered with; `None` if there was none.
    pub greatest_ttl: Option<u32>,
    /// Whether no other replica of the operator could take the lease.
    pub is_operator_alone: bool,
    /// Until when a user wants the name wide, by the annotation `dbbalance.io/wide-until` as it was written.
    pub wide_until: Option<String>,
    /// Whether this operator ends or gives the lease back.
    pub is_shutting_down: bool,
}

impl World {
    /// Returns the readers that are being deleted, by the last reading.
    pub(crate) fn leaving_readers(&self) -> BTreeSet<InstanceId> {
        let view = self.topology.current();
        view.map_or_else(BTreeSet::new, |v| v.leaving.clone())
    }

    /// Returns the topology that has settled, as the status records it.
    pub(crate) fn settled_topology(&self) -> Option<Topology> {
        self.status.topology.as_ref().and_then(recorded_topology)
    }
}

/// Returns what these pods of a target hold: as measured, and for those that were not read by what their pools may
/// hold.
#[must_use]
pub fn count_connections<'a>(
    pools: &[(Endpoint, u64)],
    uids: impl Iterator<Item = &'a str>,
    measured: &Measured,
    book: &AddressBook,
    topology: Option<&Topology>,
) -> Holding {
    let mut held = Holding::default();
    let mut unread = 0;
    for uid in uids {
        let reading = measured.pods.get(uid).and_then(PodMeasurement::reading);
        let (Some(reading), Some(topology)) = (reading, topology) else {
            unread += 1;
            continue;
        };
        let pod = PodHoldings::from_sockets(&reading.sockets, book, topology);
        for (instance, on) in pod.by_instance {
            *held.measured.entry(instance).or_default() += u64::from(on.connections);
        }
    }
    held.estimated = Load::from_pools(pools, unread);
    held
}

/// Returns the topology that a status records; `None` if it names no writer.
#[must_use]
pub fn recorded_topology(status: &TopologyStatus) -> Option<Topology> {
    let members = |role: RoleStatus| {
        let members = status.members.iter().filter(move |m| m.role == role);
        members.map(|m: &MemberStatus| MemberId {
            instance: InstanceId(m.instance.clone()),
            resource: ResourceId(m.resource_id.clone()),
        })
    };
    Some(Topology {
        arn: status.cluster_arn.clone(),
        resource: ResourceId(status.cluster_resource_id.clone()),
        writer: members(RoleStatus::Writer).next()?,
        readers: members(RoleStatus::Reader).collect::<BTreeSet<_>>(),
    })
}

/// Returns the addresses that answers of DNS must not have after a change of this time.
pub(crate) fn former_addresses(
    status: &DbBalancePolicyStatus,
    changed: Timestamp,
    now: Timestamp,
) -> BTreeSet<IpAddr> {
    let topology = status.topology.as_ref();
    let recent = topology.filter(|_| now.duration_since(changed) < FORMER_FOR);
    let addresses = recent.into_iter().flat_map(|t| &t.former_addresses);
    addresses.filter_map(|a| a.parse().ok()).collect()
}
