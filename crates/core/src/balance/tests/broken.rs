//! Tests of connections to the wrong role or to an instance that is not a member.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::*;
use super::super::*;

fn writers(on: &[&str]) -> Stage {
    let holds = on.iter().map(|name| holdings([(*name, 5)])).collect();
    Stage {
        free: 0,
        ..Stage::new(topology(2), Pools::Writer, holds)
    }
}

#[test]
fn writer_pools_on_a_reader_go_all_at_once_when_eight_looks_agree() {
    let mut stage = writers(&["r00", "r00", "r00", "w"]);
    for pod in &mut stage.pods {
        pod.before_failover = true;
    }
    stage.writer_answers(&["w"; 8]);
    let decision = stage.decide();
    assert_eq!(decision.urgent, ["pod-0000", "pod-0001", "pod-0002"]);
    assert!(decision.moves.is_empty() && decision.measure);
    let figures = decision.verdict.figures().expect("there is evidence");
    assert_eq!((figures.misplaced.wrong_role, figures.broken_pods), (15, 3));
}

#[test]
fn sockets_that_a_failover_has_left_dead_are_broken_though_their_pod_holds_no_connection() {
    let mut stage = writers(&["w", "w", "w"]);
    for pod in &mut stage.pods[1..] {
        pod.holds = Some(Holdings {
            dead: 5,
            ..Holdings::default()
        });
    }
    stage.pods[1].before_failover = true;
    stage.writer_answers(&["w"; 8]);
    let decision = stage.decide();
    assert_eq!(
        decision.urgent,
        ["pod-0001"],
        "not what an idle time-out closed"
    );
    let figures = decision.verdict.figures().expect("there is evidence");
    assert_eq!(figures.misplaced.no_member, 5);
}

#[test]
fn a_target_whose_every_socket_is_dead_after_a_failover_is_not_one_without_connections() {
    let mut stage = writers(&["w"]);
    stage.pods[0].holds = Some(Holdings {
        dead: 5,
        ..Holdings::default()
    });
    stage.writer_answers(&["w"; 8]);
    assert!(stage.decide().urgent.is_empty());
    stage.pods[0].before_failover = true;
    assert_eq!(stage.decide().urgent, ["pod-0000"]);
}

#[test]
fn one_look_that_names_the_old_writer_holds_them() {
    let mut stage = writers(&["r00", "w"]);
    stage.writer_answers(&["w", "w", "w", "r00", "w", "w", "w", "w"]);
    let decision = stage.decide();
    assert!(decision.urgent.is_empty() && decision.look);
    assert_eq!(
        decision.wait,
        Some(Wait::DnsDisagrees {
            agree: 7,
            of: 8,
            need: 8
        })
    );
}

#[test]
fn seven_looks_are_too_few_and_old_ones_are_none() {
    let mut stage = writers(&["r00", "w"]);
    stage.writer_answers(&["w"; 7]);
    assert!(stage.decide().urgent.is_empty());
    stage.writer_answers(&["w"; 8]);
    stage.now = at(4);
    assert!(stage.decide().urgent.is_empty());
}

#[test]
fn failed_looks_do_not_disagree_unless_they_are_the_most() {
    let mut stage = writers(&["r00", "w"]);
    stage.settings.looks = 9;
    stage.writer_answers(&["w", "w", "w", "w", "-", "-", "-", "-", "-"]);
    assert!(stage.decide().urgent.is_empty());
}

#[test]
fn without_a_resolver_nobody_is_asked() {
    let mut stage = writers(&["r00", "w"]);
    stage.reach = Reach::Unseen;
    assert_eq!(stage.decide().urgent.len(), 1);
}

#[test]
fn a_pod_that_was_sent_wrong_again_is_taken_again_after_three_seconds() {
    let mut stage = writers(&["r00", "w"]);
    stage.pods[0].last_recycled = Some(at(1));
    stage.pods[0].recycles = 1;
    for (seconds, expected) in [(2, 0), (3, 0), (4, 1)] {
        stage.now = at(seconds);
        stage.pods[0].read_at = Some(at(seconds));
        stage.writer_answers(&["w"; 8]);
        let decision = stage.decide();
        assert_eq!(decision.urgent.len(), expected, "at {seconds}");
        assert!(decision.measure);
    }
}

#[test]
fn the_last_recycle_that_a_pod_may_have_waits_until_its_process_has_forgotten_the_address() {
    let mut stage = writers(&["r00", "w"]);
    stage.pods[0].last_recycled = Some(at(1));
    stage.pods[0].recycles = 2;
    for (seconds, expected) in [(4, 0), (35, 0), (36, 1)] {
        stage.now = at(seconds);
        stage.pods[0].read_at = Some(at(seconds));
        stage.writer_answers(&["w"; 8]);
        let decision = stage.decide();
        assert_eq!(decision.urgent.len(), expected, "at {seconds}");
        assert!(decision.measure);
    }
}

