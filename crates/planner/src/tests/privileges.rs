//! Privileges: what a failover and a token may skip, and what not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::Gate;
use crate::testing::{at, due, due_at, look, pod, record, restless_readers, stamp, view};
use crate::world::{TopologyState, World};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;

/// Closes window, cool-down, hourly limit and flapping.
fn closed(mut world: World) -> World {
    let window = json!({
        "name": "office", "type": "Deny", "schedule": "* * * * *", "durationSeconds": 60,
    });
    world.spec.windows = vec![serde_json::from_value(window).unwrap()];
    world.status.targets[0].last_run_end_time = Some(Time(at(109)));
    world.status.targets[0].run_times = (0..20).map(|n| Time(at(n))).collect();
    world.status.reader_changes = restless_readers(at(0));
    world
}

#[test]
fn a_failover_and_a_token_skip_window_cool_down_hourly_limit_and_flapping() {
    for trigger in [Trigger::Failover, Trigger::Replaced, Trigger::Manual] {
        let world = closed(due(Method::Signal, 4, trigger));
        assert_eq!(
            look(&record(world, 110), 111).takes(),
            ["web-0"],
            "{trigger:?}"
        );
    }
    let world = closed(due(Method::Signal, 4, Trigger::ReaderRemoved));
    assert_eq!(look(&world, 110).gate(), Some(Gate::Window));
}

#[test]
fn a_failover_skips_the_targets_health_and_a_token_does_not() {
    for (trigger, gate) in [
        (Trigger::Failover, None),
        (Trigger::Manual, Some(Gate::TargetNotSettled)),
    ] {
        let mut world = due(Method::Signal, 4, trigger);
        world.targets[0].workload.as_mut().unwrap().paused = true;
        world.targets[0].workload.as_mut().unwrap().wanted = 5;
        world.targets[0].workload.as_mut().unwrap().updated = 1;
        assert_eq!(look(&world, 110).gate(), gate);
    }
}

#[test]
fn a_users_rollout_holds_evict_and_rollout_of_a_failover_and_not_signal() {
    for (method, gate) in [
        (Method::Evict, Some(Gate::TargetNotSettled)),
        (Method::Rollout, Some(Gate::TargetNotSettled)),
        (Method::Signal, None),
        (Method::Http, None),
        (Method::Annotate, None),
    ] {
        let mut world = due(method, 4, Trigger::Failover);
        world.targets[0].workload.as_mut().unwrap().updated = 1;
        assert_eq!(look(&world, 110).gate(), gate, "{method:?}");
    }
}

#[test]
fn a_failover_skips_neither_budget_nor_pace_nor_a_failing_topology() {
    let mut world = record(due(Method::Signal, 4, Trigger::Failover), 110);
    world.spec.budget.max_connections = Some(40);
    assert_eq!(look(&world, 111).gate(), Some(Gate::Budget));
    world.spec.budget.max_connections = None;
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    assert_eq!(look(&world, 112).gate(), Some(Gate::Pacing));
    world.topology = TopologyState::Pending;
    assert_eq!(look(&world, 112).gate(), Some(Gate::TopologyNotCurrent));
}

#[test]
fn pods_older_than_the_failover_keep_its_privileges_after_a_later_epoch_of_readers() {
    let world = due(Method::Signal, 4, Trigger::Failover);
    let mut world = due_at(world, 3, 105, &[Trigger::ReaderAdded]);
    for pod in &mut world.targets[0].pods[..2] {
        pod.stamp = Some(stamp(2));
    }
    let world = record(closed(world), 110);
    assert_eq!(
        look(&world, 111).takes(),
        ["web-2"],
        "not one of the pods stamped since"
    );
    let mut moved = world.clone();
    for pod in &mut moved.targets[0].pods[2..] {
        pod.stamp = Some(stamp(3));
    }
    assert_eq!(
        look(&moved, 125).gate(),
        Some(Gate::Window),
        "the rest is not urgent"
    );
}

#[test]
fn pods_born_after_a_failover_are_not_urgent_for_it() {
    let world = due(Method::Signal, 2, Trigger::Failover);
    let mut world = due_at(world, 3, 200, &[Trigger::ReaderAdded]);
    world.targets[0].pods = vec![pod("web-0", 101), pod("web-1", 150)];
    let world = closed(world);
    assert_eq!(look(&world, 210).gate(), Some(Gate::Window));
}

#[test]
fn a_token_skips_settling_and_is_held_by_a_pending_failover() {
    let mut world = record(due(Method::Signal, 4, Trigger::Manual), 110);
    world.spec.triggers.failover.settle_seconds = 60;
    world.topology = TopologyState::Current(view("bac"));
    assert_eq!(look(&world, 111).takes(), ["web-0"]);
    let world = record(record(world, 111), 171);
    assert_eq!(look(&world, 172).gate(), Some(Gate::EpochNotOpen));
}

#[test]
fn not_ready_pods_go_first_and_do_not_wait_for_the_canary() {
    let mut world = record(due(Method::Signal, 8, Trigger::Failover), 110);
    for pod in &mut world.targets[0].pods[5..] {
        pod.ready = false;
    }
    assert_eq!(look(&world, 111).takes(), ["web-5", "web-6", "web-7"]);
}
