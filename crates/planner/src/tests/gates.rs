//! Gates: each is named when it holds, and an earlier one before a later one.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use crate::Gate;
use crate::testing::{
    at, baseline, due, due_at, look, quiet, record, restless_readers, running, stamp, target,
    unseen, verified, verify, view,
};
use crate::world::{EffectBackoff, TopologyError, TopologyState, World};
use dbbalance_api::spec::{Method, Mode};
use dbbalance_api::status::{PendingEpochStatus, RunResult, RunStatus, Trigger};
use dbbalance_core::workload::RolloutStrategy;

const ADDED: Trigger = Trigger::ReaderAdded;

fn ready_to_begin() -> World {
    due(Method::Signal, 4, ADDED)
}

fn failing() -> TopologyState {
    TopologyState::Failing {
        error: TopologyError {
            reason: "Throttled",
            message: "throttled twice".into(),
        },
        last: Some(view("abc")),
    }
}

fn deny(world: &mut World) {
    let window = json!({
        "name": "office", "type": "Deny", "schedule": "* * * * *", "durationSeconds": 60,
    });
    world.spec.windows = vec![serde_json::from_value(window).unwrap()];
}

fn pending(triggers: Vec<Trigger>) -> PendingEpochStatus {
    PendingEpochStatus {
        epoch: 3,
        fingerprint: "abcd".into(),
        triggers,
        targets: vec!["web".into()],
        message: "writer is now b".into(),
        added: vec![],
        settled_time: None,
        waiting_for: None,
        timed_out: false,
    }
}

fn ended(world: &mut World, second: i64) {
    world.status.targets[0].last_run_end_time = Some(Time(at(second)));
}

fn gate(world: &World, second: i64) -> Option<Gate> {
    let plan = look(world, second);
    assert!(plan.gate().is_none() || plan.targets[0].step.is_none());
    if plan.gate().is_some() {
        assert!(!plan.why().is_empty(), "a gate says why");
    }
    plan.gate()
}

#[test]
fn with_no_gate_a_run_begins_and_the_next_pass_acts() {
    let world = ready_to_begin();
    let plan = look(&world, 110);
    assert_eq!((plan.gate(), plan.targets[0].step.is_none()), (None, true));
    assert_eq!(plan.wake, Some(at(110)));
    assert_eq!(look(&record(world, 110), 110).takes(), ["web-0"]);
}

#[test]
fn a_paused_policy_at_rest_says_so_and_looks_again_when_the_pause_ends() {
    let mut world = quiet(Method::Signal, 4);
    world.policy.pause_until = Some("2026-06-01T00:00:00Z".into());
    let plan = look(&world, 10);
    assert_eq!(plan.gate(), Some(Gate::Paused));
    assert_eq!(
        plan.wake,
        plan.targets[0].held.as_ref().and_then(|h| h.until)
    );
    assert!(plan.wake.is_some());
}

#[test]
fn what_policies_of_other_namespaces_hold_is_looked_at_again_soon() {
    let mut world = ready_to_begin();
    world.peers.running = 3;
    assert_eq!(gate(&world, 110), Some(Gate::Pacing));
    assert_eq!(look(&world, 110).wake, Some(at(115)));
}

#[test]
fn nothing_is_done_in_the_second_in_which_the_epoch_opened() {
    // A pod that an eviction brought forth in that second would look older than the epoch.
    let mut world = running(Method::Evict, 4, ADDED);
    world.effects_not_before = Some(at(112));
    assert_eq!(gate(&world, 111), Some(Gate::EpochNotOpen));
    assert_eq!(look(&world, 111).wake, Some(at(112)));
    assert_eq!(gate(&world, 112), None);
}