#[test]
fn a_pod_is_recycled_three_times_and_then_said() {
    let mut stage = writers(&["r00", "w"]);
    stage.pods[0].recycles = 3;
    stage.writer_answers(&["w"; 8]);
    let decision = stage.decide();
    assert!(decision.urgent.is_empty() && !decision.verdict.is_balanced());
    assert_eq!(
        decision.wait,
        Some(Wait::Broken {
            exhausted: 1,
            recent: 0
        })
    );
}

#[test]
fn pods_that_are_not_ready_go_first() {
    let mut stage = writers(&["r00", "r00", "w"]);
    stage.pods[1].ready = false;
    stage.writer_answers(&["w"; 8]);
    assert_eq!(stage.decide().urgent, ["pod-0001", "pod-0000"]);
}

#[test]
fn reader_pools_on_the_writer_go_when_no_look_names_it() {
    let holds = vec![
        holdings([("w", 10)]),
        holdings([("r00", 10)]),
        holdings([("r01", 10)]),
    ];
    let mut stage = Stage::new(topology(2), Pools::Reader, holds);
    stage.answers(&["r00", "r01", "w", "r00", "r01", "r00", "r01", "r00"]);
    assert!(stage.decide().urgent.is_empty());
    stage.answers(&["r00", "r01", "r00", "r00", "r01", "r00", "r01", "r00"]);
    assert_eq!(stage.decide().urgent, ["pod-0000"]);
}

#[test]
fn connections_to_a_reader_that_left_go_when_no_look_names_it() {
    let holds = vec![holdings([("gone", 10)]), holdings([("r00", 10)])];
    let mut stage = Stage::new(topology(1), Pools::Reader, holds);
    stage.answers(&["r00", "r00", "r00", "r00", "gone", "r00", "r00", "r00"]);
    let decision = stage.decide();
    assert!(decision.urgent.is_empty());
    let figures = decision.verdict.figures().expect("there is evidence");
    assert_eq!(figures.misplaced.no_member, 10);
    stage.answers(&["r00"; 8]);
    assert_eq!(stage.decide().urgent, ["pod-0000"]);
}

#[test]
fn zombies_to_an_old_address_are_connections_to_no_member() {
    let mut stage = Stage::readers(&[2, 2]);
    if let Some(holds) = &mut stage.pods[3].holds {
        holds.no_member = 2;
    }
    stage.answers(&["r00", "r01", "r00", "r01", "r00", "r01", "r00", "r01"]);
    assert_eq!(stage.decide().urgent, ["pod-0003"]);
}

#[test]
fn the_excess_waits_for_the_broken() {
    let mut stage = Stage::readers(&[10, 10, 0]);
    stage.pods[0].holds = Some(holdings([("w", 10)]));
    stage.answers(&["r02"; 8]);
    let decision = stage.decide();
    assert_eq!(decision.urgent, ["pod-0000"]);
    assert!(decision.moves.is_empty());
}

fn both(holds: Holdings) -> Stage {
    let pools = Pools::Both {
        reader: 10,
        writer: 5,
    };
    let mut stage = Stage::new(topology(1), pools, vec![holds; 4]);
    stage.writer_answers(&["w"; 8]);
    stage.answers(&["r00"; 8]);
    stage
}

fn wrong(stage: &Stage) -> u32 {
    let decision = stage.decide();
    let figures = decision.verdict.figures().expect("there is evidence");
    figures.misplaced.wrong_role
}

#[test]
fn both_pools_are_judged_by_counts() {
    assert_eq!(wrong(&both(holdings([("w", 5), ("r00", 10)]))), 0);
    // A failover has swapped the roles.
    assert_eq!(wrong(&both(holdings([("w", 10), ("r00", 5)]))), 20);
    assert_eq!(wrong(&both(holdings([("w", 15)]))), 40);
    assert_eq!(wrong(&both(holdings([("r00", 15)]))), 20);
}

#[test]
fn pools_that_are_not_full_or_larger_than_said_are_not_taken_for_wrong() {
    assert_eq!(wrong(&both(holdings([("w", 2), ("r00", 10)]))), 0);
    assert_eq!(wrong(&both(holdings([("w", 5), ("r00", 3)]))), 0);
    assert_eq!(wrong(&both(holdings([("w", 6), ("r00", 12)]))), 0);
}

#[test]
fn equal_pools_that_a_failover_swapped_are_told_by_their_age() {
    let mut stage = both(holdings([("w", 5), ("r00", 5)]));
    stage.pools = Pools::Both {
        reader: 5,
        writer: 5,
    };
    assert_eq!(wrong(&stage), 0);
    stage.previous_writer = Some(id("r00"));
    assert_eq!(wrong(&stage), 0);
    for pod in &mut stage.pods {
        pod.before_failover = true;
    }
    assert_eq!(wrong(&stage), 20);
    stage.pods[0].holds.as_mut().unwrap().reopened = true;
    assert_eq!(wrong(&stage), 15, "one has asked DNS since");
}

