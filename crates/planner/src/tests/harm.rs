//! Harm: a run does no more of it than the change that it answers, and what is lost elsewhere does not hold it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use serde_json::json;

use crate::testing::{at, claim, look, pod, record, running, since_claim, stamp, verified, verify};
use crate::world::World;
use crate::{Gate, Notice};
use dbbalance_api::spec::Method;
use dbbalance_api::status::{HaltReason, RunResult, RunStatus, Trigger};

const FAILOVER: Trigger = Trigger::Failover;
const ADDED: Trigger = Trigger::ReaderAdded;
const GENTLE: [Method; 3] = [Method::Signal, Method::Http, Method::Annotate];

fn all_not_ready(mut world: World) -> World {
    for pod in &mut world.targets[0].pods {
        pod.ready = false;
    }
    world.status.targets[0].run.as_mut().unwrap().ready = 0;
    world
}

fn run(world: &World) -> &RunStatus {
    world.status.targets[0].run.as_ref().unwrap()
}

fn stepped(world: &mut World, second: i64) {
    world.status.targets[0].run.as_mut().unwrap().last_step_time = Some(Time(at(second)));
}

/// A pod that was recycled at this second: stamped, with the mark of its claim.
fn recycled(world: &mut World, index: usize, second: i64) {
    let pod = &mut world.targets[0].pods[index];
    pod.since_claim = Some(since_claim(&claim(2, 1, second), pod.ready));
    pod.stamp = Some(stamp(2));
}

/// A pod that was claimed at this second and has not answered.
fn claimed(world: &mut World, index: usize, attempt: u8, second: i64) {
    let pod = &mut world.targets[0].pods[index];
    pod.since_claim = Some(since_claim(&claim(2, 1, second), pod.ready));
    pod.claim = Some(claim(2, attempt, second));
}

#[test]
fn a_fleet_that_is_not_ready_is_evicted_one_by_one_after_a_failover_too() {
    for trigger in [ADDED, FAILOVER] {
        for build in [running, verified] {
            let mut world = all_not_ready(build(Method::Evict, 6, trigger));
            assert_eq!(look(&world, 111).takes(), ["web-0"], "{trigger:?}");
            stepped(&mut world, 111);
            world.targets[0].pods.remove(0);
            assert!(
                look(&world, 130).takes().is_empty(),
                "its successor is awaited"
            );
            let mut successor = pod("web-new", 112);
            successor.ready = false;
            world.targets[0].pods.push(successor);
            assert!(look(&world, 130).takes().is_empty(), "and must be Ready");
            world.targets[0].pods[5].ready = true;
            let world = record(world, 130);
            assert_eq!(look(&world, 131).takes(), ["web-1"], "{trigger:?}");
        }
    }
}

#[test]
fn pods_that_are_not_ready_are_in_no_hurry_without_a_failover() {
    for method in GENTLE {
        let world = all_not_ready(running(method, 30, ADDED));
        assert_eq!(look(&world, 111).takes().len(), 1, "{method:?}: the canary");
        let world = all_not_ready(verified(method, 30, ADDED));
        assert_eq!(look(&world, 111).takes().len(), 7, "{method:?}: a quarter");
    }
}

#[test]
fn the_exemption_of_pods_that_are_not_ready_ends_with_the_first_that_gets_worse() {
    let mut world = verified(Method::Signal, 30, FAILOVER);
    for pod in &mut world.targets[0].pods[10..] {
        pod.ready = false;
    }
    assert_eq!(look(&world, 111).takes().len(), 10 + 8);
    recycled(&mut world, 0, 111);
    world.targets[0].pods[0].since_claim.as_mut().unwrap().ended = vec!["app".into()];
    stepped(&mut world, 111);
    assert!(
        look(&world, 112).takes().is_empty(),
        "an interval is awaited now"
    );
    assert!(look(&world, 130).takes().len() <= 7);
}

