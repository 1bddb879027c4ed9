#![allow(clippy::unwrap_used)]

use super::*;

fn holding(name: &str, running: usize) -> PeerHolding {
    PeerHolding {
        namespace: "shop".into(),
        name: name.into(),
        running,
        ..PeerHolding::default()
    }
}

/// Enters on the view of now.
fn enter(ledger: &Ledger, uid: &str, cluster: &str, running: usize) {
    let view = ledger.view(cluster, uid);
    assert!(ledger.enter(uid, cluster, Some(holding(uid, running)), &view));
}

fn running(ledger: &Ledger, cluster: &str, own: &str) -> usize {
    let peers = ledger.view(cluster, own).peers;
    peers.iter().map(|(_, peer)| peer.running).sum()
}

#[test]
fn a_plan_on_what_has_changed_since_is_not_entered() {
    let ledger = Ledger::default();
    enter(&ledger, "a", "arn", 0);
    enter(&ledger, "b", "arn", 0);
    let seen = ledger.view("arn", "a");
    enter(&ledger, "b", "arn", 1);
    assert!(!ledger.enter("a", "arn", Some(holding("a", 1)), &seen));
    assert_eq!(running(&ledger, "arn", ""), 1);
    let seen = ledger.view("arn", "a");
    assert!(ledger.enter("a", "arn", Some(holding("a", 1)), &seen));
    assert_eq!(running(&ledger, "arn", ""), 2);
}

#[test]
fn a_policy_that_reserves_nothing_new_is_never_asked_to_plan_again() {
    let ledger = Ledger::default();
    enter(&ledger, "a", "arn", 1);
    let seen = ledger.view("arn", "a");
    enter(&ledger, "b", "arn", 1);
    assert!(ledger.enter("a", "arn", Some(holding("a", 1)), &seen));
    let other = ledger.view("other", "c");
    enter(&ledger, "b", "arn", 2);
    assert!(
        ledger.enter("c", "other", Some(holding("c", 1)), &other),
        "clusters do not disturb each other"
    );
}

#[test]
fn a_policy_counts_on_one_cluster_and_not_on_itself() {
    let ledger = Ledger::default();
    enter(&ledger, "a", "old", 1);
    assert_eq!(running(&ledger, "old", "a"), 0);
    enter(&ledger, "a", "new", 1);
    assert_eq!(running(&ledger, "old", ""), 0);
    assert_eq!(running(&ledger, "new", ""), 1);
}

#[test]
fn a_policy_that_counts_nowhere_takes_its_entry_back() {
    let ledger = Ledger::default();
    enter(&ledger, "a", "arn", 1);
    let seen = ledger.view("arn", "a");
    enter(&ledger, "b", "arn", 1);
    assert!(ledger.enter("a", "arn", None, &seen));
    assert_eq!(running(&ledger, "arn", ""), 1);
    ledger.retain(&HashSet::new());
    assert_eq!(running(&ledger, "arn", ""), 0);
}

#[test]
fn only_a_policy_that_was_never_entered_is_entered_for_it() {
    let ledger = Ledger::default();
    enter(&ledger, "a", "arn", 1);
    let policies = [("a", 1), ("b", 2)];
    assert_eq!(ledger.find_missing(policies.into_iter()), [2]);
    ledger.enter_first("a", "arn", Some(holding("a", 5)));
    ledger.enter_first("b", "arn", Some(holding("b", 2)));
    assert_eq!(running(&ledger, "arn", ""), 3);
    assert!(ledger.find_missing(policies.into_iter()).is_empty());
}

#[test]
fn a_ledger_is_young_for_a_minute_and_again_after_another_replica_has_led() {
    let ledger = Ledger::default();
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
    assert!(ledger.is_young(at(0)) && ledger.is_young(at(59)));
    assert!(!ledger.is_young(at(60)));
    ledger.clear();
    assert!(ledger.is_young(at(100)) && !ledger.is_young(at(160)));
}
