#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

const CANVAS: Canvas = Canvas {
    colour: false,
    width: 110,
};

fn now() -> Timestamp {
    "2026-05-04T15:52:35Z".parse().unwrap()
}

fn condition(name: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({
        "type": name, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": "2026-05-04T15:41:00Z"
    })
}

fn policy() -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"name": "orders", "namespace": "shop", "uid": "0a1b2c3d-0000"},
        "spec": {
            "cluster": {"identifier": "orders-prod", "region": "eu-west-1"},
            "targets": [
                {
                    "name": "web", "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    "pools": [
                        {"endpoint": "Reader", "connectionsPerPod": 10}, {"endpoint": "Writer", "connectionsPerPod": 5}
                    ],
                    "recycle": {"method": "Signal", "signal": {"name": "HUP"}, "fallback": "Evict"}
                },
                {
                    "name": "jobs", "selector": {"matchLabels": {"app": "jobs"}},
                    "pools": [{"endpoint": "Reader", "connectionsPerPod": 2}], "recycle": {"method": "Evict"}
                }
            ]
        }
    })
}

fn running() -> Value {
    let mut policy = policy();
    let member = |n: u8, role: &str, address: Option<&str>| {
        let name = format!("orders-prod-{n}");
        json!({"instance": name, "resourceID": name, "role": role, "address": address})
    };
    let run = |result: &str, end: Option<&str>, recycled: u8, message: Option<&str>| {
        json!({
            "target": "web", "epoch": 12, "triggers": ["ReaderAdded"], "startTime": "2026-05-04T15:48:00Z",
            "lastProgressTime": "2026-05-04T15:50:00Z", "endTime": end, "pods": 20, "recycled": recycled,
            "failed": 0, "result": result, "message": message
        })
    };
    policy["status"] = json!({
        "epoch": 12, "stale": "8/22",
        "topology": {
            "fingerprint": "3f9c", "clusterARN": "arn", "clusterResourceID": "c", "writer": "orders-prod-1",
            "readerCount": 2,
            "members": [
                member(2, "Reader", Some("10.0.12.31")), member(1, "Writer", Some("10.0.11.7")), member(3, "Reader", None)
            ]
        },
        "conditions": [
            condition("Prepared", "False", "LonePod", "jobs: the only pod is not evicted"),
            condition("Fresh", "False", "StalePods", "8 of 22 pods are stale: web 8 of 20"),
            condition("Ready", "True", "Observed", "the policy is valid, its targets are found and its topology is read"),
            condition("Balanced", "False", "Unbalanced", "shares 71/29 %, not within 15 %, 20 of 20 pods read, and a \
                       message that is long enough to need a second line on any terminal of a usual width"),
            condition("Recycling", "True", "RunInProgress", "web: 12 of 20 pods recycled"),
            condition("Stalled", "True", "Halted", "target jobs has halted")
        ],
        "targets": [
            {
                "name": "web", "reference": "Deployment/web", "owned": true, "baselineEpoch": 1, "dueEpoch": 12,
                "openTime": "2026-05-04T15:47:50Z", "triggers": ["ReaderAdded"], "urgentEpoch": 0, "pods": 20,
                "stale": 8, "run": run("Running", None, 12, None)
            },
            {
                "name": "jobs", "reference": "selector/app=jobs", "owned": true, "baselineEpoch": 1, "dueEpoch": 1,
                "urgentEpoch": 0, "pods": 2, "stale": 0
            }
        ],
        "balance": [{
            "target": "web", "state": "Unbalanced", "reason": "Excess", "message": "shares 71/29 %, not within 15 %, 20 of 20 pods read",
            "source": "ProcNet", "measuredPods": "20/20", "lowest": 100, "highest": 115,
            "measuredTime": "2026-05-04T15:52:30Z", "misplaced": {"wrongRole": 0, "noMember": 0, "excess": 42},
            "shares": [
                {"instance": "orders-prod-1", "role": "Writer", "connections": 100, "percent": 33},
                {"instance": "orders-prod-2", "role": "Reader", "connections": 142, "percent": 47},
                {"instance": "orders-prod-3", "role": "Reader", "connections": 58, "percent": 20}
            ]
        }],
        "plan": [
            {
                "target": "web", "action": "recycle 8 of 20 pods to epoch 12 by Signal, next web-1, web-2",
                "waitingFor": "Pacing", "message": "2 of 2 pods are being recycled", "notBefore": "2026-05-04T15:52:45Z"
            },
            {"target": "jobs", "action": "", "waitingFor": "Window", "message": "window office denies", "notBefore": "2026-05-04T17:00:00Z"}
        ],
        "history": [
            run("Halted", Some("2026-05-04T15:50:00Z"), 3, Some("3 of 20 pods failed: signal HUP to process 1: the process does not catch it")),
            run("Succeeded", Some("2026-05-04T15:49:10Z"), 20, None)
        ]
    });
    policy
}

fn read(policy: Value) -> DbBalancePolicy {
    serde_json::from_value(policy).unwrap()
}

#[test]
fn a_policy_in_the_middle_of_a_run_is_one_page() {
    insta::assert_snapshot!(
        "status-running",
        &render_page(&read(running()), CANVAS, now()),
    );
    let narrow = Canvas {
        width: 70,
        ..CANVAS
    };
    insta::assert_snapshot!(
        "status-narrow",
        &render_page(&read(running()), narrow, now()),
    );
}

#[test]
fn a_policy_that_nobody_has_seen_says_so() {
    let mut fresh = policy();
    fresh["status"] = json!({"conditions": [{
        "type": "Ready", "status": "Unknown", "reason": "Pending", "message": "Waiting for the dbbalance operator",
        "lastTransitionTime": "1970-01-01T00:00:00Z"
    }]});
    insta::assert_snapshot!("status-unseen", &render_page(&read(fresh), CANVAS, now()));
}

#[test]
fn what_keeps_a_policy_from_acting_stands_in_its_first_line() {
    let first = |policy: Value| {
        let shown = render_page(&read(policy), CANVAS, now());
        shown.lines().next().unwrap_or_default().to_owned()
    };
    let mut paused = policy();
    paused["metadata"]["annotations"] =
        json!({PAUSE_UNTIL: "2026-05-04T17:52:35Z", PAUSE_REASON: "release day"});
    assert_eq!(
        first(paused.clone()),
        "orders in shop: Enforce, paused until 2026-05-04 17:52:35Z (for 2h): release day"
    );
    paused["metadata"]["annotations"][PAUSE_UNTIL] = json!("2026-05-04T15:52:34Z");
    assert_eq!(
        first(paused.clone()),
        "orders in shop: Enforce",
        "a pause that is over"
    );
    paused["metadata"]["annotations"][PAUSE_UNTIL] = json!("tomorrow");
    assert!(first(paused).contains("is \"tomorrow\", which is not an RFC 3339 time"));
    let mut observed = policy();
    observed["spec"]["mode"] = json!("Observe");
    observed["spec"]["suspend"] = json!(true);
    assert_eq!(
        first(observed),
        "orders in shop: Observe (plans and shows, changes nothing), suspended"
    );
}

#[test]
fn all_policies_are_a_table() {
    let mut other = policy();
    other["metadata"]["name"] = json!("a-policy-with-a-longer-name");
    insta::assert_snapshot!(
        "status-all",
        &render_list(&[read(other), read(running())], CANVAS, now()),
    );
}

#[test]
fn the_plan_is_a_paragraph_for_each_target() {
    insta::assert_snapshot!("plan", &plan::render_page(&read(running()), CANVAS, now()));
}
