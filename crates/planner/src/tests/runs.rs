//! Runs: how they begin, come forward, end, halt and give way.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::testing::{
    at, claim, due, due_at, look, pod, pods_of, quiet, record, running, stamp, verified,
};
use crate::world::World;
use crate::{Gate, Notice, Step};
use dbbalance_api::spec::{Fallback, Method};
use dbbalance_api::status::{RunResult, Trigger};
use dbbalance_core::stamp::Attempt;

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
    world.targets[0].pods[0].claim = Some(claim(3, 3, 115));
    world.targets[0].workload.as_mut().unwrap().paused = true;
    let plan = look(&world, 5000);
    assert_eq!(plan.gate(), Some(Gate::TargetNotSettled));
    assert_eq!(
        plan.status.targets[0].run.as_ref().unwrap().result,
        RunResult::Running
    );
}

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

/// The world some seconds after the canary's step, which has stamped `web-0`.
fn after_canary() -> World {
    let mut world = running(Method::Signal, 8, ADDED);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    world.targets[0].pods[0].stamp = Some(stamp(2));
    world
}

#[test]
fn a_run_starts_with_one_ready_pod() {
    let world = running(Method::Signal, 8, ADDED);
    let plan = look(&world, 111);
    assert_eq!(plan.takes(), ["web-0"]);
    assert!(matches!(
        plan.targets[0].step,
        Some(Step::Pods { canary: true, .. })
    ));
}

#[test]
fn the_rest_follows_when_the_canary_has_come_back_and_that_is_recorded() {
    let mut world = after_canary();
    world.targets[0].pods[0].ready = false;
    let plan = look(&world, 130);
    assert_eq!(plan.gate(), Some(Gate::Canary));
    assert!(plan.takes().is_empty());
    world.targets[0].pods[0].ready = true;
    let plan = look(&world, 130);
    assert!(matches!(plan.notices[..], [Notice::CanaryPassed(_)]));
    assert!(plan.takes().is_empty());
    let world = record(world, 130);
    assert_eq!(look(&world, 130).takes(), ["web-1", "web-2"]);
}

#[test]
fn an_evicted_canary_has_come_back_with_as_many_ready_pods_and_a_fresh_one() {
    let mut world = running(Method::Evict, 4, ADDED);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    world.targets[0].pods.remove(0);
    assert_eq!(look(&world, 130).gate(), Some(Gate::Canary));
    let mut successor = pod("web-new", 112);
    successor.ready = false;
    world.targets[0].pods.push(successor);
    assert_eq!(look(&world, 130).gate(), Some(Gate::Canary));
    world.targets[0].pods[3].ready = true;
    let plan = look(&world, 130);
    assert!(matches!(plan.notices[..], [Notice::CanaryPassed(_)]));
}

#[test]
fn a_pod_that_is_ignored_since_the_run_began_does_not_keep_the_canary_waiting() {
    let mut world = after_canary();
    world.targets[0].pods[7].ignored = true;
    let plan = look(&world, 130);
    assert!(matches!(plan.notices[..], [Notice::CanaryPassed(_)]));
}

#[test]
fn a_run_that_goes_on_after_an_edit_compares_with_the_pods_of_that_moment() {
    let mut world = after_canary();
    world.targets[0].pods[7].ready = false;
    world.targets[0].pods[7].stamp = Some(stamp(2));
    let mut halted = record(record(world, 130), 1030);
    assert_eq!(look(&halted, 1031).gate(), Some(Gate::Halted));
    halted.policy.generation = Some(2);
    let resumed = record(halted, 1032);
    assert_eq!(resumed.status.targets[0].run.as_ref().unwrap().ready, 7);
    let plan = look(&resumed, 1033);
    assert!(matches!(plan.notices[..], [Notice::CanaryPassed(_)]));
}

#[test]
fn a_new_template_needs_a_canary_again_and_an_edit_of_the_method_too() {
    let mut world = verified(Method::Signal, 8, ADDED);
    assert_eq!(look(&world, 111).takes().len(), 2);
    world.spec.targets[0]
        .recycle
        .signal
        .as_mut()
        .unwrap()
        .process = 7;
    assert_eq!(look(&world, 111).takes().len(), 1);
    let mut world = verified(Method::Signal, 8, ADDED);
    for pod in &mut world.targets[0].pods {
        pod.template = "t2".into();
    }
    assert_eq!(look(&world, 111).takes().len(), 1);
}

