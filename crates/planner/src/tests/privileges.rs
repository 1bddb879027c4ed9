//! Privileges: what a failover and a token may skip, and what not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::Gate;
use crate::testing::{
    at, due, due_at, look, pod, record, restless_readers, running, stamp, verify, view,
};
use crate::world::{TopologyState, World};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
use dbbalance_core::workload::RolloutStrategy;

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

/// A workload with pods of two templates, two of four updated.
fn mixed(method: Method, trigger: Trigger, strategy: RolloutStrategy, failed: bool) -> World {
    let mut world = due(method, 4, trigger);
    let workload = world.targets[0].workload.as_mut().unwrap();
    workload.updated = 2;
    workload.strategy = strategy;
    workload.rollout_failed = failed;
    world
}

#[test]
fn a_failed_rollout_of_a_user_holds_no_failover_but_by_rollout() {
    let strategy = || crate::testing::workload("web", 4).strategy;
    for (method, gate) in [
        (Method::Signal, None),
        (Method::Http, None),
        (Method::Annotate, None),
        (Method::Evict, None),
        (Method::Rollout, Some(Gate::TargetNotSettled)),
    ] {
        let world = mixed(method, Trigger::Failover, strategy(), true);
        assert_eq!(look(&world, 110).gate(), gate, "{method:?}");
    }
}

#[test]
fn the_template_of_a_paused_workload_is_not_stamped_even_after_a_failover() {
    for trigger in [Trigger::ReaderAdded, Trigger::Failover] {
        let mut world = running(Method::Rollout, 4, trigger);
        world.targets[0].workload.as_mut().unwrap().paused = true;
        let plan = look(&world, 111);
        assert!(plan.targets[0].step.is_none(), "{trigger:?}");
        assert_eq!(plan.gate(), Some(Gate::TargetNotSettled), "{trigger:?}");
        assert!(plan.why().contains("is paused"), "{}", plan.why());
    }
    let mut world = running(Method::Signal, 4, Trigger::Failover);
    world.targets[0].workload.as_mut().unwrap().paused = true;
    assert_eq!(
        look(&world, 111).takes(),
        ["web-0"],
        "its pods can be renewed"
    );
}

#[test]
fn a_failed_rollout_holds_evictions_for_readers_and_not_what_takes_nothing_away() {
    for (method, gate) in [
        (Method::Signal, None),
        (Method::Evict, Some(Gate::TargetNotSettled)),
    ] {
        let strategy = crate::testing::workload("web", 4).strategy;
        let mut world = mixed(method, Trigger::ReaderAdded, strategy, true);
        world.targets[0].workload.as_mut().unwrap().present = 5;
        assert_eq!(look(&world, 110).gate(), gate, "{method:?}");
    }
}

#[test]
fn a_partition_that_is_reached_holds_nothing_and_one_that_is_not_does() {
    for (partition, gate) in [(2, None), (1, Some(Gate::TargetNotSettled))] {
        for method in [Method::Signal, Method::Evict] {
            let strategy = RolloutStrategy::Partition(partition);
            let world = mixed(method, Trigger::ReaderAdded, strategy, false);
            assert_eq!(look(&world, 110).gate(), gate, "{method:?} {partition}");
        }
    }
}

#[test]
fn what_on_delete_holds_back_is_not_rolled_out_by_an_eviction() {
    for (method, trigger, gate) in [
        (Method::Signal, Trigger::ReaderAdded, None),
        (Method::Annotate, Trigger::Failover, None),
        (
            Method::Evict,
            Trigger::Failover,
            Some(Gate::TargetNotSettled),
        ),
    ] {
        let world = mixed(method, trigger, RolloutStrategy::OnDelete, false);
        assert_eq!(look(&world, 110).gate(), gate, "{method:?}");
    }
}

#[test]
fn a_failover_waits_for_no_other_runs_on_the_cluster_and_others_wait_for_three() {
    let mut world = due(Method::Signal, 4, Trigger::Failover);
    world.peers.running = 3;
    assert_eq!(look(&record(world, 110), 111).takes(), ["web-0"]);
    let mut world = due(Method::Signal, 4, Trigger::ReaderAdded);
    world.peers.running = 3;
    assert_eq!(look(&world, 110).gate(), Some(Gate::Pacing));
}

#[test]
fn the_run_of_a_failover_does_not_count_among_those_of_the_cluster() {
    for (trigger, counts) in [(Trigger::Failover, false), (Trigger::ReaderAdded, true)] {
        let world = record(due(Method::Signal, 4, trigger), 110);
        assert_eq!(look(&world, 111).targets[0].running, counts, "{trigger:?}");
    }
}

#[test]
fn a_failover_is_not_held_by_an_estimate_and_one_that_surges_goes_pod_by_pod() {
    for method in [
        Method::Signal,
        Method::Http,
        Method::Annotate,
        Method::Evict,
    ] {
        let mut world = record(due(method, 40, Trigger::Failover), 110);
        verify(&mut world);
        world.spec.budget.max_connections = Some(40);
        let takes = look(&world, 111).takes().len();
        assert_eq!(
            takes,
            if method == Method::Evict { 1 } else { 10 },
            "{method:?}"
        );
    }
    let mut world = record(due(Method::Evict, 4, Trigger::ReaderAdded), 110);
    world.spec.budget.max_connections = Some(40);
    assert_eq!(look(&world, 111).gate(), Some(Gate::Budget));
}

#[test]
fn a_failover_that_surges_is_held_by_connections_that_were_measured() {
    let mut world = record(due(Method::Evict, 4, Trigger::Failover), 110);
    world.spec.budget.max_connections = Some(40);
    let writer = dbbalance_core::topology::InstanceId("a".into());
    world.peers.held.measured = [(writer, 30)].into();
    assert_eq!(look(&world, 111).gate(), Some(Gate::Budget));
    world.spec.targets[0].recycle = crate::testing::target("web", Method::Http).recycle;
    assert_eq!(
        look(&world, 111).takes().len(),
        1,
        "it opens no more than it closes"
    );
}

#[test]
fn an_unknown_limit_holds_evictions_for_readers_and_none_for_a_failover() {
    for (trigger, gate) in [
        (Trigger::Failover, None),
        (Trigger::ReaderAdded, Some(Gate::BudgetUnknown)),
    ] {
        let mut world = record(due(Method::Evict, 4, trigger), 110);
        let TopologyState::Current(view) = &mut world.topology else {
            unreachable!()
        };
        for facts in view.facts.values_mut() {
            facts.class = Some("db.x99.tiny".into());
        }
        assert_eq!(look(&world, 111).gate(), gate);
    }
}

#[test]
fn a_failover_skips_neither_pace_nor_a_failing_topology() {
    let mut world = record(due(Method::Signal, 4, Trigger::Failover), 110);
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
fn not_ready_pods_go_first_beside_the_canary() {
    let mut world = record(due(Method::Signal, 8, Trigger::Failover), 110);
    for pod in &mut world.targets[0].pods[5..] {
        pod.ready = false;
    }
    assert_eq!(
        look(&world, 111).takes(),
        ["web-5", "web-0"],
        "one of them until it has answered"
    );
}
