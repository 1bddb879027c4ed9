//! Tests of the evidence that is required before anything is done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::*;
use super::super::*;

fn unknown(decision: &Decision) -> Unknown {
    assert!(decision.moves.is_empty() && decision.urgent.is_empty());
    match decision.verdict {
        BalanceVerdict::Unknown { reason } => reason,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn under_nine_tenths_of_the_pods_read_nothing_is_decided() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    for pod in &mut stage.pods[..2] {
        pod.holds = None;
    }
    assert_eq!(stage.decide().moves.len(), 5, "18 of 20 are enough");
    stage.pods[2].holds = None;
    let decision = stage.decide();
    let reason = unknown(&decision);
    assert_eq!(reason.to_string(), "17 of 20 pods read, 90 % are needed");
    assert!(decision.measure);
}

#[test]
fn an_unread_pod_is_unknown_and_never_zero() {
    let mut stage = Stage::readers(&[5, 5]);
    stage.pods[9].holds = None;
    let decision = stage.decide();
    let figures = decision.verdict.figures().expect("9 of 10 are enough");
    assert_eq!((figures.read, figures.pods), (9, 10));
    assert!(decision.verdict.is_balanced(), "5 and 4 of those read");
}

#[test]
fn connections_of_which_none_leads_to_a_member_tell_nothing() {
    let proxied = Holdings {
        unknown: 10,
        ..Holdings::default()
    };
    let stage = Stage::new(topology(2), Pools::Reader, vec![proxied; 4]);
    let reason = unknown(&stage.decide());
    assert_eq!(reason, Unknown::EvidenceUnattributable { connections: 40 });
    assert_eq!(reason.reason(), "EvidenceUnattributable");
}

#[test]
fn connections_to_another_database_beside_the_members_are_left_out() {
    let mut stage = Stage::readers(&[4, 4]);
    for pod in &mut stage.pods {
        if let Some(holds) = &mut pod.holds {
            holds.unknown = 3;
        }
    }
    assert!(stage.decide().verdict.is_balanced());
}

#[test]
fn pods_without_connections_and_no_pods_are_unknown() {
    let idle = Stage::new(topology(2), Pools::Reader, vec![Holdings::default(); 3]);
    assert_eq!(unknown(&idle.decide()), Unknown::NoConnections);
    let none = Stage::new(topology(2), Pools::Reader, vec![]);
    assert_eq!(unknown(&none.decide()), Unknown::NoPods);
}

#[test]
fn evidence_older_than_ten_seconds_is_renewed_before_anything_moves() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.now = at(11);
    stage.answers(&["r02"; 8]);
    let decision = stage.decide();
    assert_eq!(decision.moves.len(), 0);
    assert!(decision.measure);
    assert!(matches!(decision.wait, Some(Wait::MeasureFirst { .. })));
    stage.later(0);
    assert_eq!(stage.decide().moves.len(), 5);
}

#[test]
fn a_pod_read_before_its_last_recycle_is_not_read() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.answers(&["r02"; 8]);
    for pod in &mut stage.pods[..3] {
        pod.last_recycled = pod.read_at;
    }
    let decision = stage.decide();
    assert!(matches!(
        decision.wait,
        Some(Wait::MeasureFirst {
            usable: 17,
            pods: 20
        })
    ));
}

#[test]
fn a_target_of_many_pods_is_decided_by_readings_of_a_whole_round_however_long_that_takes() {
    for (pods, round) in [(300, 30), (2_000, 200)] {
        let mut stage = Stage::readers(&[pods, 0]);
        stage.now = at(1_000);
        stage.event = Some(at(900));
        for (n, pod) in (0..).zip(&mut stage.pods) {
            pod.read_at = Some(at(1_000 - n % round));
        }
        stage.answers(&["r01"; 8]);
        let decision = stage.decide();
        assert!(
            !decision.moves.is_empty(),
            "{pods} pods: {:?}",
            decision.wait
        );
    }
}

#[test]
fn a_few_pods_are_not_decided_by_readings_of_half_a_minute_ago() {
    let mut stage = Stage::readers(&[20, 0]);
    stage.answers(&["r01"; 8]);
    assert!(!stage.decide().moves.is_empty());
    stage.now = at(30);
    stage.answers(&["r01"; 8]);
    assert!(matches!(
        stage.decide().wait,
        Some(Wait::MeasureFirst { usable: 0, .. })
    ));
}

#[test]
fn broken_pods_of_a_large_target_go_by_readings_of_the_last_seconds_alone() {
    let holds = vec![holdings([("r00", 5)]); 300];
    let mut stage = Stage::new(topology(2), Pools::Writer, holds);
    stage.now = at(1_000);
    for (n, pod) in (0..).zip(&mut stage.pods) {
        pod.before_failover = true;
        pod.read_at = Some(at(1_000 - n % 30));
    }
    stage.writer_answers(&["w"; 8]);
    let urgent = stage.decide().urgent;
    assert_eq!(urgent.len(), 110, "11 of 30 seconds");
}
