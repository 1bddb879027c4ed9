//! Runs: how far each target comes in this pass, gate by gate.
//!
//! Which pods a step takes is decided in `steps`, what halts a run in `watch`; its turns are recorded
//! in `life`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::gate::{Gate, Held};
use super::gates::{self, Privilege};
use super::life::{begin, finish, resume, supersede, touch};
use super::pods::{Scene, Stage};
use super::show::{born_without_topology, show_settling};
use super::sight::sight;
use super::watch::{halt_run, was_running, watch_over};
use super::{Notice, Plan, TargetPlan, steps};
use crate::api::spec::{EvidenceSource, TargetSpec};
use crate::api::status::{RunResult, TargetStatus, Trigger};
use crate::controller::validate::Valid;
use crate::controller::world::{World, pools};
use crate::domain::budget::Load;

/// How many ended runs the status keeps.
const HISTORY: usize = 10;

/// How soon a gate is looked at again that policies of other namespaces may hold.
const RECHECK_SECONDS: i32 = 5;

/// Moves every target's run on.
pub(super) fn advance(world: &World, valid: &Valid, now: Timestamp, plan: &mut Plan) {
    let specs = world.spec.targets.iter().zip(&world.targets);
    let mut targets: Vec<_> = specs
        .map(|(spec, found)| sight(world, spec, found, now, plan))
        .collect();
    // The recycles and runs of all targets count, not only of those that come first.
    let mut in_flight = Load::default();
    for (index, target) in targets.iter().enumerate() {
        let (spec, found) = (&world.spec.targets[index], &world.targets[index]);
        let (status, settling) = (&plan.status, &plan.settling);
        let mark = world.policy.mark();
        let measured = is_measured(world);
        let scene = Scene::new(
            spec,
            found,
            status,
            settling,
            target.clone(),
            mark,
            measured,
        );
        in_flight = in_flight.plus(steps::in_flight(&scene, now));
    }
    let mut running: Vec<bool> = targets.iter().map(|t| was_running(world, t)).collect();
    for (index, slot) in targets.iter_mut().enumerate() {
        running[index] = false;
        let others = running.iter().filter(|r| **r).count();
        let target = std::mem::take(slot);
        let before = in_flight;
        let (target, part, adds) =
            advance_target(world, valid, now, plan, index, target, others, before);
        running[index] = part.running;
        in_flight = in_flight.plus(adds);
        *slot = target;
        plan.targets.push(part);
    }
    plan.status.targets = targets;
    plan.status.history.truncate(HISTORY);
}

#[allow(clippy::too_many_arguments)] // the pass's whole context, split by who owns it
fn advance_target(
    world: &World,
    valid: &Valid,
    now: Timestamp,
    plan: &mut Plan,
    index: usize,
    target: TargetStatus,
    own_running: usize,
    own_in_flight: Load,
) -> (TargetStatus, TargetPlan, Load) {
    let spec = &world.spec.targets[index];
    let status = plan.status.clone();
    let settling = plan.settling.clone();
    let mut scene = Scene::new(
        spec,
        &world.targets[index],
        &status,
        &settling,
        target,
        world.policy.mark(),
        is_measured(world),
    );
    scene.target.pods = count(scene.counted.len());
    scene.target.stale = count(scene.stale.len());
    let mut part = TargetPlan {
        target: spec.name.clone(),
        action: "nothing to do".to_owned(),
        held: None,
        step: None,
        annotate: Vec::new(),
        in_flight: steps::in_flight(&scene, now),
        running: false,
    };
    let standing = gates::standing(world, valid, index, now);
    if scene.target.owned && standing.is_ok() {
        part.annotate = born_without_topology(&scene);
    }
    supersede(&mut scene, plan, now);
    if scene.stale.is_empty() {
        if scene.target.owned {
            finish(&mut scene, plan, now);
        } else {
            let message = "an older policy owns the pods";
            let generation = world.policy.generation;
            halt_run(&mut scene.target, message, generation, now, plan);
        }
        show_settling(world, &scene, now, &mut part, standing);
        if let Some(until) = part.held.as_ref().and_then(|h| h.until) {
            plan.wake_at(until);
        }
        return (scene.target, part, Load::default());
    }

    part.action = super::show::describe(&scene, &world.spec.pacing, now);
    let mut adds = Load::default();
    let outcome = standing.and_then(|()| {
        go(
            world,
            valid,
            now,
            plan,
            &mut scene,
            own_running,
            own_in_flight,
        )
    });
    match outcome {
        Ok(Go::Recorded) => {
            part.running = true;
            plan.wake_at(now);
        }
        Ok(Go::InProgress) => part.running = true,
        Ok(Go::Step(step, load)) => {
            part.running = true;
            adds = load;
            part.step = Some(step);
        }
        Err(held) => {
            part.running = scene.running().is_some() && held.gate.is_pace();
            if let Some(until) = held.until {
                plan.wake_at(until);
            } else if matches!(held.gate, Gate::Pacing | Gate::Budget) {
                // What others on the cluster hold changes without a notice to this policy.
                plan.wake_at(gates::after(now, RECHECK_SECONDS));
            }
            part.held = Some(held);
        }
    }
    watch_over(world, &mut scene, plan, now, &mut part);
    if let Some(end) = scene.next_claim_end(now) {
        plan.wake_at(end);
    }
    if part.step.is_none() {
        adds = Load::default();
    }
    part.in_flight = part.in_flight.plus(adds);
    (scene.target, part, adds)
}

