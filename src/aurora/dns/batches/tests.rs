//! The order of turns.

use super::*;
use crate::aurora::dns::requests::LookUrgency;

fn wants(urgency: LookUrgency, namespaces: &[&str]) -> WantedBatch {
    WantedBatch {
        urgency,
        questions: vec![DnsQuestion::Writer],
        namespaces: namespaces.iter().map(|n| Some((*n).to_owned())).collect(),
    }
}

/// The clusters that get the next turns, each of which waits again at once.
fn turns(wants: &[WantedBatch], count: usize) -> Vec<usize> {
    let mut namespaces = HashMap::new();
    let mut last_turns = vec![0; wants.len()];
    let turns = (1..).take(count).filter_map(|turn| {
        let (index, namespace) = choose_next(wants, &last_turns, &namespaces)?;
        last_turns[index] = turn;
        namespaces.insert(namespace, turn);
        Some(index)
    });
    turns.collect()
}

#[test]
fn each_namespace_has_every_other_turn_however_many_clusters_wait_in_it() {
    let mut all = vec![wants(LookUrgency::Awaited, &["many"]); 100];
    all.push(wants(LookUrgency::Awaited, &["one"]));
    let turns = turns(&all, 20);
    assert_eq!(turns.iter().filter(|t| **t == 100).count(), 10, "{turns:?}");
    assert_eq!(turns[..8], [0, 100, 1, 100, 2, 100, 3, 100]);
}

#[test]
fn the_clusters_of_a_namespace_take_turns() {
    let all = vec![wants(LookUrgency::Awaited, &["shop"]); 3];
    assert_eq!(turns(&all, 7), [0, 1, 2, 0, 1, 2, 0]);
}

#[test]
fn a_cluster_of_several_namespaces_takes_a_turn_of_one_of_them() {
    let all = [
        wants(LookUrgency::Awaited, &["a", "b"]),
        wants(LookUrgency::Awaited, &["b"]),
    ];
    assert_eq!(turns(&all, 4), [0, 1, 0, 1]);
}

#[test]
fn what_is_only_expected_takes_what_is_left() {
    let all = [
        wants(LookUrgency::Expected, &["a"]),
        wants(LookUrgency::Awaited, &["b"]),
    ];
    assert_eq!(turns(&all, 3), [1, 1, 1]);
    assert_eq!(turns(&all[..1], 2), [0, 0]);
    assert_eq!(turns(&[], 1), Vec::<usize>::new());
}
