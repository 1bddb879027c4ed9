#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use serde_json::json;

use super::super::testing::{
    client_answering, client_silent_then, failure_body, failure_body_with_cause, pod_ref,
    silent_client,
};
use super::*;

async fn answered(code: u16, body: serde_json::Value) -> EffectOutcome {
    let (client, _seen) = client_answering(code, body);
    evict_pod(&client, &pod_ref()).await
}

#[tokio::test]
async fn an_eviction_carries_the_uid_as_a_precondition() {
    let (client, seen) = client_answering(201, json!({"kind": "Status", "status": "Success"}));
    assert_eq!(evict_pod(&client, &pod_ref()).await, EffectOutcome::Done);
    let seen = seen.await.unwrap();
    assert_eq!(seen.method, "POST");
    assert!(
        seen.uri
            .starts_with("/api/v1/namespaces/shop/pods/web-1/eviction")
    );
    assert_eq!(
        seen.body,
        json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": "web-1", "namespace": "shop"},
            "deleteOptions": {"preconditions": {"uid": "u-1"}}
        })
    );
}

#[tokio::test]
async fn a_disruption_budget_is_a_gate_and_is_named() {
    let said = failure_body_with_cause(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        (
            "DisruptionBudget",
            "The disruption budget web needs 3 healthy pods and has 3 currently",
        ),
    );
    let EffectOutcome::Blocked { by, message } = answered(429, said).await else {
        panic!("not a gate");
    };
    assert_eq!(by, BlockedBy::DisruptionBudget);
    assert!(
        message.contains("The disruption budget web needs 3"),
        "{message}"
    );
}

#[tokio::test]
async fn load_shedding_is_not_taken_for_a_disruption_budget() {
    let said = failure_body(
        429,
        "TooManyRequests",
        "Too many requests, please try again later.",
    );
    let EffectOutcome::Blocked { by, .. } = answered(429, said).await else {
        panic!("not a gate");
    };
    assert_eq!(by, BlockedBy::ApiServerBusy);
}

#[tokio::test]
async fn a_pod_of_two_budgets_can_never_be_evicted_and_the_message_says_why() {
    let said = failure_body(
        500,
        "InternalError",
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
    );
    let EffectOutcome::Blocked { by, message } = answered(500, said).await else {
        panic!("not a gate");
    };
    assert_eq!(by, BlockedBy::TooManyDisruptionBudgets);
    assert!(message.contains("let only one select it"));
}

#[tokio::test]
async fn a_pod_that_left_or_was_replaced_is_gone() {
    let left = failure_body(404, "NotFound", "pods \"web-1\" not found");
    assert_eq!(answered(404, left).await, EffectOutcome::Gone);
    let replaced = failure_body(
        409,
        "Conflict",
        "Operation cannot be fulfilled on Pod \"web-1\": the UID in the precondition (u-1) does not match the UID in record (u-2). The object might have been deleted and then recreated",
    );
    assert_eq!(answered(409, replaced).await, EffectOutcome::Gone);
}

#[tokio::test]
async fn a_terminating_namespace_is_told_from_a_missing_permission() {
    let ending = failure_body_with_cause(
        403,
        "Forbidden",
        "unable to create new content in namespace shop because it is being terminated",
        ("NamespaceTerminating", "namespace shop is being terminated"),
    );
    let EffectOutcome::Blocked { by, .. } = answered(403, ending).await else {
        panic!("not a gate");
    };
    assert_eq!(by, BlockedBy::NamespaceTerminating);
    let forbidden = failure_body(403, "Forbidden", "User cannot create resource");
    let EffectOutcome::Failed { fault, message } = answered(403, forbidden).await else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Forbidden);
    assert!(fault.is_structural());
    assert!(message.contains("pods/eviction"));
}

#[tokio::test]
async fn other_errors_of_the_server_are_no_gates() {
    let EffectOutcome::Failed { fault, .. } =
        answered(500, failure_body(500, "InternalError", "etcd")).await
    else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::ApiError);
}

#[tokio::test(start_paused = true)]
async fn a_hung_server_ends_in_a_time_out() {
    let EffectOutcome::Failed { fault, .. } = evict_pod(&silent_client(), &pod_ref()).await else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Timeout);
}

#[tokio::test(start_paused = true)]
async fn after_a_time_out_the_pod_says_what_happened() {
    let found = |uid: &str, ends: Option<&str>| json!({"metadata": {"name": "web-1", "uid": uid, "deletionTimestamp": ends}});
    for (code, body, wanted) in [
        (
            404,
            failure_body(404, "NotFound", "not found"),
            EffectOutcome::Gone,
        ),
        (200, found("u-2", None), EffectOutcome::Gone),
        (
            200,
            found("u-1", Some("2026-11-22T10:00:00Z")),
            EffectOutcome::Done,
        ),
    ] {
        let client = client_silent_then(code, body);
        assert_eq!(evict_pod(&client, &pod_ref()).await, wanted);
    }
}