/// What comes of the gates.
enum Go {
    /// A decision was taken that must be recorded before anything is done.
    Recorded,
    /// What was begun goes on by itself.
    InProgress,
    /// Do this, which adds so much.
    Step(super::Step, Load),
}

fn go(
    world: &World,
    valid: &Valid,
    now: Timestamp,
    plan: &mut Plan,
    scene: &mut Scene,
    own_running: usize,
    own_in_flight: Load,
) -> Result<Go, Held> {
    let token = scene.target.triggers.contains(&Trigger::Manual);
    let urgent_pods = scene
        .stale
        .iter()
        .any(|p| p.is_urgent(&scene.mark, &scene.target) && scene.stage(p, now) != Stage::Failed);
    let normal = Privilege {
        urgent: false,
        token,
    };
    let urgent = Privilege {
        urgent: true,
        token,
    };
    let method = scene.spec.recycle.method;

    if let Some(run) = scene
        .target
        .run
        .clone()
        .filter(|r| r.epoch == scene.target.due_epoch)
    {
        match run.result {
            RunResult::Halted if run.halted_generation != world.policy.generation => {
                resume(scene, plan, run, now);
                return Ok(Go::Recorded);
            }
            RunResult::Halted => {
                let message = run.message.unwrap_or_default();
                return Err(Held::new(
                    Gate::Halted,
                    format!(
                        "{message}; a new epoch, an edit of the policy or a token lets it go on"
                    ),
                ));
            }
            RunResult::Running | RunResult::Succeeded | RunResult::Superseded => {}
        }
    }

    let running = scene.running().is_some();
    let through = |scene: &Scene, privilege: Privilege| -> Result<(), Held> {
        gates::epoch(world, scene, privilege, now)?;
        gates::windows(valid, world, privilege, now)?;
        if !running {
            gates::between_runs(world, scene, privilege, now)?;
        }
        gates::health(scene, method, privilege)
    };
    let mut only_urgent = false;
    if let Err(held) = through(scene, normal) {
        if !urgent_pods {
            return Err(held);
        }
        through(scene, urgent)?;
        only_urgent = true;
    }
    if !running {
        gates::cluster(world, own_running)?;
        begin(scene, plan, now);
        return Ok(Go::Recorded);
    }
    // Only a run that is recorded is acted on.
    let recorded = world.status.targets.iter().any(|t| {
        t.name == scene.target.name
            && t.due_epoch == scene.target.due_epoch
            && t.run.as_ref().is_some_and(|r| {
                r.epoch == scene.target.due_epoch && r.result == RunResult::Running
            })
    });
    if !recorded {
        return Ok(Go::Recorded);
    }
    if let Some(until) = world.quiet_until.filter(|until| now < *until) {
        let message = "the epoch has just opened: pods of that second cannot be told apart";
        return Err(Held::until(Gate::EpochNotOpen, message, until));
    }
    if let Some(b) = scene.world.blockade.as_ref().filter(|b| now < b.until) {
        return Err(Held::until(b.gate, b.message.clone(), b.until));
    }
    if scene.running().is_some_and(|r| r.last_step_time.is_some())
        && !scene.is_verified()
        && steps::canary_passed(world, scene, now)
    {
        scene.target.method_verified = Some(scene.verify_key());
        touch(scene, now);
        plan.notices.push(Notice::CanaryPassed(format!(
            "target {}: {} works, the first pod came back; the rest follows",
            scene.spec.name,
            method.as_str()
        )));
        return Ok(Go::Recorded);
    }
    match steps::next(world, scene, only_urgent, own_in_flight, now)? {
        Some((step, load)) => Ok(Go::Step(step, load)),
        None => Ok(Go::InProgress),
    }
}

/// Whether the policy has its connections measured.
pub(super) fn is_measured(world: &World) -> bool {
    world.spec.evidence.source != EvidenceSource::None
}

/// A number of pods as the status holds it.
pub(super) fn count(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

/// The load of one target's pods.
#[must_use]
pub(super) fn load(spec: &TargetSpec, pods: usize) -> Load {
    Load::of(&pools(spec), pods)
}

/// A time as the status holds it.
#[must_use]
pub fn status_time(time: Timestamp) -> Time {
    gates::to_second(time)
}
