//! Tests of moves by a narrowed name: the receiver, the least number of pods, and pods that kept the old address.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::*;
use super::super::*;
use crate::topology::InstanceId;

/// Pods of ten connections on each reader, and a name that can be narrowed.
fn by_name(pods: &[usize]) -> Stage {
    let mut stage = Stage::readers(pods);
    stage.name = Some((None, false));
    stage
}

fn tell(stage: &mut Stage, reader: &str) {
    stage.name = Some((Some(id(reader)), true));
}

/// Lands this batch, and measures all pods afterwards.
fn settle(stage: &mut Stage, moves: &[String], on: &str) {
    stage.now += jiff::SignedDuration::from_secs(2);
    stage.land(moves, on);
    assert!(matches!(stage.pass().wait, Some(Wait::MeasureFirst { .. })));
    stage.later(1);
}

/// Decides and lands until nothing moves any more; returns the moves by receiver, and how many each pod had.
fn run(stage: &mut Stage) -> Vec<(InstanceId, usize)> {
    let mut taken: Vec<(InstanceId, usize)> = Vec::new();
    for _ in 0..50 {
        let decision = stage.pass();
        let Some(receiver) = decision.receiver else {
            return taken;
        };
        tell(stage, &receiver.0);
        if decision.moves.is_empty() {
            continue;
        }
        settle(stage, &decision.moves, &receiver.0);
        match taken.last_mut() {
            Some((last, n)) if *last == receiver => *n += decision.moves.len(),
            _ => taken.push((receiver, decision.moves.len())),
        }
    }
    panic!("it does not end: {taken:?}");
}

#[test]
fn no_pod_moves_before_the_name_leads_to_the_emptiest_reader() {
    let mut stage = by_name(&[10, 8, 2, 0]);
    // Whatever Aurora answers by luck.
    stage.answers(&["r03"; 8]);
    let decision = stage.pass();
    assert_eq!(decision.receiver, Some(id("r03")));
    assert!(decision.moves.is_empty());
    let wait = |is_narrowed| {
        let receiver = id("r03");
        Some(Wait::NotTold {
            receiver,
            is_narrowed,
        })
    };
    assert_eq!(decision.wait, wait(false));
    stage.name = Some((Some(id("r03")), false));
    assert_eq!(stage.pass().wait, wait(true));
    stage.name = Some((Some(id("r02")), true));
    let decision = stage.pass();
    assert_eq!(decision.receiver, Some(id("r02")), "what stands is used up");
    assert_eq!(decision.moves.len(), 3);
}

#[test]
fn a_batch_is_all_that_is_free_and_no_look_up_is_waited_for() {
    let mut stage = by_name(&[10, 10, 0]);
    tell(&mut stage, "r02");
    assert_eq!(stage.decide().moves.len(), 5);
    stage.free = 20;
    assert_eq!(stage.decide().moves.len(), 6, "and no more than it takes");
    stage.free = 0;
    let decision = stage.decide();
    assert_eq!(decision.wait, Some(Wait::NothingFree));
    assert_eq!(decision.receiver, Some(id("r02")), "it stays narrowed");
    stage.name = Some((None, false));
    assert_eq!(stage.decide().receiver, None, "but is not narrowed for it");
}

