//! Stories: whole sequences of changes, faults and edits, played through the model.

use std::time::Instant;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::worlds::config;
use crate::testing::model::{Crash, Model};
use crate::testing::random::Tape;
use crate::testing::recorder::PlanRecorder;
use crate::testing::{baseline, look, quiet, target, unseen, view};
use crate::world::{TopologyError, TopologyState, World};
use crate::{Gate, Plan};
use dbbalance_api::spec::{DnsSpec, Fallback, Method, OnTimeout};
use dbbalance_api::status::RunResult;

const METHODS: [Method; 5] = [
    Method::Signal,
    Method::Evict,
    Method::Http,
    Method::Annotate,
    Method::Rollout,
];
const TOPOLOGIES: [&str; 5] = ["abc", "abcd", "bac", "ab", "acde"];
const CRASHES: [Crash; 5] = [
    Crash::BeforeClaim,
    Crash::BeforeEffect,
    Crash::BeforeStamp,
    Crash::BeforeStatus,
    Crash::BeforeEvent,
];
/// Longer than flapping, cool-down, hourly limit and the progress deadline together.
const LONG: i64 = 4 * 3600;

pub(super) fn start(tape: &mut Tape) -> World {
    let targets = (0..=tape.below(2))
        .map(|n| {
            let mut spec = target(&format!("t{n}"), tape.of(&METHODS));
            if matches!(spec.recycle.method, Method::Signal | Method::Http) && tape.rare(3) {
                spec.recycle.fallback = Some(Fallback::Evict);
            }
            spec
        })
        .collect();
    let mut world = unseen(targets, tape.of(&[4, 8, 2, 11]));
    world.spec.pacing.max_unavailable =
        tape.of(&[IntOrString::String("25%".into()), IntOrString::Int(3)]);
    if tape.rare(4) {
        world.spec.limits.cooldown_seconds = 0;
    }
    if tape.rare(2) {
        world.spec.dns = DnsSpec::default();
        world.spec.dns.on_timeout = tape.of(&[OnTimeout::Hold, OnTimeout::Proceed]);
    }
    baseline(world)
}

/// One thing that happens.
pub(super) fn happen(tape: &mut Tape, model: &mut Model) {
    let index = tape.below(model.world.targets.len());
    let what = tape.below(30);
    model.tell(|_| format!("happens {what} to {index}"));
    match what {
        0 => {}
        1 | 2 => model.world.topology = TopologyState::Current(view(tape.of(&TOPOLOGIES))),
        3 => model.world.policy.token = Some(format!("token-{}", tape.below(4))),
        4 => {
            if let Some(workload) = model.world.targets[index].workload.as_mut() {
                workload.wanted = tape.of(&[4, 2, 6, 9]);
                workload.generation += 1;
            }
        }
        5 => model.kube.deploy(index, &mut model.world.targets[index]),
        6 | 7 => model.crash = Some(tape.of(&CRASHES)),
        8 => model.lost_race = true,
        9 | 10 => {
            let now = model.now;
            let pods = &mut model.world.targets[index].pods;
            let n = tape.below(pods.len().max(1));
            let lasts = tape.of(&[20, 3, 600]);
            let restarts = tape.rare(2);
            if let Some(pod) = pods
                .get_mut(n)
                .filter(|p| !p.terminating && p.started.is_some())
            {
                if restarts {
                    model.kube.restart(pod, now);
                } else {
                    model.kube.sicken(pod, now, lasts);
                }
            }
        }
        11 => model.failing = u64::try_from(tape.of(&[0, 3, 1, 5])).unwrap(),
        12 => model.blocked = !model.blocked,
        13 => edit(tape, model),
        14 => model.world.spec.suspend = !model.world.spec.suspend,
        15 => {
            let last = model.world.topology.current().cloned();
            if let Some(last) = last {
                model.world.topology = TopologyState::Failing {
                    error: TopologyError {
                        reason: "Throttled",
                        message: "throttled".into(),
                    },
                    last: Some(last),
                };
            }
        }
        16 => model.restart(),
        17 => model.kube.heals = !model.kube.heals,
        18 if tape.rare(4) => {
            model.world.status = dbbalance_api::status::DbBalancePolicyStatus::default();
            model.restart();
        }
        19..=24 => stand(tape, model, index, what),
        25 => model.dns = model.dns.is_some().then(|| tape.of(&TOPOLOGIES).into()),
        26 if tape.rare(2) => model.dns = model.dns.is_some().then(|| "-".into()),
        26 => follow(model),
        _ => model.wait(tape.of(&[10, 30, 100, 400])),
    }
}