#[test]
fn a_method_that_ends_the_app_of_the_first_pod_is_used_on_no_other() {
    for method in GENTLE {
        let mut world = running(method, 8, FAILOVER);
        world.spec.targets[0].recycle.fallback = Some(dbbalance_api::spec::Fallback::Evict);
        stepped(&mut world, 111);
        recycled(&mut world, 0, 111);
        let pod = &mut world.targets[0].pods[0];
        pod.since_claim.as_mut().unwrap().ended = vec!["app".into()];
        let plan = look(&world, 130);
        assert_eq!(plan.gate(), Some(Gate::Halted));
        assert!(
            plan.why().contains("ended container app of pod web-0"),
            "{}",
            plan.why()
        );
        let world = record(world, 130);
        assert_eq!(run(&world).halted_reason, Some(HaltReason::AppEnded));
        assert_eq!(run(&world).retry_time, None, "that does not pass");
        assert!(look(&world, 4000).takes().is_empty());
    }
}

#[test]
fn an_app_that_ends_is_no_canary_that_has_come_back() {
    let mut world = running(Method::Signal, 8, FAILOVER);
    stepped(&mut world, 111);
    recycled(&mut world, 0, 111);
    let plan = look(&world, 130);
    assert!(matches!(plan.notices[..], [Notice::CanaryPassed(_)]));
    let pod = &mut world.targets[0].pods[0];
    pod.since_claim.as_mut().unwrap().ended = vec!["app".into()];
    let plan = look(&world, 130);
    assert!(matches!(plan.notices[..], [Notice::RunHalted(..)]));
    assert_eq!(plan.status.targets[0].method_verified, None);
}

#[test]
fn one_pod_that_ends_by_chance_does_not_halt_a_verified_method() {
    let mut world = verified(Method::Signal, 12, ADDED);
    recycled(&mut world, 0, 111);
    let pod = &mut world.targets[0].pods[0];
    pod.since_claim.as_mut().unwrap().ended = vec!["app".into()];
    pod.ready = false;
    assert_eq!(
        look(&world, 130).takes().len(),
        2,
        "it counts as unavailable"
    );
    world.targets[0].pods[0].ready = true;
    assert_eq!(look(&world, 130).takes().len(), 3, "until it is back");
    recycled(&mut world, 1, 111);
    let pod = &mut world.targets[0].pods[1];
    pod.since_claim.as_mut().unwrap().ended = vec!["app".into()];
    assert_eq!(look(&world, 130).gate(), Some(Gate::Halted), "two do");
}

#[test]
fn one_unhealthy_pod_of_three_stops_the_others_for_evictions_alone() {
    for method in [
        Method::Signal,
        Method::Http,
        Method::Annotate,
        Method::Evict,
    ] {
        let mut world = verified(method, 3, ADDED);
        world.targets[0].pods[2].ready = false;
        let plan = look(&world, 111);
        let takes = plan.takes();
        if method == Method::Evict {
            assert_eq!(takes, ["web-2"], "it serves nobody");
        } else {
            assert_eq!(takes, ["web-0"], "{method:?}");
        }
    }
}

#[test]
fn a_first_pod_that_does_not_answer_is_replaced_by_others_at_once() {
    let mut world = running(Method::Http, 12, FAILOVER);
    stepped(&mut world, 111);
    claimed(&mut world, 0, 1, 111);
    let plan = look(&world, 113);
    assert!(plan.takes().is_empty(), "its timeout is 5 s");
    assert_eq!(plan.wake, Some(at(118)), "and then it is looked at");
    assert_eq!(look(&world, 118).takes(), ["web-1", "web-10"]);
    claimed(&mut world, 1, 1, 118);
    claimed(&mut world, 10, 1, 118);
    stepped(&mut world, 118);
    assert!(look(&world, 120).takes().is_empty());
    assert_eq!(
        look(&world, 125).takes(),
        ["web-11", "web-2"],
        "one more than a third"
    );
    claimed(&mut world, 11, 1, 125);
    claimed(&mut world, 2, 1, 125);
    stepped(&mut world, 125);
    let plan = look(&world, 140);
    assert_eq!(plan.gate(), Some(Gate::Canary));
    assert!(
        plan.why().contains("5 pods were tried first"),
        "{}",
        plan.why()
    );
}

