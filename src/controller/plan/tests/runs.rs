//! Runs: how they begin, come forward, end, halt and give way.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::spec::Method;
use crate::api::status::{RunResult, Trigger};
use crate::controller::plan::testing::{at, claim, due, look, record, running, stamp, verified};
use crate::controller::plan::{Gate, Notice, Step};

const ADDED: Trigger = Trigger::ReaderAdded;

#[test]
fn a_stamp_that_somebody_took_from_the_template_is_said_and_not_put_back() {
    let mut world = running(Method::Rollout, 4, ADDED);
    world.status.targets[0]
        .run
        .as_mut()
        .unwrap()
        .template_generation = Some(2);
    world.targets[0].workload.as_mut().unwrap().generation = 3;
    let plan = look(&world, 120);
    assert!(
        plan.notices
            .iter()
            .any(|n| matches!(n, Notice::RevertDetected(_)))
    );
    assert_eq!(plan.gate(), Some(Gate::Halted));
    let mut world = record(world, 120);
    world.policy.generation = Some(2);
    let world = record(record(world, 121), 122);
    let plan = look(&world, 123);
    assert_eq!(
        plan.gate(),
        Some(Gate::Halted),
        "an edit does not put it back"
    );
    assert!(plan.notices.is_empty());
}

#[test]
fn a_run_whose_pods_an_older_policy_takes_over_has_not_succeeded() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.targets[0].owned_by = Some("older".into());
    let plan = look(&world, 120);
    assert_eq!(plan.gate(), Some(Gate::TargetConflict));
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Halted);
}

#[test]
fn the_deadline_does_not_count_while_a_gate_holds_all_but_failed_pods() {
    let mut world = verified(Method::Signal, 4, Trigger::Failover);
    world.status.targets[0].due_epoch = 3;
    world.status.targets[0].triggers = vec![ADDED];
    world.status.targets[0].run.as_mut().unwrap().epoch = 3;
    for pod in &mut world.targets[0].pods[1..] {
        pod.stamp = Some(stamp(2));
    }
    world.targets[0].pods[0].claim = Some(claim(3, Claim::FAILED, 115));
    world.targets[0].workload.as_mut().unwrap().paused = true;
    let plan = look(&world, 5000);
    assert_eq!(plan.gate(), Some(Gate::TargetNotSettled));
    assert_eq!(
        plan.status.targets[0].run.as_ref().unwrap().result,
        RunResult::Running
    );
}
use crate::domain::stamp::Claim;

#[test]
fn numbers_that_nobody_wrote_do_not_overflow() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.status.epoch = Some(i64::MAX);
    world.policy.token = Some("again".into());
    world.status.targets[0].run.as_mut().unwrap().stale = i32::MIN;
    world.status.targets[0].pods = i32::MAX;
    let _ = look(&world, 111);
    let mut world = due(Method::Signal, 4, ADDED);
    world.spec.limits.max_runs_per_hour = 0;
    assert_eq!(look(&world, 111).gate(), Some(Gate::HourlyLimit));
}

#[test]
fn a_failover_supersedes_our_own_rollout_and_waits_for_a_users() {
    let mut world = due(Method::Rollout, 8, Trigger::Failover);
    let workload = world.targets[0].workload.as_mut().unwrap();
    workload.template_stamp = Some(stamp(1));
    workload.generation = 7;
    workload.updated = 3;
    let mut old = running(Method::Rollout, 8, ADDED).status.targets[0]
        .run
        .clone()
        .unwrap();
    old.epoch = 1;
    old.template_generation = Some(7);
    world.status.targets[0].run = Some(old);
    let ours = record(world.clone(), 110);
    assert!(matches!(
        look(&ours, 111).targets[0].step,
        Some(Step::Rollout { .. })
    ));
    world.targets[0].workload.as_mut().unwrap().generation = 8;
    let theirs = record(world, 110);
    assert_eq!(look(&theirs, 111).gate(), Some(Gate::TargetNotSettled));
}

#[test]
fn a_halted_run_goes_on_after_an_edit_of_the_policy() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(115)));
    world.targets[0].pods[0].claim = Some(claim(2, 1, 115));
    let halted = record(world, 1011);
    assert_eq!(look(&halted, 1012).gate(), Some(Gate::Halted));
    let mut edited = halted;
    edited.policy.generation = Some(2);
    let resumed = record(edited, 1013);
    assert_eq!(
        resumed.status.targets[0].run.as_ref().unwrap().result,
        RunResult::Running
    );
    assert_eq!(look(&resumed, 1014).takes(), ["web-0"]);
}
