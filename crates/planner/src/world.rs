//! The world as one pass sees it: everything that `validate` and `plan` may know.
//!
//! Values only. `observe` fills it; nothing here reads anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::Gate;
use dbbalance_api::spec::{DbBalancePolicySpec, Endpoint, TargetSpec, WorkloadKind};
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::budget::{Holding, Load};
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::dns::{AddressBook, DnsView};
use dbbalance_core::evidence::{Measured, PodHoldings, PodMeasurement, Socket};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::PolicyMark;
use dbbalance_core::topology::{ClusterView, Topology};
use dbbalance_core::workload::WorkloadFacts;

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
    /// Deletion has begun.
    pub deleting: bool,
}

impl PolicyFacts {
    /// The mark in stamps and claims.
    #[must_use]
    pub fn mark(&self) -> PolicyMark {
        PolicyMark::from_uid(&self.uid)
    }
}

/// What is known of the cluster's topology now.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// It was never read whole.
    Pending,
    /// The last readings were whole.
    Current(ClusterView),
    /// The last readings failed; the last good view, if there is one.
    Failing {
        /// A word for the condition.
        reason: &'static str,
        /// What is wrong and what to do.
        message: String,
        /// The last good view.
        last: Option<ClusterView>,
    },
}

impl Reading {
    /// The view that may be acted on.
    #[must_use]
    pub fn current(&self) -> Option<&ClusterView> {
        match self {
            Self::Current(view) => Some(view),
            Self::Pending | Self::Failing { .. } => None,
        }
    }
}

/// What holds a target's effects for a while, learned from the last attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blockade {
    /// The gate that it is.
    pub gate: Gate,
    /// In words.
    pub message: String,
    /// When to try again.
    pub until: Timestamp,
}

/// One target, found.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetWorld {
    /// Its workload, if it names one and it is there.
    pub workload: Option<WorkloadFacts>,
    /// The pods that belong to it and to no older policy.
    pub pods: Vec<PodFacts>,
    /// The older policy that owns some of its pods, or its workload.
    pub owned_by: Option<String>,
    /// What the last attempt met.
    pub blockade: Option<Blockade>,
    /// What was measured; nothing without evidence.
    pub evidence: TargetEvidence,
}

/// What was measured of a target's pods.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetEvidence {
    /// The last reading of each pod, by UID.
    pub measured: Measured,
    /// The sockets of recycled pods as they were before, by UID, as long as this replica remembers: by them
    /// a recycle is proved.
    pub before: BTreeMap<String, Vec<Socket>>,
}

/// What others do on the same cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Their connections.
    pub held: Holding,
    /// What they have in flight.
    pub in_flight: Load,
    /// Their runs in progress.
    pub running: usize,
}

/// Everything that a pass knows.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// The policy.
    pub policy: PolicyFacts,
    /// Its spec.
    pub spec: DbBalancePolicySpec,
    /// Its status, as last recorded.
    pub status: DbBalancePolicyStatus,
    /// The cluster.
    pub reading: Reading,
    /// What DNS has answered.
    pub dns: Arc<DnsView>,
    /// Since when differences have been there.
    pub settling: SettlingChanges,
    /// One entry for each of `spec.targets`, in order.
    pub targets: Vec<TargetWorld>,
    /// Other policies of the cluster.
    pub others: Others,
    /// The highest epoch on this policy's stamps on pods and templates.
    pub highest_stamp: Option<i64>,
    /// No effect before: an epoch has just opened, or this replica has just begun to lead.
    pub quiet_until: Option<Timestamp>,
    /// Whether the role, if the spec names one, may be assumed.
    pub role_allowed: bool,
    /// Whether the operator was granted `pods/exec` here, for method Signal.
    pub signal_allowed: bool,
    /// Whether the operator was granted `pods/exec` here, for evidence by `ProcNet`.
    pub evidence_allowed: bool,
    /// Overlaps of targets within the policy: the names and a pod that both hold.
    pub overlaps: Vec<(String, String, String)>,
}

/// A target's reference as text, by which a change of it is noticed.
#[must_use]
pub fn reference(spec: &TargetSpec) -> String {
    if let Some(workload) = &spec.workload_ref {
        return format!("{:?}/{}", workload.kind, workload.name);
    }
    let labels: BTreeMap<_, _> = spec
        .selector
        .iter()
        .filter_map(|s| s.match_labels.as_ref())
        .flatten()
        .collect();
    let mut parts: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let expressions = spec
        .selector
        .iter()
        .filter_map(|s| s.match_expressions.as_ref())
        .flatten();
    parts.extend(expressions.map(|e| {
        let mut values = e.values.clone().unwrap_or_default();
        values.sort();
        format!("{} {} ({})", e.key, e.operator, values.join(","))
    }));
    parts.sort();
    format!("selector/{}", parts.join(","))
}

/// A target's pools as the budget counts them.
#[must_use]
pub fn pools(spec: &TargetSpec) -> Vec<(Endpoint, u64)> {
    spec.pools
        .iter()
        .map(|p| {
            (
                p.endpoint,
                p.connections_per_pod
                    .and_then(|n| u64::try_from(n).ok())
                    .unwrap_or(0),
            )
        })
        .collect()
}

/// What these pods of a target hold: as measured, and of those that were not read by what their pools may
/// hold.
#[must_use]
pub fn holding<'a>(
    spec: &TargetSpec,
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
    held.estimated = Load::from_pools(&pools(spec), unread);
    held
}

/// Whether a pod's controller may recreate it, so that an eviction is a recycle.
#[must_use]
pub fn is_recreated(owner_kind: &str) -> bool {
    owner_kind == "ReplicaSet"
        || owner_kind == format!("{:?}", WorkloadKind::StatefulSet)
        || owner_kind == format!("{:?}", WorkloadKind::DaemonSet)
}
