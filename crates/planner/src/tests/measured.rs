//! Measured stories: pools, DNS, readings and faults played around the plan of a target that has evidence. The
//! rules are held at each effect, by `testing::pools`.

use std::time::Instant;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::worlds::config;
use crate::Gate;
use crate::testing::model::Crash;
use crate::testing::pools::Pools;
use crate::testing::random::Tape;
use crate::testing::recorder::PlanRecorder;
use dbbalance_api::spec::{DnsSpec, Method, OnTimeout};
use dbbalance_api::status::{BalanceState, RunResult};

const METHODS: [Method; 4] = [
    Method::Signal,
    Method::Evict,
    Method::Http,
    Method::Annotate,
];
const TOPOLOGIES: [&str; 6] = ["abc", "abcd", "bac", "ab", "acd", "cab"];
const CRASHES: [Crash; 5] = [
    Crash::BeforeClaim,
    Crash::BeforeEffect,
    Crash::BeforeStamp,
    Crash::BeforeStatus,
    Crash::BeforeEvent,
];
/// Longer than cool-down, an episode and a rest after one that failed together.
const LONG: i64 = 4000;

pub(super) fn start(tape: &mut Tape) -> Pools {
    let method = tape.of(&METHODS);
    let pods = tape.of(&[4, 8, 2, 12, 1]);
    let mut model = Pools::new(method, pods, tape.rare(3));
    let spec = &mut model.world.spec;
    spec.pacing.max_unavailable =
        tape.of(&[IntOrString::String("25%".into()), IntOrString::Int(3)]);
    if tape.rare(3) {
        spec.limits.cooldown_seconds = 0;
    }
    if tape.rare(2) {
        spec.dns = DnsSpec::default();
        spec.dns.on_timeout = tape.of(&[OnTimeout::Hold, OnTimeout::Proceed]);
    }
    model
}

/// One thing that happens.
pub(super) fn happen(tape: &mut Tape, model: &mut Pools) {
    let what = tape.below(20);
    if model.told {
        println!("happens {what}");
    }
    match what {
        0 => {}
        1 | 2 => model.topology(tape.of(&TOPOLOGIES)),
        3 => {
            let letters: &str = tape.of(&TOPOLOGIES);
            model.topology(letters);
            model.dns = letters.into();
        }
        4 => model.dns = tape.of(&TOPOLOGIES).into(),
        5 => model.flicker = tape.of(&[Some('b'), None, Some('a')]),
        6 | 7 => model.crash = Some(tape.of(&CRASHES)),
        8 => model.restart(),
        9 | 10 => {
            let pods: Vec<String> = model.pods().iter().map(|p| p.uid.clone()).collect();
            if let Some(uid) = pods.get(tape.below(pods.len().max(1)))
                && !model.unread.remove(uid)
            {
                model.unread.insert(uid.clone());
            }
        }
        11 => model.lag = tape.of(&[0, 2, 4]),
        12 => model.kube.deploy(0, &mut model.world.targets[0]),
        13 => model.deaf = tape.of(&[0, 1, 2]),
        14 => model.world.policy.token = Some(format!("token-{}", tape.below(3))),
        15 => {
            if let Some(workload) = model.world.targets[0].workload.as_mut() {
                workload.wanted = tape.of(&[4, 8, 2, 6]);
                workload.generation += 1;
            }
        }
        16 => model.world.spec.budget.max_connections = tape.of(&[None, Some(60), Some(90)]),
        17 => model.kube.heals = !model.kube.heals,
        _ => {
            model.settle(tape.of(&[10, 30, 100, 400]));
        }
    }
}

fn play(bytes: &[u8]) {
    play_from(bytes, SignedDuration::ZERO, None);
}

