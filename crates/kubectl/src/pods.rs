//! Which pods belong to a target, as far as a user with the right to list pods can tell.
//!
//! Reads ownership from the pods alone: `ReplicaSet`s need no right of their own. Whether an older policy
//! owns them is said by the policy's status.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use dbbalance_api::spec::{TargetSpec, WorkloadKind};
use dbbalance_core::pod::PodFacts;
use dbbalance_kube::pods::extract_facts;

/// A pod that is counted: a container runs that may hold its pools, and nothing takes it out.
pub(super) struct CountedPod<'a> {
    pub object: &'a Pod,
    pub facts: PodFacts,
}

/// The target's counted pods, by name.
pub(super) fn counted_pods<'a>(pods: &'a [Pod], target: &TargetSpec) -> Vec<CountedPod<'a>> {
    let mut found: Vec<CountedPod<'_>> = pods_of_target(pods, target)
        .into_iter()
        .filter(|p| p.facts.is_counted())
        .collect();
    found.sort_by(|a, b| a.facts.name.cmp(&b.facts.name));
    found
}

/// All pods of the target, those included that come, go or are taken out.
pub(super) fn pods_of_target<'a>(pods: &'a [Pod], target: &TargetSpec) -> Vec<CountedPod<'a>> {
    let selector = target
        .selector
        .clone()
        .and_then(|s: LabelSelector| Selector::try_from(s).ok());
    pods.iter()
        .filter_map(|object| {
            let facts = extract_facts(object, target)?;
            is_of_target(&facts, target, selector.as_ref()).then_some(CountedPod { object, facts })
        })
        .collect()
}

fn is_of_target(pod: &PodFacts, target: &TargetSpec, selector: Option<&Selector>) -> bool {
    if let Some(workload) = &target.workload_ref {
        let Some(owner) = &pod.owner else {
            return false;
        };
        return match workload.kind {
            // The Deployment controller names its ReplicaSets by their pods' template.
            WorkloadKind::Deployment => {
                owner.kind == "ReplicaSet"
                    && owner.name == format!("{}-{}", workload.name, pod.template)
            }
            WorkloadKind::StatefulSet => owner.kind == "StatefulSet" && owner.name == workload.name,
            WorkloadKind::DaemonSet => owner.kind == "DaemonSet" && owner.name == workload.name,
        };
    }
    selector.is_some_and(|s| s.matches(&pod.labels))
}

#[cfg(test)]
mod tests;