#[test]
fn a_first_pod_that_answers_with_a_failure_is_tried_again_before_any_other() {
    let mut world = running(Method::Http, 12, FAILOVER);
    stepped(&mut world, 111);
    claimed(&mut world, 0, 1, 111);
    let pod = &mut world.targets[0].pods[0];
    pod.since_claim.as_mut().unwrap().refused = true;
    for now in [113, 118, 130, 140] {
        assert!(look(&world, now).takes().is_empty(), "at {now}");
    }
    let plan = look(&world, 130);
    assert_eq!(plan.gate(), Some(Gate::Canary));
    assert!(plan.why().contains("once more"), "{}", plan.why());
    assert_eq!(look(&world, 147).takes(), ["web-0"]);
}

#[test]
fn pods_that_do_not_answer_hold_the_others_of_a_verified_method_no_longer_than_it_takes() {
    let mut world = verified(Method::Http, 12, FAILOVER);
    for index in 0..3 {
        claimed(&mut world, index, 1, 111);
    }
    stepped(&mut world, 111);
    assert!(look(&world, 116).takes().is_empty());
    assert_eq!(look(&world, 130).takes().len(), 3);
}

#[test]
fn failures_on_pods_that_are_not_ready_halt_nothing() {
    let mut world = verified(Method::Signal, 12, FAILOVER);
    for index in 0..4 {
        claimed(&mut world, index, 3, 111);
        world.targets[0].pods[index].ready = false;
    }
    let plan = look(&world, 130);
    assert_eq!(plan.takes().len(), 3, "{:?}", plan.targets[0].held);
    for pod in &mut world.targets[0].pods[..2] {
        pod.ready = true;
    }
    assert_eq!(
        look(&world, 130).takes().len(),
        3,
        "others are not tried yet"
    );
    for index in 4..12 {
        recycled(&mut world, index, 120);
    }
    assert_eq!(
        look(&world, 130).gate(),
        Some(Gate::Halted),
        "two that serve do"
    );
}

#[test]
fn the_first_pod_is_watched_for_as_long_as_a_kubelet_needs_whatever_the_interval() {
    let mut world = running(Method::Signal, 8, FAILOVER);
    world.spec.pacing.interval_seconds = 1;
    world.spec.pacing.jitter_percent = 0;
    stepped(&mut world, 111);
    recycled(&mut world, 0, 111);
    let plan = look(&world, 114);
    assert!(plan.takes().is_empty() && plan.notices.is_empty());
    assert!(!look(&world, 117).notices.is_empty(), "it has passed");
}

#[test]
fn a_failover_that_has_halted_is_tried_again_with_growing_pauses() {
    let mut world = verified(Method::Signal, 12, FAILOVER);
    for index in 0..2 {
        claimed(&mut world, index, 3, 111);
    }
    for index in 2..12 {
        recycled(&mut world, index, 112);
    }
    let world = record(world, 130);
    assert_eq!(run(&world).retry_time, Some(Time(at(190))));
    let plan = look(&world, 131);
    assert_eq!(plan.gate(), Some(Gate::Halted));
    assert!(
        plan.why().contains("tried again by itself"),
        "{}",
        plan.why()
    );
    assert_eq!(plan.wake, Some(at(190)));
    let mut world = record(world, 190);
    assert_eq!(
        (run(&world).result, run(&world).retries),
        (RunResult::Running, 1)
    );
    for index in 0..2 {
        claimed(&mut world, index, 3, 195);
    }
    let world = record(world, 200);
    assert_eq!(run(&world).retry_time, Some(Time(at(320))), "two minutes");
}

#[test]
fn a_run_for_readers_that_has_halted_stays_so_until_the_failed_pods_are_gone() {
    let mut world = verified(Method::Signal, 12, ADDED);
    for index in 0..2 {
        claimed(&mut world, index, 3, 111);
    }
    let mut world = record(world, 130);
    assert_eq!(run(&world).retry_time, None);
    assert_eq!(look(&world, 4000).gate(), Some(Gate::Halted));
    for index in 0..2 {
        world.targets[0].pods[index] = pod(&format!("web-new-{index}"), 3990);
    }
    let world = record(world, 4000);
    assert_eq!(run(&world).result, RunResult::Running);
    assert!(!look(&world, 4001).takes().is_empty());
}

