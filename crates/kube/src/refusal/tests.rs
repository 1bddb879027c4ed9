#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn status(body: Value) -> Status {
    serde_json::from_value(body).unwrap()
}

/// Answers as kube-apiserver 1.36 sends them.
fn failed_test() -> Status {
    status(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid", "details": {}
    }))
}

fn refused_by_schema(policy: &str) -> Status {
    status(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
        "message": format!(
            "DbBalancePolicy.dbbalance.io \"{policy}\" is invalid: status.targets[0].stale: Invalid value: -1: \
             status.targets[0].stale in body should be greater than or equal to 0"
        ),
        "reason": "Invalid",
        "details": {
            "name": policy, "group": "dbbalance.io", "kind": "DbBalancePolicy",
            "causes": [{
                "reason": "FieldValueInvalid", "field": "status.targets[0].stale",
                "message": "Invalid value: -1: should be greater than or equal to 0"
            }]
        }
    }))
}

fn denied_by_policy() -> Status {
    status(json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 422,
        "message": "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        "reason": "Invalid",
        "details": {"name": "web-1", "kind": "pods", "causes": [{"message": "ValidatingAdmissionPolicy 'p' denied"}]}
    }))
}

#[test]
fn a_failed_test_operation_is_a_lost_race_though_its_text_says_nothing_of_a_test() {
    assert!(is_lost_race(&failed_test()));
}

#[test]
fn a_changed_resource_version_is_a_lost_race() {
    assert!(is_lost_race(&status(json!({
        "status": "Failure", "code": 409, "reason": "Conflict", "message": "the object has been modified",
        "details": {"name": "orders", "kind": "dbbalancepolicies"}
    }))));
}

#[test]
fn content_that_the_schema_refuses_is_no_lost_race_whatever_the_object_is_called() {
    assert!(!is_lost_race(&refused_by_schema("load-test")));
    assert!(!is_lost_race(&denied_by_policy()));
}

#[test]
fn a_refusal_is_about_the_field_that_its_cause_names() {
    let status = refused_by_schema("load-test");
    assert!(is_about_field(&status, "status.targets[0].stale"));
    assert!(!is_about_field(&status, "metadata.uid"));
}
