//! Finds the policy and the target that a pod belongs to, from caches and labels.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use crate::k8s::watch::Stores;
use dbbalance_api::spec::{DbBalancePolicy, TargetSpec, WorkloadKind};
use dbbalance_core::pod::PodFacts;
use dbbalance_kube::pods;

/// Returns the older policies of the namespace with their targets. If two policies match a pod, the older one owns it; at
/// equal age, the one with the smaller UID.
pub(super) fn older_policies(
    policy: &DbBalancePolicy,
    stores: &Stores,
    namespace: &str,
) -> Vec<(String, Vec<TargetSpec>)> {
    let age = |p: &DbBalancePolicy| (p.creation_timestamp(), p.uid().unwrap_or_default());
    let mine = age(policy);
    let mut older: Vec<_> = stores
        .policies_in(namespace)
        .iter()
        .filter_map(|p| p.0.as_ref().ok().cloned())
        .filter(|p| p.metadata.deletion_timestamp.is_none() && age(p) < mine)
        .map(|p| (age(&p), p.name_any(), p.spec.targets))
        .collect();
    older.sort_by(|a, b| a.0.cmp(&b.0));
    older
        .into_iter()
        .map(|(_, name, targets)| (name, targets))
        .collect()
}

pub(super) fn owner_among(
    older: &[(String, Vec<TargetSpec>)],
    pod: &PodFacts,
    owners: &OwnerIndex,
) -> Option<String> {
    older
        .iter()
        .find(|(_, targets)| {
            targets
                .iter()
                .any(|t| PodMatcher::new(t).is_match(pod, owners))
        })
        .map(|(name, _)| name.clone())
}

/// Maps each `ReplicaSet` to its Deployment.
pub(super) struct OwnerIndex(BTreeMap<String, String>);

impl OwnerIndex {
    pub(super) fn from_stores(stores: &Stores, namespace: &str) -> Self {
        let sets = stores.replica_sets_in(namespace);
        Self(
            sets.iter()
                .filter_map(|set| {
                    let owner = pods::find_controller(set.metadata.owner_references.as_deref()?)?;
                    (owner.kind == "Deployment").then(|| (set.name_any(), owner.name.clone()))
                })
                .collect(),
        )
    }

    fn workload_of(&self, pod: &PodFacts) -> Option<(WorkloadKind, String)> {
        let owner = pod.owner.as_ref()?;
        let name = &owner.name;
        match owner.kind.as_str() {
            "ReplicaSet" => self
                .0
                .get(name)
                .map(|d| (WorkloadKind::Deployment, d.clone())),
            "StatefulSet" => Some((WorkloadKind::StatefulSet, name.clone())),
            "DaemonSet" => Some((WorkloadKind::DaemonSet, name.clone())),
            _ => None,
        }
    }
}

/// Matches pods against the workload or selector of a target.
pub(super) struct PodMatcher<'a> {
    spec: &'a TargetSpec,
    selector: Option<Selector>,
}

impl<'a> PodMatcher<'a> {
    pub(super) fn new(spec: &'a TargetSpec) -> Self {
        let selector = spec
            .selector
            .clone()
            .and_then(|s: LabelSelector| Selector::try_from(s).ok());
        Self { spec, selector }
    }

    pub(super) fn is_match(&self, pod: &PodFacts, owners: &OwnerIndex) -> bool {
        if let Some(reference) = &self.spec.workload_ref {
            return owners
                .workload_of(pod)
                .is_some_and(|(kind, name)| kind == reference.kind && name == reference.name);
        }
        // Whoever owns the pod: its connections count, and most methods leave it in place.
        let selector = self.selector.as_ref();
        selector.is_some_and(|s| s.matches(&pod.labels))
    }
}

#[cfg(test)]
mod tests;
