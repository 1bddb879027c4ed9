//! Tests of readers with different weights.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dbbalance_api::status::LimitedBy;

use super::super::testing::*;
use super::super::*;

fn weighed(pods: &[usize], weights: &[i32]) -> Stage {
    let mut stage = Stage::readers(pods);
    stage.weigh(weights);
    stage
}

#[test]
fn a_reader_of_eight_times_the_weight_should_hold_eight_times_as_much() {
    let even = weighed(&[18, 2], &[800, 100]).decide();
    assert!(even.verdict.is_balanced());
    assert_eq!(
        even.verdict.figures().map(ToString::to_string),
        Some("shares 90/10 % of 89/11 %, within 15 %, 20 of 20 pods read".to_owned())
    );
    let half = weighed(&[10, 10], &[800, 100]).decide();
    let figures = half.verdict.figures().expect("there is evidence");
    assert_eq!(figures.under, [id("r00")]);
    assert_eq!(figures.least, 7, "17/3 is inside the band");
}

#[test]
fn pods_move_to_where_they_lack_most_by_weight() {
    let mut stage = weighed(&[10, 10], &[800, 100]);
    stage.answers(&["r00"; 8]);
    let decision = stage.decide();
    assert_eq!(decision.moves.len(), 5, "all that is free");
    let on_small = |uid: &String| {
        let pod = stage
            .pods
            .iter()
            .find(|p| p.id == *uid)
            .expect("it is ours");
        pod.holds
            .as_ref()
            .is_some_and(|h| h.connections_to(&id("r01")) > 0)
    };
    assert!(decision.moves.iter().all(on_small));
}

#[test]
fn on_a_reader_without_weight_everything_is_excess_and_it_never_receives() {
    let mut stage = weighed(&[0, 1, 9], &[0, 100, 100]);
    let decision = stage.decide();
    let figures = decision.verdict.figures().expect("there is evidence");
    assert_eq!(figures.under, [id("r01")], "r00 is empty and stays so");
    stage = weighed(&[1, 5, 5], &[0, 100, 100]);
    let decision = stage.decide();
    assert!(!decision.verdict.is_balanced());
    let figures = decision.verdict.figures().expect("there is evidence");
    assert_eq!(figures.misplaced.excess, 10);
}

#[test]
fn the_last_connections_leave_a_reader_without_weight_when_no_other_lacks_any() {
    // 5/5 and one more: neither would be nearer to its share, but both may take it.
    let mut stage = weighed(&[1, 5, 5], &[0, 100, 100]);
    let figures = stage.decide().verdict.figures().cloned().expect("evidence");
    assert_eq!(figures.under, [id("r01"), id("r02")]);
    stage.answers(&["r01", "r02", "r01", "r02", "r02", "r01", "r01", "r02"]);
    let decision = stage.pass();
    assert_eq!(decision.moves, ["pod-0000"]);
    stage.land(&decision.moves, "r02");
    stage.later(5);
    let BalanceVerdict::Balanced { limited_by, .. } = stage.pass().verdict else {
        panic!("0/5/6 is balanced")
    };
    assert_eq!(limited_by, None, "within 15 %");
}

#[test]
fn a_single_pod_is_never_as_even_as_can_be_on_a_reader_without_weight() {
    let one = weighed(&[1, 0, 0], &[0, 100, 100]).decide();
    assert!(!one.verdict.is_balanced());
    let elsewhere = weighed(&[0, 1, 0], &[0, 100, 100]).decide();
    let BalanceVerdict::Balanced { limited_by, .. } = elsewhere.verdict else {
        panic!("a pod is somewhere")
    };
    assert_eq!(limited_by, Some(LimitedBy::PodQuantum));
}

#[test]
fn other_weights_open_an_episode_and_a_change_of_the_topology_alone_does_not() {
    let mut stage = Stage::readers(&[5, 5]);
    assert!(stage.pass().memory.episode.is_none(), "even");
    stage.later(1);
    stage.weigh(&[300, 100]);
    let decision = stage.pass();
    assert!(decision.memory.episode.is_some());
    assert!(!decision.memory.weights.is_empty());

    // With another reader come other weights; the episode is that of the epoch.
    let mut stage = weighed(&[6, 2], &[300, 100]);
    stage.pass();
    assert!(stage.memory.episode.is_none());
    stage.topology = topology(3);
    stage.weigh(&[300, 100, 200]);
    stage.later(1);
    assert!(stage.pass().memory.episode.is_none());
}

#[test]
fn weights_that_are_equal_are_remembered_as_none() {
    let mut stage = weighed(&[5, 5], &[70, 70]);
    stage.pass();
    assert_eq!(stage.memory.weights, "");
}
