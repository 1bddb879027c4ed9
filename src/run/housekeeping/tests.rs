#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;
use dbbalance_api::prepared::PreparedReason;

/// A policy with one stale target that this gate holds.
fn held_by(gate: &str) -> DbBalancePolicy {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "orders"},
        "spec": {"cluster": {"identifier": "c"}, "targets": []},
        "status": {
            "targets": [{
                "name": "web", "owned": true, "pods": 4, "stale": 3, "dueEpoch": 2,
                "openTime": "2026-11-29T00:00:00Z"
            }],
            "plan": [{"target": "web", "action": "recycle", "waitingFor": gate}]
        }
    }))
    .unwrap()
}

#[test]
fn a_target_that_a_gate_holds_is_counted_by_the_gate() {
    let totals = count_fleet(&[&held_by("Budget"), &held_by("Evidence")]);
    assert_eq!(totals.holding, ["Budget", "Evidence"]);
    assert_eq!(totals.stale, 6);
    assert!(totals.stale_since.is_some());
}

#[test]
fn a_target_that_its_user_lets_wait_is_not_stale_for_too_long() {
    for gate in ["Window", "Paused", "Suspended", "Observe"] {
        let totals = count_fleet(&[&held_by(gate)]);
        assert_eq!((totals.stale, totals.stale_since), (3, None), "{gate}");
    }
}

#[test]
fn a_policy_that_is_not_prepared_is_counted_by_its_reason_while_false() {
    let judged = |status: &str, reason: &str| {
        let mut policy = held_by("Budget");
        let condition = json!({
            "type": "Prepared", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-11-29T00:00:00Z"
        });
        let recorded = policy.status.as_mut().unwrap();
        recorded.conditions = vec![serde_json::from_value(condition).unwrap()];
        policy
    };
    let policies = [
        judged("False", "LonePod"),
        judged("True", "MethodNotVerified"),
        judged("Unknown", "TopologyNotCurrent"),
        // Of another release.
        judged("False", "NoSuchReason"),
    ];
    let totals = count_fleet(&policies.each_ref());
    assert_eq!(totals.unprepared, [PreparedReason::LonePod]);
}