#[test]
fn a_lost_race_of_the_canary_is_followed_by_another() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    assert_eq!(look(&world, 130).takes(), ["web-0"]);
}

#[test]
fn a_run_ends_when_nothing_is_stale() {
    let mut world = verified(Method::Signal, 4, ADDED);
    for pod in &mut world.targets[0].pods {
        pod.stamp = Some(stamp(2));
    }
    let plan = look(&world, 150);
    assert!(matches!(plan.notices[..], [Notice::RunSucceeded(..)]));
    let target = &plan.status.targets[0];
    let run = target.run.as_ref().unwrap();
    assert_eq!((run.result, run.recycled), (RunResult::Succeeded, 4));
    assert_eq!(target.last_run_end_time, Some(Time(at(150))));
    assert_eq!(plan.status.history.len(), 1);
    let world = record(world, 150);
    assert_eq!(look(&world, 9000).status, world.status);
}

#[test]
fn the_progress_deadline_counts_while_the_pace_holds_and_not_while_another_gate_does() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(111)));
    world.targets[0].pods[0].ready = false;
    world.targets[0].pods[0].claim = Some(claim(2, 1, 111));
    let stuck = record(world.clone(), 1009);
    assert_ne!(look(&stuck, 1009).gate(), Some(Gate::Halted));
    let plan = look(&stuck, 1010);
    assert_eq!(plan.gate(), Some(Gate::Halted));
    assert!(matches!(plan.notices[..], [Notice::RunHalted(..)]));
    world.spec.suspend = true;
    let suspended = record(world, 112);
    let mut later = record(suspended, 5000);
    later.spec.suspend = false;
    let resumed = record(later, 5001);
    let run = resumed.status.targets[0].run.as_ref().unwrap();
    assert_eq!(
        (run.result, run.last_progress_time.0),
        (RunResult::Running, at(5001))
    );
}

#[test]
fn a_run_that_waits_is_looked_at_again_at_its_deadline() {
    let mut world = after_canary();
    world.targets[0].pods[0].ready = false;
    let world = record(world, 130);
    assert_eq!(look(&world, 131).wake, Some(at(1030)));
}

#[test]
fn more_than_a_tenth_of_failed_pods_halt_a_run_and_one_may_fail() {
    let mut world = verified(Method::Signal, 8, ADDED);
    world.targets[0].pods[0].claim = Some(claim(2, 3, 111));
    assert_eq!(look(&world, 120).gate(), None);
    world.targets[0].pods[1].claim = Some(claim(2, 2, 20));
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.message = Some("answered 500".into());
    let plan = look(&world, 120);
    assert_eq!(plan.gate(), Some(Gate::Halted));
    assert!(plan.why().contains("the last failure: answered 500"));
    assert!(
        plan.why().contains("2 of 8 pods, 1 may fail"),
        "{}",
        plan.why()
    );
}

#[test]
fn a_canary_that_fails_halts_the_run_and_is_not_evicted() {
    let mut world = running(Method::Signal, 8, ADDED);
    world.spec.targets[0].recycle.fallback = Some(Fallback::Evict);
    world.targets[0].pods[0].claim = Some(claim(2, 3, 111));
    let plan = look(&world, 120);
    assert_eq!(plan.gate(), Some(Gate::Halted));
    assert!(plan.takes().is_empty());
}

#[test]
fn after_the_canary_a_pod_on_which_the_method_failed_is_evicted_instead() {
    let mut world = running(Method::Signal, 8, ADDED);
    world.spec.targets[0].recycle.fallback = Some(Fallback::Evict);
    crate::testing::verify(&mut world);
    for pod in &mut world.targets[0].pods[1..] {
        pod.stamp = Some(stamp(2));
    }
    world.targets[0].pods[0].claim = Some(claim(2, 3, 111));
    let plan = look(&world, 120);
    let steps = pods_of(plan.targets[0].step.as_ref());
    assert_eq!(
        (steps[0].method, steps[0].claim.attempt),
        (Method::Evict, Attempt::Fallback)
    );
}