#[test]
fn gates_are_named_in_their_order() {
    // Every gate that can hold before a run is closed; they are opened one after the other.
    let mut world = ready_to_begin();
    let after = "2026-06-01T00:00:00Z".to_owned();
    world.spec.mode = Mode::Observe;
    world.spec.suspend = true;
    world.policy.pause_until = Some(after);
    world.role_allowed = false;
    let workload = world.targets[0].workload.take();
    world.topology = failing();
    deny(&mut world);
    ended(&mut world, 100);
    let hour: Vec<Time> = (0..6).map(|n| Time(at(n))).collect();
    world.status.targets[0].run_times = hour;
    world.status.reader_changes = restless_readers(at(0));
    world.status.pending_epoch = Some(pending(vec![Trigger::Failover]));
    let now = 110;
    assert_eq!(gate(&world, now), Some(Gate::Observe));
    world.spec.mode = Mode::Enforce;
    assert_eq!(gate(&world, now), Some(Gate::Suspended));
    world.spec.suspend = false;
    assert_eq!(gate(&world, now), Some(Gate::Paused));
    world.policy.pause_until = None;
    assert_eq!(gate(&world, now), Some(Gate::InvalidSpec));
    world.role_allowed = true;
    world.targets[0].owned_by = Some("older".into());
    assert_eq!(gate(&world, now), Some(Gate::TargetConflict));
    world.targets[0].owned_by = None;
    assert_eq!(gate(&world, now), Some(Gate::TargetNotFound));
    world.targets[0].workload = workload;
    assert_eq!(gate(&world, now), Some(Gate::TopologyNotCurrent));
    world.topology = TopologyState::Current(view("abc"));
    assert_eq!(gate(&world, now), Some(Gate::EpochNotOpen));
    world.status.pending_epoch = None;
    assert_eq!(gate(&world, now), Some(Gate::Window));
    world.spec.windows.clear();
    assert_eq!(gate(&world, now), Some(Gate::Cooldown));
    ended(&mut world, -1000);
    assert_eq!(gate(&world, now), Some(Gate::HourlyLimit));
    world.spec.limits.max_runs_per_hour = 7;
    assert_eq!(gate(&world, now), Some(Gate::Flapping));
    world.status.reader_changes.clear();
    world.targets[0].workload.as_mut().unwrap().paused = true;
    assert_eq!(gate(&world, now), Some(Gate::TargetNotSettled));
    world.targets[0].workload.as_mut().unwrap().paused = false;
    world.peers.running = 3;
    assert_eq!(gate(&world, now), Some(Gate::Pacing));
    world.peers.running = 2;
    assert_eq!(gate(&world, now), None);
}

#[test]
fn gates_that_open_at_a_known_time_name_it_and_ask_to_be_woken() {
    let mut world = ready_to_begin();
    ended(&mut world, 100);
    let plan = look(&world, 110);
    assert_eq!(plan.wake, Some(at(400)));
    assert_eq!(plan.status.plan[0].not_before, Some(Time(at(400))));
    assert_eq!(plan.status.plan[0].waiting_for.as_deref(), Some("Cooldown"));
    world.policy.pause_until = Some(at(150).to_string());
    assert_eq!(look(&world, 110).wake, Some(at(150)));
    assert_eq!(gate(&world, 150), Some(Gate::Cooldown), "the pause is over");
}

#[test]
fn a_pause_that_cannot_be_read_pauses() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.policy.pause_until = Some("tomorrow".into());
    assert_eq!(gate(&world, 111), Some(Gate::InvalidSpec));
}

#[test]
fn a_missing_workload_is_named_and_holds_no_other_target() {
    let targets = vec![target("a", Method::Signal), target("b", Method::Signal)];
    let world = due_at(baseline(unseen(targets, 4)), 2, 100, &[ADDED]);
    let mut world = record(world, 110);
    world.targets[0].workload = None;
    assert_eq!(gate(&world, 111), Some(Gate::TargetNotFound));
    assert!(look(&world, 111).targets[1].step.is_some());
}

#[test]
fn a_writer_change_that_is_settling_holds_the_steps_and_one_of_readers_does_not() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.spec.triggers.failover.settle_seconds = 60;
    world.topology = TopologyState::Current(view("bac"));
    let plan = look(&world, 111);
    assert_eq!(plan.gate(), Some(Gate::Settle));
    assert_eq!(plan.wake, Some(at(171)));
    world.topology = TopologyState::Current(view("abcd"));
    assert_eq!(look(&world, 111).takes(), ["web-0"]);
}

