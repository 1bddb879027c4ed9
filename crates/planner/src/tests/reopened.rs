//! Pools that a failover has healed already, by the dates of their sockets.

use std::sync::Arc;

use super::steer::{changed, gate, recycled};
use crate::testing::measured::read;
use crate::testing::measured::{looks, measured, read_one, sockets};
use crate::testing::{at, look, record, verify};
use crate::world::World;
use crate::{Gate, Step};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
use dbbalance_core::evidence::Socket;
use serde_json::json;

/// Pools of 10 to each endpoint.
const HELD: &[(&str, u16)] = &[("b", 10), ("a", 10)];

/// Four pods with both pools, after a failover from a to b that DNS has followed at time 90. The connections of each pod are as
/// many as belong to each role, and were opened after this time; those of the last pod to `a` before any reading.
fn healed(opened_after: i64) -> World {
    let mut world = measured(Method::Evict, &[HELD; 4]);
    world.spec.targets[0].pools = serde_json::from_value(json!([
        {"endpoint": "Reader", "connectionsPerPod": 10},
        {"endpoint": "Writer", "connectionsPerPod": 10},
    ]))
    .unwrap();
    let mut world = changed(world, "ba", Trigger::Failover);
    looks(&mut world, 139, "a", "b");
    let mut view = (*world.dns).clone();
    view.since = Some(at(90));
    world.dns = Arc::new(view);
    for index in 0..4 {
        let mut held = sockets(1000, HELD);
        for socket in &mut held {
            socket.opened_after = Some(at(opened_after));
        }
        if index == 3 {
            held.last_mut().unwrap().opened_after = None;
        }
        read_one(&mut world, 139, index, &held);
    }
    record(world, 139)
}

#[test]
fn pools_of_both_roles_that_have_asked_dns_since_are_stamped_and_not_recycled() {
    let world = healed(125);
    let plan = look(&world, 140);
    let balance = &plan.status.balance[0];
    assert!(
        balance.message.contains("10 to the wrong role"),
        "{}",
        balance.message
    );
    assert_eq!(plan.takes(), ["web-3"], "one of its connections is older");
}

#[test]
fn pools_of_both_roles_that_may_have_had_an_old_answer_are_recycled() {
    let plan = look(&healed(124), 140);
    let balance = &plan.status.balance[0];
    assert!(
        balance.message.contains("40 to the wrong role"),
        "{}",
        balance.message
    );
}

#[test]
fn healed_pools_alone_are_stamped_at_once() {
    let mut world = healed(125);
    world.targets[0].pods.pop();
    world.targets[0].workload.as_mut().unwrap().wanted = 3;
    world.targets[0].workload.as_mut().unwrap().present = 3;
    world.targets[0].workload.as_mut().unwrap().updated = 3;
    let plan = look(&world, 140);
    let step = plan.targets[0].step.as_ref();
    assert!(
        matches!(step, Some(Step::Stamp { pods, .. }) if pods.len() == 3),
        "{step:?}"
    );
}

/// Reads both pods: as many connections as belong to each role, opened after this time.
fn read_both(world: &mut World, second: i64, first_port: u16, opened_after: i64) {
    for index in 0..2 {
        let mut held = sockets(first_port, HELD);
        for socket in &mut held {
            socket.opened_after = Some(at(opened_after));
        }
        read_one(world, second, index, &held);
    }
}

/// Two pods with both pools, after a failover from a to b at 100. They had looked the names up at this time, and are
/// renewed at 103, five seconds after the last answer from before the failover.
fn renewed_soon(looked_up: i64) -> World {
    let mut world = measured(Method::Signal, &[HELD; 2]);
    world.spec.targets[0].pools = serde_json::from_value(json!([
        {"endpoint": "Reader", "connectionsPerPod": 10},
        {"endpoint": "Writer", "connectionsPerPod": 10},
    ]))
    .unwrap();
    world.spec.pacing.max_unavailable = serde_json::from_value(json!("100%")).unwrap();
    let mut world = changed(world, "ba", Trigger::Failover);
    let mut view = (*world.dns).clone();
    view.since = Some(at(60));
    world.dns = Arc::new(view);
    looks(&mut world, 98, "b", "a");
    looks(&mut world, 103, "a", "b");
    read_both(&mut world, 103, 1000, looked_up);
    let mut world = record(world, 103);
    verify(&mut world);
    let plan = look(&world, 103);
    assert_eq!(plan.takes().len(), 2, "{}", plan.why());
    recycled(&mut world, &plan, 103);
    // They hold what they held before: right by their number, or swapped.
    read_both(&mut world, 106, 2000, 103);
    looks(&mut world, 106, "a", "b");
    world
}

#[test]
fn pods_that_may_have_kept_an_old_answer_are_renewed_once_more_before_their_run_ends() {
    let mut world = renewed_soon(99);
    let plan = look(&world, 106);
    assert_eq!((plan.takes().len(), gate(&plan)), (0, Some(Gate::Dns)));
    world.status = plan.status;

    looks(&mut world, 134, "a", "b");
    read_both(&mut world, 134, 2000, 103);
    let plan = look(&world, 134);
    assert_eq!(plan.takes().len(), 2, "{}", plan.why());
    recycled(&mut world, &plan, 134);

    read_both(&mut world, 137, 3000, 134);
    looks(&mut world, 137, "a", "b");
    let plan = look(&world, 137);
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert!(run.end_time.is_some(), "{}", plan.why());
}

#[test]
fn pods_that_had_not_looked_up_for_long_are_renewed_once() {
    let plan = look(&renewed_soon(60), 106);
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert!(run.end_time.is_some(), "{}", plan.why());
}

#[test]
fn pods_that_another_replica_has_renewed_are_doubted_as_well() {
    let mut world = renewed_soon(60);
    world.targets[0].evidence.before.clear();
    assert_eq!(gate(&look(&world, 106)), Some(Gate::Dns));

    // It had read them for a few seconds when it renewed them itself.
    let mut world = renewed_soon(60);
    for sockets in world.targets[0].evidence.before.values_mut() {
        let undated = sockets.iter().map(|socket| Socket {
            opened_after: None,
            ..socket.clone()
        });
        *sockets = undated.collect();
    }
    let ended = |world: &World| {
        let plan = look(world, 106);
        plan.status.targets[0]
            .run
            .as_ref()
            .unwrap()
            .end_time
            .is_some()
    };
    world.targets[0].evidence.read_since = Some(at(95));
    assert!(!ended(&world));
    world.targets[0].evidence.read_since = Some(at(60));
    assert!(ended(&world));
}

#[test]
fn dns_that_never_comes_to_rest_does_not_hold_a_run_for_ever() {
    let mut world = renewed_soon(99);
    looks(&mut world, 399, "b", "a");
    looks(&mut world, 401, "a", "b");
    read(&mut world, 401, &[HELD; 2]);
    let plan = look(&world, 401);
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert!(run.end_time.is_some(), "{}", plan.why());
}
