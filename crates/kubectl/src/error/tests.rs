#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

fn status(code: u16, details: &serde_json::Value) -> Box<Status> {
    serde_json::from_value(json!({"status": "Failure", "code": code, "message": "said", "reason": "R", "details": details}))
        .unwrap()
}

#[test]
fn a_missing_right_is_named_with_what_was_tried() {
    let error = PluginError::from_kube(
        kube::Error::Api(status(403, &json!({}))),
        "listing pods",
        "list on pods",
    );
    assert_eq!(
        error.to_string(),
        "listing pods: said: ask for a role with list on pods"
    );
    assert_eq!(error.exit_code(), 1);
}

#[test]
fn a_missing_resource_is_told_from_a_missing_object() {
    let error = PluginError::from_kube(kube::Error::Api(status(404, &json!({}))), "reading", "");
    assert!(matches!(error, PluginError::NotInstalled));
    let error = PluginError::from_kube(
        kube::Error::Api(status(404, &json!({"name": "orders"}))),
        "reading",
        "",
    );
    assert!(matches!(error, PluginError::NotFound(_)));
}

#[test]
fn only_an_unproven_verification_has_an_exit_code_of_its_own() {
    assert_eq!(PluginError::NotProven(String::new()).exit_code(), 3);
    assert_eq!(PluginError::Declined(String::new()).exit_code(), 1);
}
