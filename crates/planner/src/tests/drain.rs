//! Drains on request: who moves, what is recorded, and what is refused.

use super::steer::{EVEN, names};
use crate::testing::measured::{looks, measured, read, read_one, sockets};
use crate::testing::{look, parse_policy, record, verify};
use crate::world::World;
use crate::{DrainReport, Gate, Plan, Step, assess_drain};
use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::spec::{EvidenceSource, Method, Mode};
use dbbalance_api::status::Trigger;
use dbbalance_core::balance::OtherConnections;
use dbbalance_core::topology::InstanceId;

/// An even fleet of twelve pods on b and c, measured, whose policy drains this.
fn draining(text: &str) -> World {
    let mut world = record(measured(Method::Http, &EVEN), 1);
    verify(&mut world);
    read(&mut world, 110, &EVEN);
    looks(&mut world, 110, "c", "a");
    world.policy.drain = Some(text.into());
    world
}

fn report(world: &World, plan: &Plan, second: i64) -> DrainReport {
    assess_drain(
        world,
        &parse_policy(world),
        plan,
        crate::testing::at(second),
    )
    .unwrap()
}

fn says(world: &World, second: i64) -> (ConditionStatus, &'static str, String) {
    let report = report(world, &look(world, second), second);
    (report.status, report.reason, report.message)
}

/// Plans until pods move, or for some seconds.
fn next_moves(world: &mut World, from: i64) -> (Vec<String>, i64) {
    for second in from..from + 6 {
        looks(world, second, "c", "a");
        let plan = look(world, second);
        world.status = plan.status.clone();
        let moved: Vec<String> = names(&plan).into_iter().map(str::to_owned).collect();
        if !moved.is_empty() {
            return (moved, second);
        }
    }
    (Vec::new(), from + 6)
}

#[test]
fn the_pods_of_a_drained_reader_move_and_the_count_is_kept_from_the_start() {
    let mut world = draining("b");
    let plan = look(&world, 110);
    let first = report(&world, &plan, 110);
    assert_eq!(
        (first.status, first.reason, first.message.as_str()),
        (
            ConditionStatus::False,
            "Draining",
            "b: 60 of 60 connections left"
        )
    );
    assert_eq!(plan.status.drain[0].connections, 60);
    world.status = plan.status;
    let (moved, second) = next_moves(&mut world, 111);
    assert_eq!(moved, ["web-0", "web-1", "web-2"], "a quarter, all of b");
    for (index, _) in moved.iter().enumerate() {
        read_one(&mut world, second + 3, index, &sockets(4000, &[("c", 10)]));
    }
    let (status, _, message) = says(&world, second + 3);
    assert_eq!(message, "b: 30 of 60 connections left");
    assert_eq!(status, ConditionStatus::False);
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.triggers, [Trigger::Drain]);
}

#[test]
fn a_drain_has_ended_when_nothing_is_left_and_is_forgotten_when_nobody_asks_for_it() {
    let mut world = record(draining("b"), 110);
    for index in 0..12 {
        read_one(&mut world, 120, index, &sockets(4000, &[("c", 10)]));
    }
    let (status, reason, message) = says(&world, 120);
    assert_eq!((status, reason), (ConditionStatus::True, "Drained"));
    assert_eq!(message, "b: 0 of 60 connections left");
    world = record(world, 120);
    assert_eq!(world.status.drain.len(), 1, "the operator may restart");
    world.policy.drain = None;
    let plan = look(&world, 121);
    assert!(plan.status.drain.is_empty());
    assert!(
        assess_drain(
            &world,
            &parse_policy(&world),
            &plan,
            crate::testing::at(121)
        )
        .is_none()
    );
}

#[test]
fn a_drain_that_the_others_cannot_take_moves_nothing_and_says_the_sum() {
    let mut world = draining("b");
    world.spec.budget.max_connections = Some(100);
    world.spec.budget.headroom_percent = 0;
    let (status, reason, message) = says(&world, 110);
    assert_eq!((status, reason), (ConditionStatus::False, "NoRoom"));
    assert!(message.ends_with("c needs 120, has 100"), "{message}");
    assert!(next_moves(&mut world, 110).0.is_empty());
    assert!(world.status.drain.is_empty());
}

#[test]
fn what_has_begun_is_not_refused_for_room_later() {
    let mut world = record(draining("b"), 110);
    world.spec.budget.max_connections = Some(100);
    world.spec.budget.headroom_percent = 0;
    assert_eq!(says(&world, 111).1, "Draining");
}

#[test]
fn the_last_reader_the_writer_and_garbage_are_refused() {
    for (text, reason) in [
        ("b,c", "NoReaderWithWeight"),
        ("a", "IsWriter"),
        ("", "InvalidAnnotation"),
        ("b c", "InvalidAnnotation"),
    ] {
        let mut world = draining(text);
        assert_eq!(says(&world, 110).1, reason, "{text:?}");
        assert!(next_moves(&mut world, 110).0.is_empty(), "{text:?}");
    }
}

#[test]
fn an_instance_that_is_not_listed_has_nothing_left() {
    let (status, _, message) = says(&draining("gone"), 110);
    assert_eq!(status, ConditionStatus::True);
    assert_eq!(message, "gone is not a reader of the cluster");
}

#[test]
fn without_evidence_nothing_is_drained_and_that_is_said() {
    let mut world = draining("b");
    world.spec.evidence.source = EvidenceSource::None;
    let (status, reason, _) = says(&world, 110);
    assert_eq!((status, reason), (ConditionStatus::Unknown, "NoEvidence"));
}

#[test]
fn connections_of_other_policies_are_named() {
    let mut world = draining("b");
    world.peers.shares = OtherConnections {
        measured: [(InstanceId("b".into()), 30), (InstanceId("c".into()), 30)].into(),
        expected: [(InstanceId("b".into()), 30), (InstanceId("c".into()), 30)].into(),
        ..OtherConnections::default()
    };
    let message = says(&world, 110).2;
    assert!(message.contains("(30 of other policies,"), "{message}");
}

#[test]
fn a_drain_skips_what_only_spreads_runs_and_moves_nothing_of_a_policy_that_observes() {
    let mut world = draining("b");
    world.spec.windows = serde_json::from_value(serde_json::json!([
        {"name": "never", "type": "Deny", "schedule": "* * * * *", "durationSeconds": 86400}
    ]))
    .unwrap();
    assert!(
        !next_moves(&mut world, 110).0.is_empty(),
        "a user asked for it"
    );
    let mut world = draining("b");
    world.spec.mode = Mode::Observe;
    let plan = look(&world, 110);
    assert!(!matches!(plan.targets[0].step, Some(Step::Pods { .. })));
    assert_eq!(plan.gate(), Some(Gate::Observe));
    assert_eq!(says(&world, 110).1, "Draining", "shown as a plan");
}