#[test]
fn a_pending_failover_holds_the_steps_and_a_pending_epoch_of_readers_does_not() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.status.pending_epoch = Some(pending(vec![Trigger::Replaced]));
    assert_eq!(gate(&world, 111), Some(Gate::EpochNotOpen));
    world.status.pending_epoch = Some(pending(vec![ADDED]));
    assert_eq!(gate(&world, 111), None);
    let mut other = pending(vec![Trigger::Failover]);
    other.targets = vec!["another".into()];
    world.status.pending_epoch = Some(other);
    assert_eq!(gate(&world, 111), None, "it does not concern this target");
}

#[test]
fn a_window_holds_within_a_run_and_the_limits_between_runs_do_not() {
    let mut world = running(Method::Signal, 4, ADDED);
    ended(&mut world, 100);
    world.status.targets[0].run_times = (0..20).map(|n| Time(at(n))).collect();
    world.status.reader_changes = restless_readers(at(0));
    assert_eq!(gate(&world, 111), None);
    deny(&mut world);
    assert_eq!(gate(&world, 111), Some(Gate::Window));
}

#[test]
fn the_run_after_a_superseded_one_has_no_cool_down() {
    let mut world = due_at(running(Method::Signal, 4, ADDED), 3, 120, &[ADDED]);
    ended(&mut world, 100);
    let plan = look(&world, 121);
    assert_eq!(plan.gate(), None);
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!((run.epoch, run.result), (3, RunResult::Running));
    assert_eq!(plan.status.history[0].result, RunResult::Superseded);
}

#[test]
fn a_workload_in_a_rollout_or_not_complete_is_left_alone() {
    let mut world = ready_to_begin();
    world.targets[0].workload.as_mut().unwrap().updated = 3;
    assert_eq!(gate(&world, 110), Some(Gate::TargetNotSettled));
    world.targets[0].workload.as_mut().unwrap().updated = 4;
    world.targets[0].workload.as_mut().unwrap().wanted = 5;
    assert_eq!(gate(&world, 110), Some(Gate::TargetNotSettled));
    world.targets[0].workload.as_mut().unwrap().wanted = 4;
    world.targets[0].workload.as_mut().unwrap().observed = false;
    assert_eq!(gate(&world, 110), Some(Gate::TargetNotSettled));
}

#[test]
fn a_rollout_of_a_workload_that_cannot_roll_within_the_limits_is_refused() {
    let refusals: [fn(&mut World); 4] = [
        |w| w.targets[0].workload.as_mut().unwrap().strategy = RolloutStrategy::Recreate,
        |w| w.targets[0].workload.as_mut().unwrap().strategy = RolloutStrategy::OnDelete,
        |w| w.targets[0].workload.as_mut().unwrap().strategy = RolloutStrategy::Partition(1),
        |w| w.targets[0].workload.as_mut().unwrap().owner = Some("Foo bar".into()),
    ];
    for refuse in refusals {
        let mut world = running(Method::Rollout, 4, ADDED);
        refuse(&mut world);
        assert_eq!(gate(&world, 111), Some(Gate::Refused));
    }
}

#[test]
fn the_budget_refuses_with_the_sum_and_an_unknown_limit_holds_what_surges() {
    let mut world = verified(Method::Evict, 4, ADDED);
    world.spec.budget.max_connections = Some(50);
    let plan = look(&world, 111);
    assert_eq!(plan.gate(), Some(Gate::Budget));
    assert!(
        plan.why().starts_with("needs 10 connections on a, has 2"),
        "{}",
        plan.why()
    );
    world.spec.budget.max_connections = None;
    let mut unknown = view("abc");
    unknown.facts.clear();
    world.topology = TopologyState::Current(unknown.clone());
    assert_eq!(gate(&world, 111), Some(Gate::BudgetUnknown));
    let mut world = verified(Method::Signal, 4, ADDED);
    world.topology = TopologyState::Current(unknown);
    assert_eq!(gate(&world, 111), None);
}

