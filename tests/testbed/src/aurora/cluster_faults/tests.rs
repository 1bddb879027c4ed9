#![allow(clippy::unwrap_used)]
use super::super::published_state::{PublishedState, StateChange};
use super::*;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `a` is the writer until 10 s, then `b`.
fn history() -> InventoryHistory {
    let mut published = PublishedState::default();
    published.add_cluster(new_cluster("orders", "aurora-postgresql", "c".into(), ""));
    for name in ["a", "b"] {
        published
            .inventory
            .clusters
            .get_mut("orders")
            .unwrap()
            .members
            .push(ClusterMember {
                instance: name.into(),
                writer: name == "a",
                tier: 1,
            });
    }
    let mut history = InventoryHistory::default();
    history.record(seconds(0), &published.inventory);
    published.apply("orders", &StateChange::Writer("b".into()));
    history.record(seconds(10), &published.inventory);
    history
}

fn writers(faults: &ClusterFaults, set: u64, now: u64, call: u64) -> Vec<String> {
    let faults_by_cluster =
        FaultsByCluster::from([("orders".to_owned(), (seconds(set), faults.clone()))]);
    let inventory = apply_faults(&history(), &faults_by_cluster, seconds(now), call);
    inventory.clusters["orders"]
        .members
        .iter()
        .filter(|member| member.writer)
        .map(|member| member.instance.clone())
        .collect()
}

#[test]
fn a_late_api_tells_the_past_and_catches_up() {
    let late = ClusterFaults {
        late: Some(5.0),
        ..ClusterFaults::default()
    };
    assert_eq!(writers(&late, 0, 14, 0), ["a"]);
    assert_eq!(writers(&late, 0, 15, 0), ["b"]);
}

#[test]
fn a_stale_api_never_catches_up() {
    let stale = ClusterFaults {
        stale: true,
        ..ClusterFaults::default()
    };
    assert_eq!(writers(&stale, 9, 500, 0), ["a"]);
}

#[test]
fn answers_of_two_replicas_alternate_until_both_know() {
    let alternate = ClusterFaults {
        alternate: Some(30.0),
        ..ClusterFaults::default()
    };
    let seen = |now| -> std::collections::BTreeSet<String> {
        (0..40)
            .flat_map(|call| writers(&alternate, 0, now, call))
            .collect()
    };
    assert_eq!(seen(20).len(), 2);
    assert_eq!(seen(41), ["b".to_owned()].into());
}

#[test]
fn none_or_two_may_be_told_as_writers() {
    let count = |writers| ClusterFaults {
        writers: Some(writers),
        ..ClusterFaults::default()
    };
    assert!(writers(&count(0), 0, 20, 0).is_empty());
    assert_eq!(writers(&count(2), 0, 20, 0), ["a", "b"]);
}

#[test]
fn foreign_rows_have_other_engines() {
    let foreign = ClusterFaults {
        foreign: true,
        ..ClusterFaults::default()
    };
    let faults_by_cluster = FaultsByCluster::from([("orders".to_owned(), (seconds(0), foreign))]);
    let inventory = apply_faults(&history(), &faults_by_cluster, seconds(20), 0);
    assert_eq!(inventory.clusters.len(), 4);
    assert!(inventory.clusters.values().any(|row| row.engine == "docdb"));
}

#[test]
fn the_history_keeps_what_was_told_at_its_horizon() {
    let mut history = history();
    for minute in 1..30 {
        let last = history.at(seconds(60 * minute)).unwrap().clone();
        history.record(seconds(60 * minute), &last);
    }
    assert!(history.entries.len() < 14);
    assert!(history.at(seconds(0)).is_some());
}
