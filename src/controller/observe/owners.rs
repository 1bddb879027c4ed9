//! Finds the policy and the target that a pod belongs to, from caches and labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use crate::k8s::watch::{PodChange, ReplicaSetMeta, Stores};
use dbbalance_api::spec::{DbBalancePolicy, TargetSpec, WorkloadKind, WorkloadRef};
use dbbalance_core::pod::{OwnerRef, PodFacts};
use dbbalance_kube::pods;

/// Returns whether the policy may count this pod, so that a change of the pod concerns it. A pod whose controller is not in
/// the caches yet concerns every policy that names a workload.
#[must_use]
pub fn is_concerned_by_pod(policy: &DbBalancePolicy, pod: &PodChange, stores: &Stores) -> bool {
    let workload = pod
        .owner
        .as_ref()
        .map(|owner| find_workload(owner, |set| stores.replica_set(&pod.namespace, set)));
    policy.spec.targets.iter().any(|target| {
        let Some(reference) = &target.workload_ref else {
            let matcher = PodMatcher::new(target.clone());
            let selector = matcher.selector.as_ref();
            return selector.is_some_and(|selector| selector.matches(&pod.labels));
        };
        match &workload {
            Some(PodWorkload::Known(kind, name)) => {
                *kind == reference.kind && *name == reference.name
            }
            Some(PodWorkload::Unknown) => true,
            Some(PodWorkload::Other) | None => false,
        }
    })
}

/// The workload that a pod belongs to, by its controller.
enum PodWorkload {
    Known(WorkloadKind, String),
    /// A controller of another kind, or a `ReplicaSet` without a Deployment.
    Other,
    /// A `ReplicaSet` that is not in the caches.
    Unknown,
}

fn find_workload(
    owner: &OwnerRef,
    replica_set: impl Fn(&str) -> Option<Arc<ReplicaSetMeta>>,
) -> PodWorkload {
    let name = owner.name.clone();
    match owner.kind.as_str() {
        "StatefulSet" => PodWorkload::Known(WorkloadKind::StatefulSet, name),
        "DaemonSet" => PodWorkload::Known(WorkloadKind::DaemonSet, name),
        "ReplicaSet" => match replica_set(&name) {
            None => PodWorkload::Unknown,
            Some(set) => {
                let owners = set.metadata.owner_references.as_deref();
                let owner = pods::find_controller(owners.unwrap_or_default());
                owner
                    .filter(|o| o.kind == "Deployment")
                    .map_or(PodWorkload::Other, |o| {
                        PodWorkload::Known(WorkloadKind::Deployment, o.name.clone())
                    })
            }
        },
        _ => PodWorkload::Other,
    }
}

/// Returns the older policies of the namespace with their targets. If two policies match a pod, the older one owns it; at
/// equal age, the one with the smaller UID.
pub(super) fn older_policies(
    policy: &DbBalancePolicy,
    stores: &Stores,
    namespace: &str,
) -> Vec<OlderPolicy> {
    let age = |p: &DbBalancePolicy| (p.creation_timestamp(), p.uid().unwrap_or_default());
    let mine = age(policy);
    let mut older: Vec<_> = stores
        .policies_in(namespace)
        .iter()
        .filter_map(|p| p.0.as_ref().ok().cloned())
        .filter(|p| p.metadata.deletion_timestamp.is_none() && age(p) < mine)
        .map(|p| {
            let targets = p.spec.targets.iter().cloned().map(PodMatcher::new);
            (age(&p), p.name_any(), targets.collect())
        })
        .collect();
    older.sort_by(|a, b| a.0.cmp(&b.0));
    older
        .into_iter()
        .map(|(_, name, targets)| OlderPolicy { name, targets })
        .collect()
}

/// An older policy of the namespace.
pub(super) struct OlderPolicy {
    /// Its name.
    pub(super) name: String,
    targets: Vec<PodMatcher>,
}

