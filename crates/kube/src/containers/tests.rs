#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;

const MARK: &str = "aaaaaaaa/3 2026-05-04T03:10:00Z app=1";

fn target(recycle: &Value) -> TargetSpec {
    serde_json::from_value(json!({
        "name": "web",
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "pools": [{"endpoint": "Reader", "connectionsPerPod": 1}],
        "recycle": recycle
    }))
    .unwrap()
}

fn running(name: &str, restarts: i32) -> Value {
    let state = json!({"running": {"startedAt": "2026-05-04T03:00:09Z"}});
    json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": restarts, "state": state})
}

fn waiting(name: &str, restarts: i32) -> Value {
    let state = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state})
}

fn pod(mark: Option<&str>, statuses: &[Value]) -> Pod {
    let notes = mark.map_or(json!({}), |m| json!({"dbbalance.io/restarts": m}));
    serde_json::from_value(json!({
        "metadata": {"name": "web-1", "annotations": notes},
        "spec": {"containers": [{"name": "app"}, {"name": "shipper"}]},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": statuses
        }
    }))
    .unwrap()
}

fn claim(attempt: Attempt) -> Claim {
    let claim = Claim::parse("aaaaaaaa/3 1 2026-05-04T03:10:00Z").unwrap();
    Claim { attempt, ..claim }
}

fn ended(mark: &str, statuses: &[Value]) -> Vec<String> {
    compare_restarts(&pod(Some(mark), statuses)).unwrap().ended
}

#[test]
fn the_mark_counts_the_restarts_of_the_containers_that_run_at_the_claim() {
    let http = target(&json!({"method": "HTTP", "http": {"port": 80, "path": "/"}}));
    let found = pod(None, &[running("app", 1), waiting("shipper", 40)]);
    let mark = mark_restarts(&found, &http, &claim(Attempt::First)).unwrap();
    assert_eq!(mark.to_string(), MARK);
    let none = pod(None, &[waiting("app", 1)]);
    assert_eq!(mark_restarts(&none, &http, &claim(Attempt::First)), None);
}

#[test]
fn the_mark_of_a_signal_counts_the_named_container_alone() {
    let signal = json!({"method": "Signal", "signal": {"name": "HUP", "container": "app"}});
    let found = pod(None, &[running("app", 1), running("shipper", 40)]);
    let mark = mark_restarts(&found, &target(&signal), &claim(Attempt::First)).unwrap();
    assert_eq!(mark.to_string(), MARK);
}

#[test]
fn the_mark_says_that_a_pod_was_not_ready() {
    let http = target(&json!({"method": "HTTP", "http": {"port": 80, "path": "/"}}));
    let mut found = pod(None, &[running("app", 1)]);
    found.status.as_mut().unwrap().conditions = None;
    let mark = mark_restarts(&found, &http, &claim(Attempt::First)).unwrap();
    assert_eq!(mark.to_string(), format!("{MARK} NotReady"));
    let since = compare_restarts(&pod(Some(&mark.to_string()), &[running("app", 1)])).unwrap();
    assert!(!since.was_ready);
}

#[test]
fn a_second_attempt_keeps_the_mark_of_the_first() {
    let http = target(&json!({"method": "HTTP", "http": {"port": 80, "path": "/"}}));
    let statuses = [running("app", 2)];
    let retry = claim(Attempt::Retry);
    assert_eq!(
        mark_restarts(&pod(Some(MARK), &statuses), &http, &retry),
        None
    );
    let older = "aaaaaaaa/2 2026-05-04T02:00:00Z app=0";
    let mark = mark_restarts(&pod(Some(older), &statuses), &http, &retry).unwrap();
    assert_eq!(
        mark.restarts["app"], 2,
        "the mark of an older epoch is replaced"
    );
}

#[test]
fn a_container_has_ended_when_it_restarted_or_does_not_run_any_more() {
    assert!(ended(MARK, &[running("app", 1)]).is_empty());
    assert_eq!(ended(MARK, &[running("app", 2)]), ["app"]);
    assert_eq!(
        ended(MARK, &[waiting("app", 1)]),
        ["app"],
        "not restarted yet"
    );
    assert_eq!(ended(MARK, &[]), ["app"], "its state is not known");
}

#[test]
fn a_container_that_did_not_run_at_the_claim_may_restart() {
    let statuses = [running("app", 1), running("shipper", 41)];
    assert!(ended(MARK, &statuses).is_empty());
}

#[test]
fn a_pod_without_a_readable_mark_cannot_be_compared() {
    assert_eq!(compare_restarts(&pod(None, &[running("app", 9)])), None);
    assert_eq!(
        compare_restarts(&pod(Some("x"), &[running("app", 9)])),
        None
    );
}

#[test]
fn the_end_of_a_container_is_dated_where_its_status_dates_it() {
    let end = "2026-05-04T03:10:02Z";
    let terminated = json!({"terminated": {"exitCode": 1, "finishedAt": end}});
    let mut restarted = running("app", 2);
    restarted["lastState"] = terminated.clone();
    let mut down = waiting("app", 1);
    down["state"] = terminated;
    for status in [restarted, down] {
        let since = compare_restarts(&pod(Some(MARK), &[status])).unwrap();
        assert_eq!(since.ended_at, Some(end.parse().unwrap()));
    }
    let since = compare_restarts(&pod(Some(MARK), &[running("app", 2)])).unwrap();
    assert_eq!(since.ended_at, None, "one that is not dated");
    let since = compare_restarts(&pod(Some(MARK), &[running("app", 1)])).unwrap();
    assert_eq!(since.ended_at, None, "one that runs on");
}
