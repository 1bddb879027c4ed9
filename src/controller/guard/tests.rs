#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn policy(change: impl FnOnce(&mut Value)) -> DbBalancePolicy {
    let mut policy = json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {
            "namespace": "shop", "name": "orders", "uid": "u", "resourceVersion": "7", "generation": 2
        },
        "spec": {"cluster": {"identifier": "orders-db"}, "targets": []}
    });
    change(&mut policy["metadata"]);
    serde_json::from_value(policy).unwrap()
}

fn stands(change: impl FnOnce(&mut Value)) -> bool {
    PolicyGuard::new(&policy(|_| {})).stands_for(&policy(change))
}

#[test]
fn a_plan_stands_while_only_the_status_changes() {
    assert!(stands(|_| {}));
    assert!(stands(|meta| meta["resourceVersion"] = "8".into()));
    assert!(stands(|meta| {
        meta["resourceVersion"] = "8".into();
        meta["annotations"] = json!({"dbbalance.io/pause-reason": "a note"});
    }));
}

#[test]
fn an_edit_a_pause_a_deletion_and_another_policy_void_the_plan() {
    let newer = |key: &'static str, value: Value| {
        move |meta: &mut Value| {
            meta["resourceVersion"] = "8".into();
            meta[key] = value;
        }
    };
    assert!(!stands(newer("generation", 3.into())));
    let pause = json!({"dbbalance.io/pause-until": "2026-11-29T00:00:00Z"});
    assert!(!stands(newer("annotations", pause)));
    let time = "2026-11-29T00:00:00Z".into();
    assert!(!stands(newer("deletionTimestamp", time)));
    assert!(!stands(newer("uid", "v".into())));
}

#[test]
fn a_cache_that_is_behind_the_plan_does_not_void_it() {
    assert!(stands(|meta| {
        meta["resourceVersion"] = "6".into();
        meta["generation"] = 1.into();
    }));
}
