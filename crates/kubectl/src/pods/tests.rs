#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn target(of: &Value) -> TargetSpec {
    let mut target = json!({
        "name": "web", "pools": [{"endpoint": "Reader", "connectionsPerPod": 1}],
        "recycle": {"method": "Evict"}
    });
    target
        .as_object_mut()
        .unwrap()
        .extend(of.as_object().unwrap().clone());
    serde_json::from_value(target).unwrap()
}

fn workload(kind: &str) -> TargetSpec {
    target(&json!({"workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": "web"}}))
}

fn pod(name: &str, owner: Option<(&str, &str)>, hash: &str) -> Pod {
    let owners = owner.map(|(kind, name)| json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "r", "controller": true}]));
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "uid": name, "resourceVersion": "7", "creationTimestamp": "2026-05-04T03:00:00Z",
            "labels": {"app": "web", "pod-template-hash": hash}, "ownerReferences": owners
        },
        "spec": {"containers": [{"name": "app"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2026-05-04T03:00:05Z"}}
        }]}
    }))
    .unwrap()
}

fn ignored(mut pod: Pod) -> Pod {
    let note = (
        dbbalance_api::annotations::IGNORE.to_owned(),
        "true".to_owned(),
    );
    pod.metadata.annotations = Some([note].into());
    pod
}

fn names(pods: &[Pod], target: &TargetSpec) -> Vec<String> {
    let found = counted_pods(pods, target);
    found.into_iter().map(|p| p.facts.name).collect()
}

#[test]
fn pods_belong_to_the_workload_that_controls_them_unless_they_are_ignored() {
    let pods = [
        pod("web-2", Some(("ReplicaSet", "web-abc")), "abc"),
        pod("web-1", Some(("ReplicaSet", "web-abc")), "abc"),
        pod("web-x", Some(("ReplicaSet", "web-x-abc")), "abc"),
        pod("set-0", Some(("StatefulSet", "web")), ""),
        pod("bare", None, "abc"),
        ignored(pod("web-0", Some(("ReplicaSet", "web-abc")), "abc")),
    ];
    assert_eq!(names(&pods, &workload("Deployment")), ["web-1", "web-2"]);
    assert_eq!(names(&pods, &workload("StatefulSet")), ["set-0"]);
    assert!(names(&pods, &workload("DaemonSet")).is_empty());
}

#[test]
fn a_selector_takes_pods_of_any_owner() {
    let pods = [
        pod("web-1", Some(("ReplicaSet", "any")), "abc"),
        pod("job-1", Some(("Job", "any")), ""),
        pod("bare", None, ""),
    ];
    let target = target(&json!({"selector": {"matchLabels": {"app": "web"}}}));
    assert_eq!(names(&pods, &target), ["bare", "job-1", "web-1"]);
}
