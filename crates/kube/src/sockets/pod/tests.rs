#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    let mut pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "namespace": "shop", "name": "web-1", "uid": "u-1",
            "labels": {"pod-template-hash": "5f6d"}
        }
    }))
    .unwrap();
    pod.spec = Some(serde_json::from_value(spec).unwrap());
    pod
}

#[test]
fn containers_that_stay_may_be_read_in_and_others_not() {
    let found = pod(json!({
        "containers": [{"name": "app"}, {"name": "log"}],
        "initContainers": [{"name": "migrate"}, {"name": "mesh", "restartPolicy": "Always"}]
    }));
    let read = PodToRead::from_pod(&found, 5432, None).unwrap();
    assert_eq!(read.containers, ["app", "log", "mesh"]);
    assert_eq!(read.template, "5f6d");
    assert_eq!(read.refused, None);
    let named = PodToRead::from_pod(&found, 5432, Some("mesh")).unwrap();
    assert_eq!(named.containers, ["mesh"]);
}

#[test]
fn a_name_that_the_pod_lacks_is_refused_by_its_field() {
    let found = pod(json!({"containers": [{"name": "app"}]}));
    let refused = PodToRead::from_pod(&found, 5432, Some("log"))
        .unwrap()
        .refused
        .unwrap();
    assert_eq!(refused.reason, UnreadableReason::NoSuchContainer);
    assert!(refused.message.contains("targets[].evidenceContainer"));
}

#[test]
fn a_pod_on_its_node_s_network_is_refused() {
    let found = pod(json!({"containers": [{"name": "app"}], "hostNetwork": true}));
    let refused = PodToRead::from_pod(&found, 5432, None)
        .unwrap()
        .refused
        .unwrap();
    assert_eq!(refused.reason, UnreadableReason::HostNetwork);
}

#[test]
fn a_pod_without_a_template_is_its_own() {
    let mut found = pod(json!({"containers": [{"name": "app"}]}));
    found.metadata.labels = None;
    assert_eq!(
        PodToRead::from_pod(&found, 1, None).unwrap().template,
        "u-1"
    );
}
