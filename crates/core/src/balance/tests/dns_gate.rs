//! Tests of the DNS gate: what it requires of DNS, and when it is dropped.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::*;
use super::super::*;

const MIXED: [&str; 8] = ["r02", "r02", "r02", "r02", "r00", "r00", "r00", "r00"];

#[test]
fn the_gate_wants_every_look_at_first_and_a_little_more_than_chance_later() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&MIXED);
    let Some(Wait::GateClosed { share, need, .. }) = stage.pass().wait else {
        panic!("half of the looks are not all")
    };
    assert_eq!((share, need), (500, 1000));
    stage.later(20);
    stage.answers(&MIXED);
    assert!(stage.pass().moves.is_empty());
    stage.later(16);
    stage.answers(&MIXED);
    // 1 − (1 − (1/3 + 0.05)) · 16/20
    assert!(stage.pass().moves.is_empty(), "506 are needed");
    stage.later(1);
    stage.answers(&MIXED);
    assert_eq!(stage.pass().moves.len(), 5);
}

#[test]
fn the_canary_waits_for_no_more_than_chance() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    (stage.canary, stage.free) = (true, 1);
    stage.answers(&["r00"; 8]);
    stage.pass();
    stage.answers(&["r02", "r02", "r02", "r00", "r00", "r01", "r00", "r00"]);
    assert!(
        stage.pass().moves.is_empty(),
        "383 of a thousand are needed"
    );
    stage.answers(&MIXED);
    assert_eq!(stage.pass().moves.len(), 1);
    assert!(
        stage.memory.batch.is_some_and(|b| !b.gated),
        "it is not held against the gate"
    );
}

#[test]
fn where_few_caches_are_known_patience_is_longer() {
    assert_eq!(Settings::new(15, Some(2)).patience.as_secs(), 40);
    assert_eq!(Settings::new(15, Some(3)).patience.as_secs(), 20);
    assert_eq!(Settings::new(15, None).patience.as_secs(), 20);
}

#[test]
fn a_reader_that_no_look_has_named_is_given_up_until_one_does() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r00"; 8]);
    assert!(matches!(stage.pass().wait, Some(Wait::NeverNamed { .. })));
    stage.later(119);
    stage.answers(&["r01"; 8]);
    assert!(stage.pass().moves.is_empty());
    stage.later(1);
    stage.answers(&["r01"; 8]);
    let decision = stage.pass();
    assert_eq!(decision.unnamed, [id("r02")]);
    assert!(decision.moves.is_empty(), "pods would not find it either");
    assert_eq!(
        decision.wait.as_ref().map(Wait::reason),
        Some("ReaderUnnamed")
    );
    stage.later(30);
    stage.answers(&["r02"; 8]);
    assert_eq!(stage.pass().moves.len(), 5, "at once");
}

#[test]
fn where_no_look_up_is_answered_the_gate_is_not_dropped() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    for seconds in [0, 119, 600] {
        stage.later(seconds);
        stage.answers(&["-"; 8]);
        assert!(stage.pass().moves.is_empty());
    }
}

#[test]
fn an_answer_that_stays_at_chance_does_not_hold_for_ever() {
    let mut stage = Stage::readers(&[12, 8]);
    let half = ["r00", "r01", "r00", "r01", "r00", "r01", "r00", "r01"];
    for _ in 0..4 {
        stage.answers(&half);
        assert!(stage.pass().moves.is_empty(), "0.55 are needed");
        stage.later(40);
    }
    stage.answers(&half);
    assert_eq!(stage.pass().moves.len(), 1, "160 s later");
}

#[test]
fn a_reader_that_dns_names_no_more_is_given_up_without_a_recycle() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    stage.free = 0;
    stage.pass();
    stage.free = 5;
    for _ in 0..4 {
        stage.later(40);
        stage.answers(&["r00"; 8]);
        let decision = stage.pass();
        assert!(matches!(decision.wait, Some(Wait::GateClosed { .. })));
    }
    stage.later(40);
    stage.answers(&["-"; 8]);
    assert!(stage.pass().moves.is_empty(), "DNS itself fails");
    stage.answers(&["r00"; 8]);
    let decision = stage.pass();
    assert_eq!(decision.moves, [""; 0]);
    assert_eq!(decision.wait.map(|w| w.reason()), Some("ReaderUnnamed"));
}

#[test]
fn without_a_resolver_a_batch_is_a_tenth_of_the_pods() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.reach = Reach::Unseen;
    assert_eq!(stage.decide().moves.len(), 2);
    stage.reach = Reach::Slow { resolver: false };
    assert_eq!(
        stage.decide().moves.len(),
        5,
        "evictions spread by themselves"
    );
}

#[test]
fn looks_made_through_a_node_open_the_gate_for_the_pods_of_that_node() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    for (i, pod) in stage.pods.iter_mut().enumerate() {
        pod.node = Some(if i % 10 < 3 { "near" } else { "far" }.into());
    }
    for (node, answer) in [("near", "r02"), ("far", "r00")] {
        stage.looks.extend(
            looks(stage.now, &[answer])
                .into_iter()
                .map(|look| EndpointAnswer {
                    via: Some(node.into()),
                    ..look
                }),
        );
    }
    let moves = stage.decide().moves;
    assert_eq!(moves.len(), 5);
    for pod in stage.pods.iter().filter(|p| moves.contains(&p.id)) {
        assert_eq!(pod.node.as_deref(), Some("near"));
    }
}

#[test]
fn a_gate_that_predicts_no_better_than_chance_is_dropped_for_an_hour() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    for batch in 0..5 {
        stage.answers(&["r02"; 8]);
        let moves = stage.pass().moves;
        assert!(!moves.is_empty(), "batch {batch}");
        let dropped = stage.memory.record.dropped_until.is_some();
        assert_eq!(dropped, batch == 4, "batch {batch}");
        assert_eq!(moves.len(), if dropped { 2 } else { 5 });
        stage.land(&moves, "r00");
        for pod in &mut stage.pods {
            pod.recycles = 0;
        }
        stage.later(40);
        stage.pass();
        stage.later(1);
    }
    stage.later(3601);
    stage.pass();
    assert_eq!(stage.memory.record.dropped_until, None);
}