/// What stands around the pods changes.
fn stand(tape: &mut Tape, model: &mut Model, index: usize, what: usize) {
    let world = &mut model.world;
    let found = &mut world.targets[index];
    match what {
        19 => match model.gone[index].take() {
            Some(workload) => found.workload = Some(workload),
            None => model.gone[index] = found.workload.take(),
        },
        20 => {
            let n = tape.below(found.pods.len().max(1));
            if let Some(pod) = found.pods.get_mut(n) {
                pod.ignored = !pod.ignored;
            }
        }
        21 => {
            found.owned_by = match found.owned_by {
                Some(_) => None,
                None => Some("older".into()),
            }
        }
        22 => world.spec.budget.max_connections = tape.of(&[None, Some(60), Some(110), Some(200)]),
        23 => world.peers.running = tape.of(&[0, 3]),
        _ => {
            world.policy.generation = world.policy.generation.map(|g| g + 1);
            world.spec.targets[index].recycle = target("x", tape.of(&METHODS)).recycle;
        }
    }
}

fn edit(tape: &mut Tape, model: &mut Model) {
    let world = &mut model.world;
    world.policy.generation = world.policy.generation.map(|g| g + 1);
    world.spec.pacing.interval_seconds = tape.of(&[10, 1, 60]);
    world.spec.pacing.max_unavailable = tape.of(&[IntOrString::Int(1), IntOrString::Int(2)]);
}

/// DNS follows the topology.
fn follow(model: &mut Model) {
    if let (Some(dns), Some(view)) = (&mut model.dns, model.world.topology.current()) {
        let letters = view.topology.members().map(|(m, _)| m.instance.0.as_str());
        *dns = letters.collect();
    }
}

/// All faults stop.
fn calm(model: &mut Model) {
    model.crash = None;
    model.lost_race = false;
    model.failing = 0;
    model.blocked = false;
    model.kube.heals = true;
    model.world.spec.suspend = false;
    model.world.peers.running = 0;
    model.world.spec.budget.max_connections = None;
    for (found, gone) in model.world.targets.iter_mut().zip(&mut model.gone) {
        found.owned_by = None;
        found.workload = found.workload.take().or(gone.take());
    }
    if model.world.topology.current().is_none() {
        model.world.topology = TopologyState::Current(view("abc"));
    }
    follow(model);
}

/// Whether a target has come to its end: fresh, or halted with a reason.
fn ended(world: &World, plan: &Plan, index: usize) -> bool {
    let status = &world.status.targets[index];
    let halted = status
        .run
        .as_ref()
        .is_some_and(|r| r.result == RunResult::Halted && r.message.is_some());
    world.status.pending_epoch.is_none() && (status.stale == 0 || halted || is_refused(plan, index))
}

fn play(bytes: &[u8]) {
    play_from(bytes, SignedDuration::ZERO, None);
}

