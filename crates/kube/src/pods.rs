//! From a `Pod` to the facts that decisions need.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;

use dbbalance_api::annotations;
use dbbalance_api::spec::TargetSpec;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::{Claim, Moved, Stamp};

/// The labels under which controllers name the template that a pod was made from.
const TEMPLATE_LABELS: [&str; 2] = ["pod-template-hash", "controller-revision-hash"];

/// Reduces a pod; `None` for what no API server sends (no UID, no creation time).
#[must_use]
pub fn extract_facts(pod: &Pod, spec: &TargetSpec) -> Option<PodFacts> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
    let ready = status
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|c| c.iter().any(|c| c.type_ == "Ready" && c.status == "True"));
    let note = |key: &str| pod.annotations().get(key).map(String::as_str);
    Some(PodFacts {
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        resource_version: pod.metadata.resource_version.clone()?,
        created: pod.metadata.creation_timestamp.as_ref()?.0,
        started: earliest_start(pod, spec),
        ready,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        finished: matches!(phase, "Succeeded" | "Failed"),
        ignored: is_ignored(note(annotations::IGNORE)),
        stamp: note(annotations::EPOCH).and_then(Stamp::parse),
        claim: note(annotations::CLAIM).and_then(Claim::parse),
        recycles: note(annotations::RECYCLES)
            .and_then(|n| n.parse().ok())
            .unwrap_or(0),
        moved: note(annotations::MOVED).and_then(Moved::parse),
        has_topology: note(annotations::WRITER).is_some(),
        template: TEMPLATE_LABELS
            .iter()
            .find_map(|l| pod.labels().get(*l))
            .cloned()
            .unwrap_or_default(),
        owner: find_controller(pod.owner_references()).map(|o| (o.kind.clone(), o.name.clone())),
        labels: pod.labels().clone(),
    })
}

/// The earliest start of the app containers: the named one, else all that are not init containers.
/// `None` while one of them is not running.
fn earliest_start(pod: &Pod, spec: &TargetSpec) -> Option<jiff::Timestamp> {
    let named = spec
        .recycle
        .signal
        .as_ref()
        .and_then(|s| s.container.as_deref());
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let expected = pod.spec.as_ref().map_or(0, |s| s.containers.len());
    let mut meant: Vec<&ContainerStatus> = statuses.iter().collect();
    match named {
        // A container that the pod does not have is told by the method, not by never counting it.
        Some(name) if meant.iter().any(|c| c.name == name) => meant.retain(|c| c.name == name),
        _ if meant.len() < expected => return None,
        _ => {}
    }
    let mut earliest = None;
    for container in meant {
        let running = container.state.as_ref()?.running.as_ref()?;
        let start = running.started_at.as_ref()?.0;
        earliest = Some(earliest.map_or(start, |e: jiff::Timestamp| e.min(start)));
    }
    earliest
}

/// The owner that controls an object.
#[must_use]
pub fn find_controller(owners: &[OwnerReference]) -> Option<&OwnerReference> {
    owners.iter().find(|o| o.controller == Some(true))
}

/// Whether an annotation takes an object out.
#[must_use]
pub fn is_ignored(value: Option<&str>) -> bool {
    value == Some("true")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn target(recycle: &serde_json::Value) -> TargetSpec {
        serde_json::from_value(json!({
            "name": "web",
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "pools": [{"endpoint": "Reader", "connectionsPerPod": 1}],
            "recycle": recycle
        }))
        .unwrap()
    }

    fn pod(statuses: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "web-1", "uid": "u", "resourceVersion": "7",
                "creationTimestamp": "2026-05-04T03:00:00Z",
                "labels": {"pod-template-hash": "abc"},
                "annotations": {"dbbalance.io/epoch": "aaaaaaaa/3-3f9c", "dbbalance.io/claim": "no claim"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-abc", "uid": "r", "controller": true}]
            },
            "spec": {"containers": [{"name": "app"}, {"name": "sidecar"}]},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": statuses
            }
        }))
        .unwrap()
    }

    fn container(name: &str, started: Option<&str>) -> serde_json::Value {
        let state = started.map_or(
            json!({"waiting": {}}),
            |s| json!({"running": {"startedAt": s}}),
        );
        json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state})
    }

    #[test]
    fn a_running_pod_is_reduced_to_its_facts() {
        let found = pod(&json!([
            container("app", Some("2026-05-04T03:00:09Z")),
            container("sidecar", Some("2026-05-04T03:00:05Z"))
        ]));
        let facts = extract_facts(&found, &target(&json!({"method": "Evict"}))).unwrap();
        assert!(facts.ready && facts.is_counted());
        assert_eq!(facts.stamp.unwrap().epoch, 3);
        assert_eq!(facts.claim, None, "an unreadable claim is none");
        assert_eq!(facts.template, "abc");
        assert_eq!(facts.owner, Some(("ReplicaSet".into(), "web-abc".into())));
        assert_eq!(
            facts.started.unwrap().to_string(),
            "2026-05-04T03:00:05Z",
            "the earliest start"
        );
    }

    #[test]
    fn a_pod_counts_only_while_its_app_containers_run() {
        let found = pod(&json!([
            container("app", Some("2026-05-04T03:00:09Z")),
            container("sidecar", None)
        ]));
        assert!(
            !extract_facts(&found, &target(&json!({"method": "Evict"})))
                .unwrap()
                .is_counted()
        );
        let named =
            target(&json!({"method": "Signal", "signal": {"name": "HUP", "container": "app"}}));
        assert!(
            extract_facts(&found, &named).unwrap().is_counted(),
            "the named container runs"
        );
    }
}
