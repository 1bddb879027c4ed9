//! Tests of the cluster's sum: what others hold and move counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use dbbalance_api::status::LimitedBy;

use super::super::testing::*;
use super::super::*;
use crate::topology::InstanceId;

fn held(held: &[u32]) -> BTreeMap<InstanceId, u32> {
    let numbered = held.iter().enumerate();
    numbered
        .map(|(i, n)| (id(&format!("r{i:02}")), *n))
        .collect()
}

/// Others hold so much of the readers, in pods of ten connections, and nothing is in flight.
fn others(connections: &[u32]) -> OtherConnections {
    OtherConnections {
        measured: held(connections),
        expected: held(connections),
        smallest: held(connections)
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(instance, _)| (instance, 10))
            .collect(),
        unread: false,
    }
}

/// One pod of ten connections on the first of two readers, beside others.
fn one_pod(connections: &[u32]) -> Stage {
    let mut stage = Stage::readers(&[1, 0]);
    stage.others = others(connections);
    stage
}

#[test]
fn a_single_pod_moves_if_that_makes_the_cluster_more_even() {
    let mut stage = one_pod(&[190, 0]);
    stage.answers(&["r01"; 8]);
    let decision = stage.decide();
    assert_eq!(decision.moves, ["pod-0000"]);
    assert!(!decision.verdict.is_balanced() && !decision.is_done);
    assert_eq!(
        decision.verdict.figures().map(ToString::to_string),
        Some("the cluster's shares 100/0 %, not within 15 %, 190 connections of others included, 1 of 1 pods read".to_owned())
    );
}

#[test]
fn a_single_pod_stays_if_the_cluster_is_even() {
    let mut stage = one_pod(&[90, 100]);
    stage.answers(&["r01"; 8]);
    let decision = stage.pass();
    assert!(decision.moves.is_empty() && decision.is_done);
    assert!(decision.verdict.is_balanced());
    assert!(stage.memory.episode.is_none());
}

#[test]
fn what_has_been_moved_by_this_target_is_done_while_others_have_still_to_move() {
    // Its pod is on the emptier reader already.
    let mut stage = one_pod(&[0, 190]);
    stage.answers(&["r00"; 8]);
    let decision = stage.pass();
    assert!(decision.moves.is_empty() && decision.is_done);
    assert!(!decision.verdict.is_balanced(), "190 on one of two");
    assert_eq!(decision.wait, None, "it has not given up");
    assert!(stage.memory.episode.is_none());
}

#[test]
fn what_nobody_can_improve_is_as_even_as_whole_pods_allow() {
    let mut stage = one_pod(&[0, 500]);
    stage.others.smallest = held(&[0, 500]);
    let BalanceVerdict::Balanced { limited_by, .. } = stage.decide().verdict else {
        panic!("a pod of 500 can only be on the other side")
    };
    assert_eq!(limited_by, Some(LimitedBy::PodQuantum));
}

#[test]
fn an_own_uneven_target_stays_as_it_is_where_others_make_up_for_it() {
    let mut stage = Stage::readers(&[10, 0]);
    stage.others = others(&[0, 100]);
    stage.answers(&["r01"; 8]);
    let decision = stage.decide();
    assert!(decision.moves.is_empty() && decision.verdict.is_balanced());
}

#[test]
fn what_others_have_in_flight_counts_where_it_is_expected_and_is_waited_for() {
    let mut stage = one_pod(&[190, 0]);
    stage.others.expected = held(&[100, 90]);
    stage.answers(&["r01"; 8]);
    let decision = stage.pass();
    assert!(decision.moves.is_empty(), "the others are enough");
    assert!(!decision.verdict.is_balanced(), "as measured");
    assert_eq!(decision.wait, Some(Wait::OthersMoving));
    assert!(decision.memory.episode.is_some(), "they may miss");

    // They have missed.
    stage.later(5);
    stage.others.expected = held(&[190, 0]);
    stage.answers(&["r01"; 8]);
    assert_eq!(stage.pass().moves, ["pod-0000"]);
}

#[test]
fn they_have_landed_and_the_episode_ends() {
    let mut stage = one_pod(&[190, 0]);
    stage.others.expected = held(&[100, 90]);
    stage.answers(&["r01"; 8]);
    stage.pass();
    stage.later(5);
    stage.others = others(&[100, 90]);
    let decision = stage.pass();
    assert!(decision.verdict.is_balanced() && decision.memory.episode.is_none());
}

#[test]
fn while_others_are_unread_nothing_moves() {
    let mut stage = one_pod(&[190, 0]);
    stage.others.unread = true;
    stage.answers(&["r01"; 8]);
    let decision = stage.decide();
    assert!(decision.moves.is_empty());
    assert!(matches!(decision.wait, Some(Wait::MeasureFirst { .. })));
}

/// A service of one pod of ten connections, on a reader.
struct Service {
    stage: Stage,
    on: usize,
}

/// What all services but one hold; those of the reserving ones count where they are expected.
fn beside(services: &[Service], me: usize, expected: &[Option<usize>]) -> OtherConnections {
    let mut sum = OtherConnections::default();
    for (i, service) in services.iter().enumerate().filter(|(i, _)| *i != me) {
        let at = |place: usize| BTreeMap::from([(id(&format!("r{place:02}")), 10)]);
        sum.add(&OtherConnections {
            measured: at(service.on),
            expected: at(expected[i].unwrap_or(service.on)),
            smallest: at(service.on),
            unread: false,
        });
    }
    sum
}

#[test]
fn twenty_one_pod_services_become_even_after_a_reader_joins_and_no_more_move_than_must() {
    for readers in [2, 3, 4] {
        let mut services: Vec<Service> = (0..20)
            .map(|i| {
                let on = i % (readers - 1);
                let mut pods = vec![0; readers];
                pods[on] = 1;
                Service {
                    stage: Stage::readers(&pods),
                    on,
                }
            })
            .collect();
        let new = readers - 1;
        let name = format!("r{new:02}");
        let mut moved = 0;
        // All decide within the same second; each knows what those before it have reserved.
        let mut expected = vec![None; 20];
        for me in 0..20 {
            let others = beside(&services, me, &expected);
            let stage = &mut services[me].stage;
            stage.others = others;
            stage.answers(&[name.as_str(); 8]);
            let decision = stage.pass();
            if !decision.moves.is_empty() {
                expected[me] = Some(new);
                moved += 1;
            }
        }
        // They land, and everybody looks again.
        for (me, to) in expected.iter().enumerate() {
            if let Some(to) = to {
                services[me].on = *to;
                services[me].stage.land(&["pod-0000".to_owned()], &name);
            }
        }
        for _ in 0..3 {
            for me in 0..20 {
                let others = beside(&services, me, &[None; 20]);
                let stage = &mut services[me].stage;
                stage.others = others;
                stage.later(4);
                stage.answers(&[name.as_str(); 8]);
                let decision = stage.pass();
                assert!(decision.moves.is_empty(), "{readers} readers");
            }
        }
        let least = [9, 6, 5][readers - 2];
        assert_eq!(moved, least, "{readers} readers");
        let decisions = services.iter().map(|s| s.stage.decide());
        for decision in decisions {
            assert!(decision.verdict.is_balanced() && decision.memory.episode.is_none());
        }
    }
}
