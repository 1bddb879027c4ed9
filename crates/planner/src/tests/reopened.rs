//! Pools that a failover has healed already, by the dates of their sockets.

use std::sync::Arc;

use super::steer::changed;
use crate::Step;
use crate::testing::measured::{looks, measured, read_one, sockets};
use crate::testing::{at, look, record};
use crate::world::World;
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
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
