#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn policy(dns: &Value, status: &Value) -> DbBalancePolicy {
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"cluster": {"identifier": "orders-prod"}, "targets": [], "dns": dns},
        "status": status,
    }))
    .unwrap()
}

fn narrowed(via: &str) -> DbBalancePolicy {
    let dns = json!({
        "service": "orders-ro", "via": via, "led": "orders-4", "narrowedSince": "2026-11-29T15:40:01Z"
    });
    policy(
        &json!({"steering": {"via": via, "reader": "orders-ro"}}),
        &json!({"dns": dns}),
    )
}

#[test]
fn a_policy_without_a_name_is_refused_and_one_with_a_name_left_over_is_not() {
    let message = check_steered(&policy(&json!({}), &json!({})))
        .unwrap_err()
        .to_string();
    assert!(message.contains("no spec.dns.steering"), "{message}");
    let left = json!({"dns": {"service": "orders-ro", "via": "Service", "led": "orders-4"}});
    assert!(check_steered(&policy(&json!({}), &left)).is_ok());
    assert!(check_steered(&narrowed("Service")).is_ok());
}

#[test]
fn a_name_is_narrowed_while_the_status_says_since_when() {
    assert!(narrowed_name(&narrowed("Slice")).is_some());
    let wide = json!({"dns": {"service": "orders-ro", "via": "Service", "led": "Aurora"}});
    assert!(narrowed_name(&policy(&json!({}), &wide)).is_none());
    assert!(narrowed_name(&policy(&json!({}), &json!({}))).is_none());
}

#[test]
fn a_name_that_stays_narrowed_comes_with_the_command_that_widens_it() {
    for (via, part) in [
        ("Service", "kubectl -n shop patch service orders-ro"),
        ("Slice", "patch endpointslice orders-ro"),
    ] {
        let policy = narrowed(via);
        let message = describe_narrowed(&policy, narrowed_name(&policy).unwrap(), 30);
        assert!(
            message.contains("still leads to orders-4 after 30 s"),
            "{message}"
        );
        assert!(message.contains(part), "{message}");
    }
}
