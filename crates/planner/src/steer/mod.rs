//! Steering: where connections are measured, they decide which pods go, and stamps only record.
//!
//! Brings a target's world before `domain::balance`, whose rule decides, and takes its decision through the
//! gates, the canary, the budget and the claims to a step. It has no rule of its own on who is misplaced.

mod canary;
mod inputs;
mod judge;
mod show;
mod step;

use jiff::{SignedDuration, Timestamp};

use super::gate::{Gate, Held};
use super::life::{begin, finish_as, touch};
use super::pods::Scene;
use super::runs::{Entry, Pass, enter, urgent_stale};
use super::watch::halt_failed;
use super::{Notice, Plan, TargetPlan};
use canary::Canary;
use dbbalance_api::spec::Method;
use dbbalance_api::status::{RunResult, Trigger};
use dbbalance_core::balance::{Decision, Wait};
use dbbalance_core::budget::Load;
use dbbalance_core::workload::WorkloadFacts;
pub(super) use judge::{Judgement, Known, judge};
pub(super) use show::balance_status;

/// If evidence is not whole so long after a failover has opened, stamps decide (docs/adr/0013): its pods are
/// broken now.
const BLIND_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How soon a run that waits for DNS, a reading or a pod looks again: each of these takes about a second.
const TICK: SignedDuration = SignedDuration::from_millis(500);
/// How old a reading may be for who waits for one: twenty pods take a second or more to read.
const NEW: SignedDuration = SignedDuration::from_secs(3);
/// And for who waits for DNS or for pods to come back, to act as soon as they do: the balance wants another
/// at 10 s, and a round of reads takes its time.
const KEPT: SignedDuration = SignedDuration::from_secs(6);

/// Whether stamps decide although connections are measured.
pub(super) fn is_by_stamps(scene: &Scene, judgement: &Judgement, now: Timestamp) -> bool {
    if scene.stale.is_empty() {
        return false;
    }
    let target = &scene.target;
    let waited = |from: Timestamp| now.duration_since(from) >= BLIND_AFTER;
    let blind = judgement.known.is_none()
        && urgent_stale(scene, now)
        && target
            .urgent_open_time
            .as_ref()
            .is_some_and(|t| waited(t.0));
    // A token recycles every pod; a rollout moves them all at once.
    blind
        || target.triggers.contains(&Trigger::Manual)
        || scene.spec.recycle.method == Method::Rollout
}

/// Moves a measured target on.
pub(super) fn advance(
    pass: &Pass,
    plan: &mut Plan,
    scene: &mut Scene,
    judgement: &Judgement,
    standing: Result<(), Held>,
    part: &mut TargetPlan,
) -> Load {
    remember_template(scene, pass.now);
    let wants = judgement.wants(pass.world);
    let Some(known) = &judgement.known else {
        let message = judgement.message.clone();
        let memory = scene.target.balance.as_ref();
        let begun = scene.running().is_some() || memory.is_some_and(|m| m.episode.is_some());
        if begun || !scene.stale.is_empty() {
            part.measure = Some(NEW);
            part.action = show::action(scene, None);
            part.held = Some(standing.err().unwrap_or(Held::new(Gate::Evidence, message)));
            plan.wake_at(later(pass.now));
        } else {
            part.held = standing.err();
        }
        return Load::default();
    };
    if !wants {
        scene.target.balance = Some(known.decision.memory.clone());
        rest(pass, plan, scene, judgement, known, standing, part);
        return Load::default();
    }
    part.action = show::action(scene, Some(&known.decision));
    let outcome = standing.and_then(|()| go(pass, plan, scene, judgement, known));
    let adds = settle(pass, plan, scene, outcome, part);
    if part.running {
        part.closely = known.changing();
        if let Some(super::Step::Pods { pods, .. }) = &part.step {
            part.closely.extend(pods.iter().map(|p| p.uid.clone()));
        }
    }
    adds
}

/// What comes of the gates.
enum Go {
    /// A decision that must be recorded before anything is done.
    Recorded,
    /// Pods go.
    Step(super::Step, Load, Decision),
    /// Nothing now, for a reason of the balance.
    Wait(Held, Decision),
}

fn go(
    pass: &Pass,
    plan: &mut Plan,
    scene: &mut Scene,
    judgement: &Judgement,
    known: &Known,
) -> Result<Go, Held> {
    let (world, now) = (pass.world, pass.now);
    let urgent = judgement.is_urgent(scene);
    let (triggers, words) = show::cause(scene, judgement);
    let only_urgent = match enter(pass, plan, scene, urgent)? {
        Entry::Recorded => return Ok(Go::Recorded),
        Entry::Begin => {
            begin(scene, plan, &triggers, &words, now);
            return Ok(Go::Recorded);
        }
        Entry::Go { only_urgent } => only_urgent,
    };
    let Some(method) = inputs::method(scene) else {
        return Err(Held::new(
            Gate::Refused,
            "connections are uneven, and method Rollout moves no single pod: set recycle.fallback: Evict",
        ));
    };
    let stands = canary::stand(scene, &scene.world.evidence, method, now);
    if stands == Canary::Passed {
        scene.target.method_verified = Some(scene.verify_key());
        touch(scene, now);
        plan.notices.push(Notice::CanaryPassed(format!(
            "target {}: {} works, the first pod's connections are new; the rest follows",
            scene.spec.name,
            method.as_str()
        )));
        return Ok(Go::Recorded);
    }
    let free = step::free(pass, scene, known, method);
    let decision = known.decide(free, now);
    if let Canary::Waits(message) = stands {
        return Ok(Go::Wait(
            Held::new(Gate::Canary, message),
            known.decision.clone(),
        ));
    }
    let Some((step, adds)) = step::next(pass, scene, &decision, method, only_urgent)? else {
        let held = show::waiting(world, decision.wait.as_ref());
        return Ok(Go::Wait(held, decision));
    };
    Ok(Go::Step(step, adds, decision))
}

