//! Extracts the facts that decisions need from a `Pod`.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

use crate::containers::{compare_restarts, find_pool_containers, restarts_of, running_since};
use crate::methods;
use dbbalance_api::annotations;
use dbbalance_api::spec::TargetSpec;
use dbbalance_core::pod::{DisruptionVeto, OwnerRef, PodFacts};
use dbbalance_core::stamp::{Claim, MoveCounter, Stamp};

/// The labels under which controllers name the template that a pod was made from.
const TEMPLATE_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// Returns whether a pod's Ready condition is True.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|s| s.conditions.as_ref())
        .into_iter()
        .flatten();
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Extracts the facts of a pod. `None` for an object without UID or creation time, which no API server sends.
#[must_use]
pub fn extract_facts(pod: &Pod, spec: &TargetSpec) -> Option<PodFacts> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let note = |key: &str| pod.annotations().get(key).map(String::as_str);
    let containers = find_pool_containers(pod, spec);
    let starts = || containers.iter().filter_map(|c| running_since(c));
    Some(PodFacts {
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        resource_version: pod.metadata.resource_version.clone()?,
        created: pod.metadata.creation_timestamp.as_ref()?.0,
        started: starts().min(),
        last_started: containers.iter().filter_map(|c| running_since(c)).max(),
        restarts: containers.iter().map(|c| restarts_of(c)).sum(),
        ready: is_ready(pod),
        terminating: pod.metadata.deletion_timestamp.is_some(),
        finished: matches!(phase, "Succeeded" | "Failed"),
        ignored: is_ignored(note(annotations::IGNORE)),
        stamp: note(annotations::EPOCH).and_then(Stamp::parse),
        claim: note(annotations::CLAIM).and_then(Claim::parse),
        recycles: note(annotations::RECYCLES)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0),
        moved: note(annotations::MOVED).and_then(MoveCounter::parse),
        since_claim: compare_restarts(pod),
        has_topology: note(annotations::WRITER).is_some(),
        template: TEMPLATE_LABELS
            .iter()
            .find_map(|l| pod.labels().get(*l))
            .cloned()
            .unwrap_or_default(),
        method_refusal: methods::check_pod(pod, &spec.recycle),
        owner: find_controller(pod.owner_references()).map(|o| OwnerRef {
            kind: o.kind.clone(),
            name: o.name.clone(),
        }),
        disruption_veto: DisruptionVeto::ANNOTATIONS
            .iter()
            .find(|(_, key, value)| note(key) == Some(value))
            .map(|(veto, _, _)| *veto),
        labels: pod.labels().clone(),
    })
}

/// Returns the owner that controls an object.
#[must_use]
pub fn find_controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|o| o.controller == Some(true))
}

/// Returns whether the value of the ignore annotation excludes an object.
#[must_use]
pub fn is_ignored(value: Option<&str>) -> bool {
    value == Some("true")
}

#[cfg(test)]
mod tests;