/// Six pods of writer pools on a reader, with no change that explains it; two were taken and counted.
fn two_taken() -> Stage {
    let mut stage = writers(&["r00"; 6]);
    stage.writer_answers(&["w"; 8]);
    let decision = stage.pass();
    assert_eq!(decision.urgent.len(), 2, "two go first");
    assert_eq!(decision.repeats, decision.urgent);
    count_repeats(&mut stage.memory, 2, 6, stage.now);
    stage
}

/// Measures every pod anew, a while later.
fn measure(stage: &mut Stage) {
    stage.later(10);
    stage.writer_answers(&["w"; 8]);
    let now = stage.now;
    for pod in &mut stage.pods {
        pod.read_at = Some(now);
    }
}

#[test]
fn what_comes_back_on_two_recycled_pods_is_incurable_and_no_other_is_touched() {
    let mut stage = two_taken();
    assert!(
        stage.pass().urgent.is_empty(),
        "they must be measured first"
    );
    for _ in 0..24 {
        measure(&mut stage);
        let decision = stage.pass();
        assert!(decision.urgent.is_empty());
        assert!(!decision.has_open_sweep, "no run starts for it");
        assert_eq!(decision.wait.as_ref().map(Wait::reason), Some("Incurable"));
        let words = decision.wait.unwrap().to_string();
        assert!(words.contains("strayConnections"), "{words}");
        stage.later(3000);
    }
    stage.scope = "another topology".into();
    measure(&mut stage);
    assert_eq!(stage.pass().urgent.len(), 2);
}

#[test]
fn the_rest_follows_when_two_recycled_pods_are_right() {
    let mut stage = two_taken();
    for pod in &mut stage.pods[..2] {
        pod.holds = Some(holdings([("w", 5)]));
    }
    measure(&mut stage);
    assert_eq!(stage.pass().urgent.len(), 4);
}

#[test]
fn after_a_recent_change_each_pod_may_go_three_times() {
    let mut stage = writers(&["r00"; 6]);
    stage.recent_change = true;
    stage.writer_answers(&["w"; 8]);
    assert_eq!(stage.pass().urgent.len(), 6);
    count_repeats(&mut stage.memory, 12, 6, stage.now);
    measure(&mut stage);
    let decision = stage.pass();
    assert!(decision.urgent.is_empty());
    assert_eq!(decision.wait.as_ref().map(Wait::reason), Some("Incurable"));
}

#[test]
fn without_the_trigger_of_drift_nothing_moves_that_no_change_explains() {
    let mut stage = writers(&["r00"; 6]);
    stage.settings.drift_enabled = false;
    stage.pods[3].stale = true;
    stage.writer_answers(&["w"; 8]);
    assert_eq!(stage.pass().urgent, ["pod-0003"]);
    stage.pods[3].stale = false;
    let decision = stage.pass();
    assert!(decision.urgent.is_empty() && !decision.has_open_sweep);
}

#[test]
fn connections_that_a_pod_may_hold_to_the_other_role_are_not_misplaced() {
    let holds = vec![
        holdings([("r00", 6), ("w", 1)]),
        holdings([("r00", 6), ("w", 3)]),
    ];
    let mut stage = Stage::new(topology(1), Pools::Reader, holds);
    stage.answers(&["r00"; 8]);
    stage.settings.strays.to_writer = 1;
    let decision = stage.pass();
    assert_eq!(decision.urgent, ["pod-0001"]);
    let figures = decision.verdict.figures().unwrap();
    assert_eq!(figures.misplaced.wrong_role, 2);
}

#[test]
fn connections_to_a_reader_that_is_being_deleted_go_while_dns_still_names_it() {
    let mut stage = Stage::readers(&[4, 4]);
    // r02 was a reader until just now.
    for pod in &mut stage.pods[..3] {
        pod.holds = Some(holdings([("r02", 10)]));
        pod.stale = true;
    }
    stage.answers(&["r00", "r02", "r01", "r02", "r00", "r01", "r02", "r00"]);
    for (ago, look) in stage.looks.iter_mut().rev().enumerate() {
        let ago = jiff::SignedDuration::from_millis(100 * i64::try_from(ago).unwrap());
        look.at = stage.now.checked_sub(ago).unwrap();
    }
    assert!(stage.decide().urgent.is_empty(), "looks disagree");
    stage.leaving = [id("r02")].into();
    assert_eq!(stage.decide().urgent.len(), 3);
    // Who asks now is led to the one that goes.
    stage.looks.last_mut().unwrap().instance = Some(id("r02"));
    let decision = stage.decide();
    assert!(decision.urgent.is_empty() && decision.has_open_sweep);
    assert!(matches!(decision.wait, Some(Wait::DnsDisagrees { .. })));
    stage.looks.last_mut().unwrap().instance = Some(id("w"));
    assert!(stage.decide().urgent.is_empty(), "nor to the writer");
}
