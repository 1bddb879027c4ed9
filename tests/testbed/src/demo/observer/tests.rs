use super::*;
use serde_json::json;

pub(in crate::demo) fn reader(name: &str, connections: usize) -> InstanceView {
    InstanceView {
        name: name.into(),
        writer: Some(false),
        connections,
        status: "available".into(),
        served: true,
    }
}

fn even() -> DemoSnapshot {
    let mut snapshot = DemoSnapshot {
        instances: vec![
            reader("orders-1", 0),
            reader("orders-2", 58),
            reader("orders-3", 62),
        ],
        ..DemoSnapshot::default()
    };
    snapshot.instances[0].writer = Some(true);
    snapshot.policy.state = "Balanced".into();
    snapshot.policy.band = Some((50, 70));
    snapshot
}

#[test]
fn readers_within_the_band_are_even() {
    assert!(even().is_even(120));
    assert_eq!(even().percent(&reader("orders-2", 58)), 48);
}

#[test]
fn one_connection_on_the_writer_is_not_even() {
    let mut snapshot = even();
    snapshot.instances[0].connections = 1;
    snapshot.instances[1].connections = 57;
    assert!(!snapshot.is_even(120));
}

#[test]
fn what_the_policy_says_is_not_believed_against_the_databases() {
    let mut snapshot = even();
    snapshot.instances[1].connections = 20;
    snapshot.instances[2].connections = 100;
    assert!(!snapshot.is_even(120));
}

#[test]
fn missing_connections_and_stale_pods_are_not_the_end() {
    assert!(!even().is_even(121));
    let mut snapshot = even();
    snapshot.policy.stale = 1;
    assert!(!snapshot.is_even(120));
}

#[test]
fn a_policy_without_status_says_nothing() {
    let read = read_policy(&json!({"spec": {"mode": "Observe"}}));
    assert_eq!(
        (read.mode.as_str(), read.epoch, read.band),
        ("Observe", 0, None)
    );
    assert!(
        !DemoSnapshot {
            policy: read,
            ..even()
        }
        .is_even(120)
    );
}

#[test]
fn the_plan_is_told_with_what_it_waits_for() {
    let read = read_policy(
        &json!({"status": {"plan": [{"action": "recycle web-1", "message": "mode is Observe"}],
            "balance": [{"lowest": 20, "highest": 46, "limitedBy": "PodQuantum"}]}}),
    );
    assert_eq!(read.plan, "recycle web-1: mode is Observe");
    assert_eq!((read.band, read.quantum), (Some((20, 46)), true));
}

#[test]
fn a_query_that_is_slow_has_not_failed() {
    let stats =
        json!({"recycles": 2, "pools": {"reader": {"ok": 7, "failed": 1, "slow": 3, "stuck": 3}}});
    let read = read_queries(&stats);
    assert_eq!((read.ok, read.failed, read.recycles), (7, 1, 2));
}
