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
    let named = target(&json!({"method": "Signal", "signal": {"name": "HUP", "container": "app"}}));
    assert!(
        extract_facts(&found, &named).unwrap().is_counted(),
        "the named container runs"
    );
}