/// Plays a story whose clock runs `late` after whole seconds. Returns the model at its end.
pub(super) fn play_from(
    bytes: &[u8],
    late: SignedDuration,
    recorder: Option<PlanRecorder>,
) -> Pools {
    let tape = &mut Tape::new(bytes);
    let mut model = start(tape);
    model.now += late;
    model.recorder = recorder;
    for _ in 0..bytes.len() / 4 {
        happen(tape, &mut model);
        model.pass();
        model.wait(1);
        model.pass();
        model.wait(i64::try_from(tape.below(4)).unwrap());
    }
    model.calm();
    let mut plan = model.settle(LONG);
    // A halted run is tried again for some hours after a failover.
    for _ in 0..10 {
        let run = model.world.status.targets[0].run.as_ref();
        let retries = run.is_some_and(|r| {
            r.retry_time.is_some() || (r.retries > 0 && r.result == RunResult::Running)
        });
        if !retries {
            break;
        }
        plan = model.settle(LONG);
    }
    if plan.gate() == Some(Gate::Refused) {
        return model;
    }
    let rests = |model: &Pools| {
        let target = &model.world.status.targets[0];
        let run = target.run.as_ref();
        let running = run.is_some_and(|r| r.result == RunResult::Running);
        let halted = run.is_some_and(|r| r.result == RunResult::Halted && r.message.is_some());
        let words = format!(
            "{:?} {:?} {:?}",
            run, model.world.status.balance, model.world.status.plan
        );
        assert!(!running, "a run goes on for ever: {words}");
        assert!(target.stale == 0 || halted, "stale for ever: {words}");
        assert!(model.world.status.pending_epoch.is_none(), "{words}");
    };
    rests(&model);
    // What is even stays as it is, over a restart too.
    let balance = &model.world.status.balance[0];
    if balance.state != BalanceState::Balanced {
        return model;
    }
    let (status, effects) = (model.world.status.clone(), model.effects.clone());
    model.restart();
    model.settle(600);
    assert_eq!(model.effects, effects, "a restart recycles by itself");
    let run = |s: &dbbalance_api::status::DbBalancePolicyStatus| s.targets[0].run.clone();
    assert_eq!(run(&model.world.status), run(&status));
    let before = model.world.status.clone();
    model.settle(600);
    assert_eq!(model.world.status, before, "an idle policy is written");
    model
}

#[test]
fn whatever_befalls_measured_pods_only_misplaced_ones_move_within_bounds_and_all_comes_to_rest() {
    let began = Instant::now();
    let config = Config {
        // A story is long: what a shorter one would tell is not worth many of them.
        max_shrink_iters: 30,
        ..config(40)
    };
    let cases = config.cases;
    TestRunner::new(config)
        .run(&prop::collection::vec(any::<u8>(), 0..100), |bytes| {
            std::panic::catch_unwind(|| play(&bytes)).map_err(|cause| {
                let text = cause.downcast_ref::<String>().cloned();
                TestCaseError::fail(text.unwrap_or_else(|| "a rule is broken".into()))
            })
        })
        .unwrap();
    println!("{cases} measured stories in {:?}", began.elapsed());
}

/// Prints a story, for finding out why it failed: `STORY=1,2,3 cargo test a_measured_story -- --nocapture`.
#[test]
fn a_measured_story_can_be_looked_at() {
    if let Ok(tape) = std::env::var("STORY") {
        let bytes: Vec<u8> = tape.split(',').map(|b| b.trim().parse().unwrap()).collect();
        play(&bytes);
    }
}

#[test]
fn a_restart_recycles_nothing_of_measured_pods_by_itself() {
    for method in METHODS {
        for both in [false, true] {
            let mut model = Pools::new(method, 8, both);
            for crash in CRASHES {
                model.crash = Some(crash);
                model.pass();
                model.restart();
                model.settle(120);
            }
            assert!(model.effects.is_empty(), "{method:?}");
            assert_eq!(model.world.status.epoch, Some(1));
        }
    }
}

#[test]
fn a_new_reader_gets_its_share_by_moving_some_pods_and_a_failover_by_moving_the_broken() {
    for method in [Method::Signal, Method::Evict] {
        let mut model = Pools::new(method, 12, true);
        model.topology("abcd");
        model.dns = "abcd".into();
        model.settle(1200);
        let balance = &model.world.status.balance[0];
        assert_eq!(
            balance.state,
            BalanceState::Balanced,
            "{method:?} {balance:?}"
        );
        let moved = model.effects.len();
        assert!(
            (1..12).contains(&moved),
            "{method:?} moved {moved} of 12 pods"
        );
        model.topology("bacd");
        model.dns = "bacd".into();
        model.settle(1800);
        let balance = &model.world.status.balance[0];
        assert_eq!(balance.misplaced.wrong_role, 0, "{method:?} {balance:?}");
        assert_eq!(model.world.status.targets[0].stale, 0);
    }
}

#[test]
fn an_only_pod_that_may_not_be_evicted_is_refused_and_not_read_again_and_again() {
    let mut model = Pools::new(Method::Evict, 1, true);
    model.topology("bac");
    model.dns = "bac".into();
    let plan = model.settle(300);
    assert_eq!(plan.gate(), Some(Gate::Refused), "{}", plan.why());
    assert!(plan.targets[0].max_reading_age.is_none());
    assert!(model.effects.is_empty());
}