#[test]
fn a_halt_that_cannot_pass_is_not_tried_again() {
    let mut world = verified(Method::Rollout, 4, FAILOVER);
    world.status.targets[0].reverted_epoch = Some(2);
    verify(&mut world);
    let world = record(world, 130);
    assert_eq!(run(&world).halted_reason, Some(HaltReason::StampReverted));
    assert_eq!(run(&world).retry_time, None);
}

#[test]
fn a_signal_that_ends_the_app_of_pods_that_are_not_ready_stops_at_the_first_of_them() {
    // Probes ask the database, so a failover makes all pods not Ready; and the app dies of the signal that it catches.
    let mut world = running(Method::Signal, 60, Trigger::Failover);
    for pod in &mut world.targets[0].pods {
        pod.ready = false;
    }
    world.status.targets[0].run.as_mut().unwrap().ready = 0;
    let mut ended = 0;
    for second in 111..125 {
        let plan = look(&world, second);
        let taken: Vec<String> = plan.takes().into_iter().map(str::to_owned).collect();
        world.status = plan.status;
        if !taken.is_empty() {
            let run = world.status.targets[0].run.as_mut().unwrap();
            run.last_step_time = Some(Time(at(second)));
        }
        for pod in &mut world.targets[0].pods {
            if taken.contains(&pod.name) {
                let mut since = since_claim(&claim(2, 1, second), false);
                since.ended = vec!["app".to_owned()];
                pod.since_claim = Some(since);
                pod.stamp = Some(stamp(2));
                pod.restarts += 1;
                ended += 1;
            }
        }
    }
    assert_eq!(ended, 1, "none of 60 has shown that the method works");
    assert_eq!(run(&world).halted_reason, Some(HaltReason::AppEnded));
}

#[test]
fn an_app_that_has_ended_and_waits_for_its_restart_is_seen_as_well() {
    let mut world = all_not_ready(running(Method::Signal, 12, FAILOVER));
    stepped(&mut world, 111);
    recycled(&mut world, 0, 111);
    let pod = &mut world.targets[0].pods[0];
    pod.since_claim.as_mut().unwrap().ended = vec!["app".into()];
    pod.started = None;
    let world = record(world, 113);
    assert_eq!(run(&world).halted_reason, Some(HaltReason::AppEnded));
}

#[test]
fn pods_that_are_not_ready_follow_the_first_of_them_when_it_has_run_on() {
    let mut world = all_not_ready(running(Method::Signal, 30, FAILOVER));
    assert_eq!(look(&world, 111).takes(), ["web-0"]);
    stepped(&mut world, 111);
    claimed(&mut world, 0, 1, 111);
    assert!(look(&world, 112).takes().is_empty(), "it has not answered");
    world.targets[0].pods[0].claim = None;
    recycled(&mut world, 0, 111);
    let plan = look(&world, 113);
    assert!(plan.takes().is_empty(), "a kubelet reports an end late");
    assert_eq!(plan.wake, Some(at(116)), "{}", plan.why());
    assert_eq!(look(&world, 116).takes().len(), 10);
}

#[test]
fn pods_that_are_not_ready_do_not_wait_for_one_that_does_not_answer() {
    let mut world = all_not_ready(running(Method::Http, 30, FAILOVER));
    stepped(&mut world, 111);
    claimed(&mut world, 0, 1, 111);
    assert!(look(&world, 116).takes().is_empty());
    assert_eq!(look(&world, 118).takes().len(), 2, "one more each time");
    let since = world.targets[0].pods[0].since_claim.as_mut().unwrap();
    since.refused = true;
    assert_eq!(
        look(&world, 116).takes().len(),
        2,
        "nor for one that refuses"
    );
}

#[test]
fn apps_that_end_by_the_failover_itself_are_not_laid_to_the_method() {
    let mut world = all_not_ready(verified(Method::Signal, 12, FAILOVER));
    for index in 0..6 {
        recycled(&mut world, index, 111);
        let pod = &mut world.targets[0].pods[index];
        pod.since_claim.as_mut().unwrap().ended = vec!["app".into()];
    }
    for pod in &mut world.targets[0].pods[6..] {
        pod.restarts = 1;
        pod.last_started = Some(at(95));
    }
    let world = record(world, 113);
    assert_eq!(run(&world).result, RunResult::Running);
}