#[test]
fn other_policies_count_in_the_budget() {
    let mut world = verified(Method::Signal, 4, ADDED);
    // Two readers, each with its half and half of that more: 40 and 1320 are 1020, 1760 are 1350.
    world.peers.held.estimated.reader = 1760;
    assert_eq!(gate(&world, 111), None);
    world.peers.held.estimated.reader = 1774;
    assert_eq!(gate(&world, 111), Some(Gate::Budget));
    world.peers.held.estimated.reader = 1760;
    world.peers.in_flight.reader = 20;
    assert_eq!(gate(&world, 111), Some(Gate::Budget));
}

#[test]
fn at_most_three_runs_are_in_progress_whatever_the_order_of_the_targets() {
    let names = ["a", "b", "c", "d"];
    let targets = names.map(|n| target(n, Method::Signal)).to_vec();
    let world = due_at(baseline(unseen(targets, 4)), 2, 100, &[ADDED]);
    let world = record(world, 110);
    let begun = |w: &World| w.status.targets.iter().filter(|t| t.run.is_some()).count();
    assert_eq!(begun(&world), 3);
    let mut rotated = world;
    rotated.status.targets.rotate_right(1);
    for (target, name) in rotated.status.targets.iter_mut().zip(names) {
        target.name = name.into();
        target.reference = format!("Deployment/{name}");
    }
    rotated.status.plan.clear();
    assert_eq!(
        begun(&record(rotated, 111)),
        3,
        "the first waits for the later ones"
    );
}

#[test]
fn the_pace_lies_between_two_steps() {
    let mut world = verified(Method::Signal, 4, ADDED);
    world.spec.pacing.jitter_percent = 0;
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    world.targets[0].pods[0].stamp = Some(stamp(2));
    let plan = look(&world, 120);
    assert_eq!(
        (plan.gate(), plan.wake),
        (Some(Gate::Pacing), Some(at(121)))
    );
    assert_eq!(look(&world, 121).takes(), ["web-1"]);
}

#[test]
fn a_disruption_budget_holds_until_the_next_try() {
    let mut world = verified(Method::Evict, 4, ADDED);
    world.targets[0].backoff = Some(EffectBackoff {
        gate: Gate::DisruptionBudget,
        message: "Cannot evict pod".into(),
        until: at(120),
    });
    let plan = look(&world, 111);
    assert_eq!(
        (plan.gate(), plan.wake),
        (Some(Gate::DisruptionBudget), Some(at(120)))
    );
    let mut busy = world.clone();
    busy.targets[0].backoff.as_mut().unwrap().gate = Gate::ApiServer;
    assert_eq!(
        gate(&busy, 119),
        Some(Gate::ApiServer),
        "what is no budget is not called one"
    );
    assert_eq!(gate(&world, 120), None);
}

#[test]
fn a_halted_run_says_why_and_what_lets_it_go_on() {
    let mut world = verified(Method::Signal, 4, ADDED);
    let run = world.status.targets[0].run.as_mut().unwrap();
    *run = RunStatus {
        result: RunResult::Halted,
        message: Some("no progress".into()),
        halted_generation: Some(1),
        ..run.clone()
    };
    let plan = look(&world, 111);
    assert_eq!(plan.gate(), Some(Gate::Halted));
    assert!(plan.why().contains("no progress") && plan.why().contains("an edit"));
    assert_eq!(gate(&due_at(world, 3, 120, &[Trigger::Manual]), 121), None);
}

#[test]
fn gates_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Gate::ALL.iter().map(|g| g.as_str()).collect();
    assert_eq!(names.len(), Gate::ALL.len());
    let world = ready_to_begin();
    verify(&mut world.clone());
    assert!(look(&world, 110).targets[0].action.contains("web-0"));
}