#[test]
fn exactly_the_least_number_of_pods_moves() {
    for (pods, taken) in [
        (&[10, 10, 0][..], &[("r02", 6)][..]),
        (&[20, 0], &[("r01", 9)]),
        (&[10, 10, 0, 0], &[("r02", 5), ("r03", 5)]),
        (&[30, 30, 0], &[("r02", 14)]),
        (&[3, 2, 0], &[("r02", 1)]),
        (&[14, 5, 1], &[("r02", 6), ("r01", 1)]),
    ] {
        let mut stage = by_name(pods);
        let moved = run(&mut stage);
        let expected: Vec<_> = taken.iter().map(|(to, n)| (id(to), *n)).collect();
        assert_eq!(moved, expected, "{pods:?}");
        assert!(stage.pass().verdict.is_balanced(), "{pods:?}");
        let most = stage.pods.iter().map(|p| p.recycles).max();
        assert_eq!(most, Some(1), "no pod goes twice");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_more_pods_move_than_the_figures_say_wherever_they_are(
        pods in proptest::collection::vec(0_usize..12, 2..6)
    ) {
        proptest::prop_assume!(pods.iter().any(|n| *n > 0));
        let mut stage = by_name(&pods);
        let figures = stage.decide().verdict.figures().cloned().unwrap();
        let moved: usize = run(&mut stage).iter().map(|(_, n)| n).sum();
        // It may be even before, when no reader lacks a whole pod any more.
        proptest::prop_assert!(moved <= figures.least as usize, "{moved} of {}", figures.least);
        proptest::prop_assert!(stage.pass().verdict.is_balanced());
    }
}

#[test]
fn the_name_stays_on_the_receiver_until_its_batch_is_measured() {
    let mut stage = by_name(&[10, 10, 0]);
    tell(&mut stage, "r02");
    let moves = stage.pass().moves;
    for pod in &mut stage.pods {
        pod.in_flight = moves.contains(&pod.id);
    }
    stage.later(2);
    let decision = stage.pass();
    assert!(matches!(decision.wait, Some(Wait::Settling { .. })));
    assert_eq!(decision.receiver, Some(id("r02")));
    // Evidence that is incomplete for a moment: the pods are on their way nevertheless.
    for pod in &mut stage.pods {
        pod.holds = None;
    }
    let decision = stage.decide();
    assert!(matches!(decision.verdict, BalanceVerdict::Unknown { .. }));
    assert_eq!(decision.receiver, Some(id("r02")));
}

#[test]
fn a_name_is_not_narrowed_on_old_evidence_and_not_widened_for_it() {
    let mut stage = by_name(&[10, 10, 0]);
    stage.now = at(30);
    let decision = stage.pass();
    assert!(matches!(decision.wait, Some(Wait::MeasureFirst { .. })));
    assert_eq!(decision.receiver, None);
    stage.name = Some((Some(id("r02")), false));
    assert_eq!(stage.pass().receiver, Some(id("r02")));
}

#[test]
fn a_pod_that_missed_goes_again_after_its_cache_can_have_ended_and_no_other_is_disturbed() {
    let mut stage = by_name(&[10, 10, 0]);
    let canary = {
        stage.free = 1;
        tell(&mut stage, "r02");
        stage.pass().moves
    };
    // A JVM that keeps the old address: it comes back to where it was.
    settle(&mut stage, &canary, "r00");
    let decision = stage.pass();
    let Some(Wait::PodCooldown { pods: 1, until }) = decision.wait else {
        panic!("{:?}", decision.wait);
    };
    assert_eq!(until, at(3 + 35));
    assert_eq!(
        decision.receiver, None,
        "nobody else is led there meanwhile"
    );
    stage.later(34);
    assert_eq!(stage.pass().moves, canary);
    settle(&mut stage, &canary, "r00");
    let recycled = stage.pods[0].last_recycled.unwrap();
    let Some(Wait::PodCooldown { until, .. }) = stage.pass().wait else {
        panic!("it waits for the longer cache");
    };
    assert_eq!(until.duration_since(recycled).as_secs(), 65);
    stage.later(64);
    stage.free = 5;
    assert_eq!(stage.pass().moves, canary);
    settle(&mut stage, &canary, "r02");
    let decision = stage.pass();
    assert_eq!(decision.moves.len(), 5, "now the others");
    assert!(!decision.moves.contains(&canary[0]));
}

#[test]
fn a_pod_that_has_just_started_keeps_what_it_looked_up() {
    let mut stage = by_name(&[10, 10, 0]);
    tell(&mut stage, "r02");
    for pod in &mut stage.pods[1..] {
        pod.started = Some(at(-20));
    }
    assert_eq!(stage.decide().moves, ["pod-0000"]);
    stage.pods[0].started = Some(at(-20));
    let wait = stage.decide().wait;
    assert!(matches!(wait, Some(Wait::PodCooldown { until, .. }) if until == at(15)));
    stage.name = None;
    stage.answers(&["r02"; 8]);
    assert_eq!(
        stage.decide().moves.len(),
        5,
        "without a narrowed name as before"
    );
}

#[test]
fn broken_pods_go_first_and_the_name_is_not_asked_for() {
    let mut stage = by_name(&[10, 10, 0]);
    tell(&mut stage, "r02");
    stage.pods[3].holds = Some(holdings([("w", 10)]));
    stage.pods[3].stale = true;
    let decision = stage.decide();
    assert!(decision.has_open_sweep);
    assert_eq!((decision.receiver, decision.moves.len()), (None, 0));
}
