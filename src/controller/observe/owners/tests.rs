#![allow(clippy::unwrap_used)]
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;

fn target(of: &Value) -> TargetSpec {
    let mut target = json!({
        "name": "pay", "pools": [{"endpoint": "Writer", "connectionsPerPod": 8}],
        "recycle": {"method": "HTTP", "http": {"port": 9090, "path": "/pool/renew"}}
    });
    let fields = target.as_object_mut().unwrap();
    fields.extend(of.as_object().unwrap().clone());
    serde_json::from_value(target).unwrap()
}

fn is_taken(target: &TargetSpec, owner: Option<(&str, &str)>) -> bool {
    let owners = owner.map(
        |(kind, name)| json!([{"apiVersion": "v1", "kind": kind, "name": name, "uid": "r", "controller": true}]),
    );
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "pay-3-x7k2p", "uid": "u", "resourceVersion": "7",
            "creationTimestamp": "2026-05-04T03:00:00Z",
            "labels": {"deploymentconfig": "pay"}, "ownerReferences": owners
        }
    }))
    .unwrap();
    let facts = pods::extract_facts(&pod, target).unwrap();
    let index = OwnerIndex {
        controllers: facts.owner.clone().into_iter().collect(),
        deployments: [("pay-abc".to_owned(), "pay".to_owned())].into(),
    };
    PodMatcher::new(target.clone()).is_match(&facts, &index)
}

#[test]
fn a_selector_takes_pods_of_any_owner() {
    let selector = target(&json!({"selector": {"matchLabels": {"deploymentconfig": "pay"}}}));
    for owner in [
        Some(("ReplicationController", "pay-3")),
        Some(("StrimziPodSet", "pay")),
        Some(("CloneSet", "pay")),
        Some(("Job", "pay")),
        None,
    ] {
        assert!(is_taken(&selector, owner), "{owner:?}");
    }
    let other = target(&json!({"selector": {"matchLabels": {"deploymentconfig": "web"}}}));
    assert!(!is_taken(&other, Some(("ReplicationController", "pay-3"))));
}

#[test]
fn a_workload_takes_its_own_pods_alone() {
    let workload = target(
        &json!({"workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "pay"}}),
    );
    assert!(is_taken(&workload, Some(("ReplicaSet", "pay-abc"))));
    assert!(!is_taken(&workload, Some(("ReplicaSet", "pay-x-abc"))));
    assert!(!is_taken(&workload, Some(("Job", "pay"))));
    assert!(!is_taken(&workload, None));
}
