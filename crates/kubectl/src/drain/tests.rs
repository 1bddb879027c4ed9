#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;

/// A policy with this annotation and condition `Drained`.
fn policy(drain: Option<&str>, condition: Option<(&str, &str, &str)>) -> DbBalancePolicy {
    let conditions: Vec<_> = condition
        .into_iter()
        .map(|(status, reason, message)| {
            json!({
                "type": "Drained", "status": status, "reason": reason, "message": message,
                "lastTransitionTime": "2026-05-04T03:00:00Z"
            })
        })
        .collect();
    let annotations = drain.map_or_else(|| json!({}), |text| json!({ DRAIN: text }));
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"name": "orders", "annotations": annotations},
        "spec": {"cluster": {"identifier": "orders"}, "targets": []},
        "status": {"conditions": conditions}
    }))
    .unwrap()
}

#[test]
fn an_instance_is_added_once_and_beside_others() {
    let add = |drain| add_instance(named_instances(&policy(drain, None)), "orders-3");
    assert_eq!(add(None), "orders-3");
    assert_eq!(add(Some("orders-4")), "orders-4,orders-3");
    assert_eq!(add(Some(" orders-3 ,orders-4")), "orders-3,orders-4");
}

#[test]
fn a_drain_has_ended_when_the_condition_says_so_of_this_instance() {
    let state = |condition| drain_state(&policy(Some("orders-3"), Some(condition)), "orders-3");
    let words = "orders-3: 0 of 64 connections left";
    assert_eq!(
        state(("True", "Drained", words)),
        DrainState::Drained(words.to_owned())
    );
    let waits = |condition| matches!(state(condition), DrainState::Waiting(_));
    assert!(waits((
        "False",
        "Draining",
        "orders-3: 12 of 64 connections left"
    )));
    assert!(
        waits(("True", "Drained", "orders-33: 0 of 64 connections left")),
        "an older one"
    );
    assert!(matches!(
        drain_state(&policy(None, None), "orders-3"),
        DrainState::Waiting(_)
    ));
}

#[test]
fn a_refusal_ends_the_wait_with_the_sum() {
    let words = "the other readers cannot take the connections: orders-2 needs 2180, has 1950";
    let refused = policy(Some("orders-3"), Some(("False", "NoRoom", words)));
    assert_eq!(
        drain_state(&refused, "orders-3"),
        DrainState::Refused(words.to_owned())
    );
}