impl OlderPolicy {
    /// Returns whether it names this workload.
    pub(super) fn names_workload(&self, reference: &WorkloadRef) -> bool {
        let mut named = self.targets.iter();
        named.any(|t| t.spec.workload_ref.as_ref() == Some(reference))
    }
}

pub(super) fn owner_among(
    older: &[OlderPolicy],
    pod: &PodFacts,
    owners: &OwnerIndex,
) -> Option<String> {
    older
        .iter()
        .find(|policy| policy.targets.iter().any(|t| t.is_match(pod, owners)))
        .map(|policy| policy.name.clone())
}

/// The controllers that own pods in a namespace, and the Deployments of the `ReplicaSets` among them.
pub(super) struct OwnerIndex {
    controllers: Vec<OwnerRef>,
    /// The Deployment of each `ReplicaSet`.
    deployments: BTreeMap<String, String>,
}

impl OwnerIndex {
    pub(super) fn from_stores(stores: &Stores, namespace: &str) -> Self {
        let controllers = stores.pod_owners_in(namespace);
        let sets = controllers.iter().filter(|o| o.kind == "ReplicaSet");
        let deployments = sets.filter_map(|owner| {
            let set = stores.replica_set(namespace, &owner.name)?;
            let of = pods::find_controller(set.metadata.owner_references.as_deref()?)?;
            (of.kind == "Deployment").then(|| (owner.name.clone(), of.name.clone()))
        });
        Self {
            deployments: deployments.collect(),
            controllers,
        }
    }

    /// Returns the workload that a controller of pods belongs to.
    fn workload_of<'a>(&'a self, owner: &'a OwnerRef) -> Option<(WorkloadKind, &'a str)> {
        let name = owner.name.as_str();
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let deployment = self.deployments.get(name)?;
                Some((WorkloadKind::Deployment, deployment))
            }
            "StatefulSet" => Some((WorkloadKind::StatefulSet, name)),
            "DaemonSet" => Some((WorkloadKind::DaemonSet, name)),
            _ => None,
        }
    }

    fn is_of_workload(&self, owner: &OwnerRef, reference: &WorkloadRef) -> bool {
        self.workload_of(owner)
            .is_some_and(|(kind, name)| kind == reference.kind && name == reference.name)
    }
}

/// Matches pods against the workload or selector of a target.
pub(super) struct PodMatcher {
    spec: TargetSpec,
    selector: Option<Selector>,
}

impl PodMatcher {
    pub(super) fn new(spec: TargetSpec) -> Self {
        let selector = spec
            .selector
            .clone()
            .and_then(|s: LabelSelector| Selector::try_from(s).ok());
        Self { spec, selector }
    }

    /// Returns the pods that may match, so that facts are extracted of no others.
    pub(super) fn find_candidates(
        &self,
        stores: &Stores,
        namespace: &str,
        owners: &OwnerIndex,
    ) -> Vec<Arc<Pod>> {
        if let Some(reference) = &self.spec.workload_ref {
            let controllers = owners.controllers.iter();
            let of_workload = controllers.filter(|o| owners.is_of_workload(o, reference));
            return of_workload
                .flat_map(|owner| stores.pods_of(namespace, owner))
                .collect();
        }
        let Some(selector) = &self.selector else {
            return Vec::new();
        };
        let mut pods = stores.pods_in(namespace);
        pods.retain(|pod| selector.matches(pod.labels()));
        pods
    }

    pub(super) fn is_match(&self, pod: &PodFacts, owners: &OwnerIndex) -> bool {
        if let Some(reference) = &self.spec.workload_ref {
            let owner = pod.owner.as_ref();
            return owner.is_some_and(|owner| owners.is_of_workload(owner, reference));
        }
        // Whoever owns the pod: its connections count, and most methods leave it in place.
        let selector = self.selector.as_ref();
        selector.is_some_and(|s| s.matches(&pod.labels))
    }
}

#[cfg(test)]
mod tests;