#[test]
fn a_pod_whose_readiness_flaps_does_not_resume_a_halted_run_without_end() {
    let mut world = running(Method::Http, 6, Trigger::ReaderAdded);
    let mut attempts = 0;
    let mut now = 111;
    for _ in 0..40 {
        // The hook answers 500, twice on the first pod: the run halts.
        let plan = look(&world, now);
        let taken: Vec<String> = plan.takes().into_iter().map(str::to_owned).collect();
        attempts += taken.len();
        world.status = plan.status;
        if !taken.is_empty() {
            let run = world.status.targets[0].run.as_mut().unwrap();
            run.last_step_time = Some(Time(at(now)));
        }
        for pod in &mut world.targets[0].pods {
            if taken.contains(&pod.name) {
                pod.since_claim = Some(since_claim(&claim(2, 1, now), true));
                pod.claim = Some(claim(2, 3, now));
            }
        }
        now += 20;
        world = record(world, now);
        // Its readiness flaps, for a reason of its own.
        for pod in &mut world.targets[0].pods {
            pod.ready = pod.claim.is_none();
        }
        now += 20;
        world = record(world, now);
        for pod in &mut world.targets[0].pods {
            pod.ready = true;
        }
        now += 20;
    }
    assert_eq!(attempts, 1, "the pod that failed is still there");
}

#[test]
fn failed_pods_that_are_replaced_one_after_the_other_resume_a_run_with_growing_pauses() {
    let mut world = verified(Method::Signal, 12, ADDED);
    let mut resumed = Vec::new();
    for second in (130..40_000).step_by(10) {
        let running = run(&world).result == RunResult::Running;
        if running {
            for index in 0..2 {
                let pod = &mut world.targets[0].pods[index];
                pod.uid = format!("uid-{index}-{second}");
                pod.claim = Some(claim(2, 3, second));
            }
        } else {
            for pod in &mut world.targets[0].pods[..2] {
                pod.claim = None;
            }
        }
        world = record(world, second);
        if !running && run(&world).result == RunResult::Running {
            resumed.push(second);
        }
    }
    assert_eq!(resumed.len(), 8, "{resumed:?}");
    let pauses = resumed.windows(2).map(|w| w[1] - w[0]);
    let pauses: Vec<i64> = pauses.collect();
    assert!(pauses.is_sorted() && pauses[6] > 1800, "{pauses:?}");
}

#[test]
fn a_crash_hours_after_a_recycle_is_not_laid_to_it() {
    let mut world = verified(Method::Signal, 12, Trigger::ReaderAdded);
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(Time(at(111)));
    for index in [0, 1] {
        let pod = &mut world.targets[0].pods[index];
        pod.since_claim = Some(since_claim(&claim(2, 1, 111), true));
        pod.stamp = Some(stamp(2));
    }
    // Then a window holds the run for the day, and two pods run out of memory in the afternoon.
    world.spec.windows = serde_json::from_value(json!([{
        "name": "day", "type": "Deny", "schedule": "* * * * *", "durationSeconds": 3600,
    }]))
    .unwrap();
    let world = record(world, 120);
    let mut world = record(world, 20_000);
    for index in [0, 1] {
        let pod = &mut world.targets[0].pods[index];
        let since = pod.since_claim.as_mut().unwrap();
        since.ended = vec!["app".to_owned()];
    }
    let plan = look(&world, 25_000);
    assert_eq!(plan.gate(), Some(Gate::Window), "{}", plan.why());
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Running, "{:?}", run.halted_reason);
    assert_ne!(run.halted_reason, Some(HaltReason::AppEnded));
    // An end soon after the recycle is blamed on it, however late it is seen.
    for pod in &mut world.targets[0].pods[..2] {
        pod.since_claim.as_mut().unwrap().ended_at = Some(at(150));
    }
    let plan = look(&world, 25_000);
    let run = plan.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.halted_reason, Some(HaltReason::AppEnded));
}
