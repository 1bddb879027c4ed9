#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use crate::containers::DEFAULT_CONTAINER;

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
    assert_eq!(
        facts.owner,
        Some(OwnerRef {
            kind: "ReplicaSet".into(),
            name: "web-abc".into()
        })
    );
    assert_eq!(
        facts.started.unwrap().to_string(),
        "2026-05-04T03:00:05Z",
        "the earliest start"
    );
}

fn evict() -> TargetSpec {
    target(&json!({"method": "Evict"}))
}

fn signal(container: &str) -> TargetSpec {
    target(&json!({"method": "Signal", "signal": {"name": "HUP", "container": container}}))
}

#[test]
fn a_side_container_that_crashes_does_not_hide_the_app() {
    let found = pod(&json!([
        container("app", Some("2026-05-04T03:00:09Z")),
        container("sidecar", None)
    ]));
    for spec in [evict(), signal("app")] {
        let facts = extract_facts(&found, &spec).unwrap();
        assert!(facts.is_counted());
        assert_eq!(facts.started.unwrap().to_string(), "2026-05-04T03:00:09Z");
    }
}

#[test]
fn a_pod_counts_only_while_a_container_runs_that_may_hold_its_pools() {
    let down = pod(&json!([container("app", None), container("sidecar", None)]));
    assert!(!extract_facts(&down, &evict()).unwrap().is_counted());
    let without_app = pod(&json!([
        container("app", None),
        container("sidecar", Some("2026-05-04T03:00:05Z"))
    ]));
    let facts = extract_facts(&without_app, &signal("app")).unwrap();
    assert!(!facts.is_counted(), "the named container does not run");
}

#[test]
fn a_native_sidecar_counts_if_it_is_named() {
    let mut found = pod(&json!([
        container("app", Some("2026-05-04T03:00:09Z")),
        container("sidecar", Some("2026-05-04T03:00:09Z"))
    ]));
    let proxy = container("proxysql", Some("2026-05-04T03:00:02Z"));
    let sidecar = json!([{"name": "proxysql", "restartPolicy": "Always"}]);
    found.spec.as_mut().unwrap().init_containers = serde_json::from_value(sidecar).unwrap();
    let status = found.status.as_mut().unwrap();
    status.init_container_statuses = serde_json::from_value(json!([proxy])).unwrap();
    let started = |spec| {
        let facts = extract_facts(&found, &spec).unwrap();
        facts.started.unwrap().to_string()
    };
    assert_eq!(started(signal("proxysql")), "2026-05-04T03:00:02Z");
    assert_eq!(started(evict()), "2026-05-04T03:00:09Z");
}

#[test]
fn a_signal_goes_to_the_default_container_and_its_start_counts() {
    let mut found = pod(&json!([
        container("app", Some("2026-05-04T03:00:09Z")),
        container("sidecar", Some("2026-05-04T03:00:05Z"))
    ]));
    let unnamed = target(&json!({"method": "Signal", "signal": {"name": "HUP"}}));
    let facts = extract_facts(&found, &unnamed).unwrap();
    assert_eq!(facts.started.unwrap().to_string(), "2026-05-04T03:00:05Z");
    let refusal = facts.method_refusal.unwrap();
    assert!(refusal.contains("recycle.signal.container"), "{refusal}");

    let note = (DEFAULT_CONTAINER.to_owned(), "app".to_owned());
    found.metadata.annotations = Some(std::iter::once(note).collect());
    let facts = extract_facts(&found, &unnamed).unwrap();
    assert_eq!(facts.started.unwrap().to_string(), "2026-05-04T03:00:09Z");
    assert_eq!(facts.method_refusal, None);
}

#[test]
fn the_annotations_against_disruption_are_read_with_their_values() {
    let mut found = pod(&json!([container("app", Some("2026-05-04T03:00:09Z"))]));
    let mut veto = |key: &str, value: &str| {
        let note = (key.to_owned(), value.to_owned());
        found.metadata.annotations = Some(std::iter::once(note).collect());
        extract_facts(&found, &evict()).unwrap().disruption_veto
    };
    let karpenter = "karpenter.sh/do-not-disrupt";
    let autoscaler = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    assert_eq!(veto(karpenter, "true"), Some(DisruptionVeto::Karpenter));
    assert_eq!(veto(karpenter, "false"), None);
    assert_eq!(
        veto(autoscaler, "false"),
        Some(DisruptionVeto::ClusterAutoscaler)
    );
    assert_eq!(veto(autoscaler, "true"), None);
}