/// Records what came of it, and says when to look again.
fn settle(
    pass: &Pass,
    plan: &mut Plan,
    scene: &mut Scene,
    outcome: Result<Go, Held>,
    part: &mut TargetPlan,
) -> Load {
    let now = pass.now;
    let mut adds = Load::default();
    match outcome {
        Ok(Go::Recorded) => {
            part.running = true;
            part.measure = Some(NEW);
            part.look = true;
            plan.wake_at(now);
        }
        Ok(Go::Step(step, load, decision)) => {
            scene.target.balance = Some(decision.memory);
            touch(scene, now);
            adds = load;
            part.running = true;
            part.step = Some(step);
            part.measure = Some(NEW);
            part.look = true;
            plan.wake_at(later(now));
        }
        Ok(Go::Wait(held, decision)) => {
            part.running = true;
            part.measure = Some(if decision.measure { NEW } else { KEPT });
            part.look = true;
            scene.target.balance = Some(decision.memory);
            plan.wake_at(later(now));
            part.held = Some(held);
        }
        Err(held) => {
            part.running = scene.running().is_some() && held.gate.is_pace();
            let soon = held
                .until
                .unwrap_or_else(|| super::gates::after(now, super::runs::RECHECK_SECONDS));
            plan.wake_at(soon);
            part.held = Some(held);
        }
    }
    halt_failed(pass.world, scene, plan, now, part);
    if part.step.is_none() {
        adds = Load::default();
    }
    part.in_flight = part.in_flight.plus(adds);
    adds
}

/// Nothing has to move: what is stale is stamped, and the run in progress ends.
fn rest(
    pass: &Pass,
    plan: &mut Plan,
    scene: &mut Scene,
    judgement: &Judgement,
    known: &Known,
    standing: Result<(), Held>,
    part: &mut TargetPlan,
) {
    let decision = &known.decision;
    if scene.stale.is_empty() {
        if scene.target.owned && scene.running().is_some() {
            let even = decision.verdict.is_balanced();
            if !even && matches!(decision.wait, Some(Wait::NotTriggered { .. })) {
                // It was even for a moment, as pools came back one by one. What opened the episode opens it
                // once more; a pod is recycled three times in a run at most.
                if let Some(memory) = &mut scene.target.balance {
                    memory.event = None;
                }
                plan.wake_at(later(pass.now));
                part.running = true;
                return;
            }
            let result = if even {
                RunResult::Succeeded
            } else {
                RunResult::Uneven
            };
            finish_as(scene, plan, result, &judgement.outcome(), pass.now);
        }
        super::show::show_settling(pass.world, scene, pass.now, part, standing);
        if let (None, Some(wake)) = (&part.held, decision.wake) {
            plan.wake_at(wake);
        }
        if let Some(until) = part.held.as_ref().and_then(|h| h.until) {
            plan.wake_at(until);
        }
        return;
    }
    part.action = show::action(scene, Some(decision));
    let open = standing.and_then(|()| {
        super::gates::epoch(
            pass.world,
            scene,
            super::gates::Privilege::default(),
            pass.now,
        )
    });
    let recorded = scene.is_recorded(pass.world);
    match open {
        Err(held) => part.held = Some(held),
        Ok(()) if !recorded => plan.wake_at(pass.now),
        Ok(()) => {
            let evicts = inputs::method(scene) == Some(Method::Evict);
            if let Some(step) = step::stamps(scene, known, pass.now) {
                plan.wake_at(later(pass.now));
                part.step = Some(step);
            } else if known.is_measured_since_opened(scene) {
                // Misplaced, and nothing that may be done about it: no reading soon would help.
                plan.wake_at(super::gates::after(pass.now, super::runs::RECHECK_SECONDS));
                part.held = Some(if evicts && scene.is_lone() {
                    super::steps::lone()
                } else {
                    show::helpless(scene)
                });
            } else {
                plan.wake_at(later(pass.now));
                part.measure = Some(NEW);
                part.held = Some(Held::new(
                    Gate::Evidence,
                    "connections must be measured after the epoch has opened",
                ));
            }
        }
    }
}

fn later(now: Timestamp) -> Timestamp {
    now.saturating_add(TICK).unwrap_or(now)
}

/// Takes note of the pods' templates while no rollout is in progress. Other ones than before mean that a
/// rollout has ended, by whomever.
fn remember_template(scene: &mut Scene, now: Timestamp) {
    let rolling = scene
        .world
        .workload
        .as_ref()
        .is_some_and(WorkloadFacts::is_rolling);
    if rolling || scene.counted.is_empty() {
        return;
    }
    let templates = scene.templates();
    let target = &mut scene.target;
    if target.template.as_ref() == Some(&templates) {
        return;
    }
    if target.template.is_some() {
        target.template_time = Some(super::gates::to_second(now));
    }
    target.template = Some(templates);
}