/// Plays a story whose clock runs `late` after whole seconds. Returns the model at its end.
pub(super) fn play_from(
    bytes: &[u8],
    late: SignedDuration,
    recorder: Option<PlanRecorder>,
) -> Model {
    let tape = &mut Tape::new(bytes);
    let mut model = Model::new(start(tape), 10);
    model.now += late;
    model.recorder = recorder;
    // With Proceed and 0 nobody would see it.
    model.dns = (model.world.spec.dns.timeout_seconds > 0).then(|| "abc".into());
    model.told = std::env::var("STORY").is_ok();
    for _ in 0..bytes.len() / 4 {
        happen(tape, &mut model);
        model.pass();
        model.wait(1);
        model.pass();
        model.wait(i64::try_from(tape.below(4)).unwrap());
    }
    calm(&mut model);
    model.wait(1);
    let plan = model.settle(LONG);
    let told = |model: &Model, plan: &Plan, index: usize| {
        format!(
            "{:?} {:?}",
            plan.targets[index], model.world.status.targets[index]
        )
    };
    for index in 0..plan.targets.len() {
        let told = told(&model, &plan, index);
        assert!(
            ended(&model.world, &plan, index),
            "neither fresh nor halted: {told}"
        );
    }
    // With all faults gone, an edit lets every halted run reach its end.
    model.world.policy.generation = model.world.policy.generation.map(|g| g + 1);
    let plan = model.settle(LONG);
    for index in 0..plan.targets.len() {
        let told = told(&model, &plan, index);
        let stale = model.world.status.targets[index].stale;
        assert!(stale == 0 || is_refused(&plan, index), "not fresh: {told}");
    }
    model
}

fn is_refused(plan: &Plan, index: usize) -> bool {
    let held = plan.targets[index].held.as_ref();
    held.is_some_and(|h| h.gate == Gate::Refused)
}

#[test]
fn whatever_befalls_them_pods_are_recycled_at_most_once_an_epoch_and_all_ends_fresh_or_halted() {
    let began = Instant::now();
    let config = config(2_000);
    let cases = config.cases;
    TestRunner::new(config)
        .run(&prop::collection::vec(any::<u8>(), 0..120), |bytes| {
            std::panic::catch_unwind(|| play(&bytes)).map_err(|cause| {
                let text = cause.downcast_ref::<String>().cloned();
                TestCaseError::fail(text.unwrap_or_else(|| "a rule is broken".into()))
            })
        })
        .unwrap();
    println!("{cases} stories in {:?}", began.elapsed());
}

/// Prints a story, for finding out why it failed: `STORY=1,2,3 cargo test a_story -- --nocapture`.
#[test]
fn a_story_can_be_looked_at() {
    if let Ok(tape) = std::env::var("STORY") {
        let bytes: Vec<u8> = tape.split(',').map(|b| b.trim().parse().unwrap()).collect();
        play(&bytes);
    }
}

#[test]
fn a_restart_of_the_operator_recycles_nothing_by_itself() {
    for method in METHODS {
        let mut model = Model::new(quiet(method, 4), 10);
        for crash in CRASHES {
            model.crash = Some(crash);
            model.pass();
            model.restart();
            model.wait(60);
            model.pass();
        }
        assert!(model.effects.is_empty());
        assert_eq!(model.world.status.epoch, Some(1));
    }
}

#[test]
fn readers_that_come_and_go_within_the_settle_time_do_nothing() {
    let mut model = Model::new(quiet(Method::Evict, 4), 10);
    for _ in 0..20 {
        for names in ["abcd", "abc", "ab", "abc"] {
            model.world.topology = TopologyState::Current(view(names));
            model.pass();
            model.wait(14);
            model.pass();
            model.wait(14);
        }
    }
    assert!(model.effects.is_empty());
    assert_eq!(model.world.status.epoch, Some(1));
}

#[test]
fn every_method_brings_every_pod_to_a_new_epoch_once_and_then_rests() {
    for method in METHODS {
        let mut model = Model::new(quiet(method, 8), 10);
        model.world.topology = TopologyState::Current(view("abcd"));
        model.settle(LONG);
        let target = &model.world.status.targets[0];
        assert_eq!((target.due_epoch, target.stale), (2, 0), "{method:?}");
        assert_eq!(target.run.as_ref().unwrap().result, RunResult::Succeeded);
        let times: usize = model.effects.values().sum();
        assert_eq!(times, if method == Method::Rollout { 0 } else { 8 });
        let rest = look(&model.world, 100_000);
        assert_eq!(
            rest.status, model.world.status,
            "an idle policy is not written"
        );
        assert_eq!(rest.wake, None);
    }
}