#[test]
fn a_claim_without_a_stamp_is_left_then_redone_once_then_failed() {
    let mut world = verified(Method::Http, 4, ADDED);
    for pod in &mut world.targets[0].pods[1..] {
        pod.stamp = Some(stamp(2));
    }
    world.targets[0].pods[0].claim = Some(claim(2, 1, 111));
    let plan = look(&world, 146);
    assert!(plan.takes().is_empty());
    assert_eq!(plan.wake, Some(at(147)));
    let plan = look(&world, 147);
    let steps = pods_of(plan.targets[0].step.as_ref());
    assert_eq!(steps[0].claim.attempt, Attempt::Retry);
    world.targets[0].pods[0].claim = Some(claim(2, 2, 147));
    let world = record(world, 183);
    assert!(look(&world, 183).takes().is_empty());
    assert_eq!(world.status.targets[0].run.as_ref().unwrap().failed, 1);
}

#[test]
fn a_newer_epoch_supersedes_a_run_and_takes_every_stale_pod_again() {
    let mut world = verified(Method::Signal, 4, ADDED);
    world.targets[0].pods[0].stamp = Some(stamp(2));
    let world = record(due_at(world, 3, 120, &[ADDED]), 121);
    let target = &world.status.targets[0];
    assert_eq!((target.stale, target.run.as_ref().unwrap().epoch), (4, 3));
    assert_eq!(world.status.history[0].result, RunResult::Superseded);
    assert_eq!(
        world.status.history[0].message.as_deref(),
        Some("epoch 3 took over")
    );
}

#[test]
fn a_rollout_stamps_the_template_once_and_waits_for_its_pods() {
    let mut world = running(Method::Rollout, 8, ADDED);
    let plan = look(&world, 111);
    let Some(Step::Rollout { stamp, .. }) = plan.targets[0].step.clone() else {
        panic!("a rollout is due: {:?}", plan.targets[0]);
    };
    world.status.targets[0]
        .run
        .as_mut()
        .unwrap()
        .template_generation = Some(2);
    assert_eq!(
        look(&world, 112).targets[0].step,
        None,
        "the cache has not seen it"
    );
    let workload = world.targets[0].workload.as_mut().unwrap();
    workload.generation = 2;
    workload.template_stamp = Some(stamp);
    workload.updated = 3;
    let plan = look(&world, 113);
    assert_eq!((plan.gate(), plan.targets[0].step.is_none()), (None, true));
    assert!(plan.targets[0].running);
}

#[test]
fn an_ignored_workload_has_nothing_stale() {
    let mut world = due(Method::Signal, 4, ADDED);
    world.targets[0].workload.as_mut().unwrap().ignored = true;
    assert_eq!(look(&world, 110).status.stale.as_deref(), Some("0/0"));
}

#[test]
fn a_deleted_policy_starts_nothing() {
    let mut world = running(Method::Signal, 4, ADDED);
    world.policy.deleting = true;
    assert!(look(&world, 111).targets.iter().all(|t| t.step.is_none()));
}

#[test]
fn pods_born_fresh_get_the_topology_on_sight_unless_nothing_may_be_written() {
    let mut world = running(Method::Signal, 4, ADDED);
    let mut born = pod("web-new", 105);
    born.has_topology = false;
    world.targets[0].pods.push(born);
    assert_eq!(
        look(&world, 111).targets[0].annotate,
        [pod("web-new", 105).key()]
    );
    world.spec.mode = dbbalance_api::spec::Mode::Observe;
    assert!(look(&world, 111).targets[0].annotate.is_empty());
}

#[test]
fn the_history_keeps_ten_runs_and_the_newest_comes_first() {
    let mut world = quiet(Method::Signal, 2);
    for epoch in 2..20 {
        let second = epoch * 1000;
        world = due_at(world, epoch, second, &[Trigger::Manual]);
        world = record(world, second + 1);
        for pod in &mut world.targets[0].pods {
            pod.stamp = Some(stamp(epoch));
        }
        world = record(world, second + 2);
    }
    let epochs: Vec<i64> = world.status.history.iter().map(|r| r.epoch).collect();
    assert_eq!(epochs, (10..20).rev().collect::<Vec<_>>());
}
