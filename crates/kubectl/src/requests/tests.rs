#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

fn policy(token: &str, status: &Value) -> DbBalancePolicy {
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"name": "orders", "namespace": "shop", "annotations": {RECYCLE_REQUESTED: token}},
        "spec": {
            "cluster": {"identifier": "orders-prod"},
            "targets": [{
                "name": "web", "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": 1}], "recycle": {"method": "Evict"}
            }]
        },
        "status": status
    }))
    .unwrap()
}

fn status(fresh: &str, run: &str, due: i64) -> Value {
    json!({
        "epoch": 3, "recycleRequested": "t", "stale": "1/2",
        "conditions": [{"type": "Fresh", "status": fresh, "reason": "r", "message": "m", "lastTransitionTime": "2026-05-04T15:41:00Z"}],
        "targets": [{
            "name": "web", "owned": true, "dueEpoch": due,
            "run": {
                "target": "web", "epoch": 3, "triggers": ["Manual"], "startTime": "2026-05-04T15:48:00Z",
                "lastProgressTime": "2026-05-04T15:50:00Z", "pods": 2, "recycled": 1, "failed": 0, "result": run,
                "message": "why"
            }
        }],
        "plan": [{"target": "web", "action": "a", "waitingFor": "Budget"}]
    })
}

#[test]
fn a_request_is_waited_for_until_pods_are_fresh_and_no_run_is_in_progress() {
    let waiting = |status: &Value, said: &str| {
        assert_eq!(
            request_state(&policy("t", status), "t"),
            RequestState::Waiting(said.to_owned())
        );
    };
    waiting(
        &json!({"epoch": 2}),
        "waiting for the operator to accept the request",
    );
    waiting(
        &status("False", "Running", 3),
        "1/2 pods are stale; web waits for Budget",
    );
    waiting(
        &status("True", "Running", 3),
        "1/2 pods are stale; web waits for Budget",
    );
    let done = request_state(&policy("t", &status("True", "Succeeded", 3)), "t");
    assert_eq!(
        done,
        RequestState::Fresh("all pods are fresh at epoch 3".to_owned())
    );
}

#[test]
fn a_run_that_halts_ends_the_wait_and_an_older_one_does_not() {
    let halted = request_state(&policy("t", &status("False", "Halted", 3)), "t");
    assert_eq!(
        halted,
        RequestState::Halted(
            "the run of target web has halted, 1 of 2 pods recycled: why".to_owned()
        )
    );
    let older = request_state(&policy("t", &status("False", "Halted", 4)), "t");
    assert!(matches!(older, RequestState::Waiting(_)), "{older:?}");
}

#[test]
fn another_request_meanwhile_ends_the_wait() {
    let other = request_state(&policy("u", &json!({"epoch": 2})), "t");
    assert!(matches!(other, RequestState::Halted(words) if words.contains("token u")));
}

#[test]
fn a_request_that_would_not_be_accepted_is_refused() {
    let refused = |status: &Value, part: &str| {
        let said = check_request(&policy("x", status), "t")
            .unwrap_err()
            .to_string();
        assert!(said.contains(part), "{said}");
    };
    refused(&json!({}), "has not been seen by an operator yet");
    refused(
        &status("True", "Succeeded", 3),
        "has already accepted token t",
    );
    assert!(check_request(&policy("x", &json!({"epoch": 1})), "t").is_ok());
}

#[test]
fn a_pause_ends_in_the_future() {
    let now: Timestamp = "2026-05-04T15:52:35Z".parse().unwrap();
    let mut args = PauseArgs {
        policy: "orders".to_owned(),
        duration: SignedDuration::from_hours(2),
        until: None,
        reason: None,
    };
    assert_eq!(
        pause_end(&args, now).unwrap().to_string(),
        "2026-05-04T17:52:35Z"
    );
    args.until = Some(now);
    let said = pause_end(&args, now).unwrap_err().to_string();
    assert!(
        said.contains("is in the past: it is 2026-05-04 15:52:35Z now"),
        "{said}"
    );
}
