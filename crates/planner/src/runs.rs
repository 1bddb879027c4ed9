//! Runs: how far each target comes in this pass, gate by gate.
//!
//! Which pods a step takes is decided in `steps`, what halts a run in `watch`; its turns are recorded
//! in `life`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::epochs::recorded_topology;
use super::gate::{Gate, Held};
use super::gates::{self, Privilege};
use super::life::{begin, finish, resume, stale_words, supersede, touch};
use super::pods::{Scene, Stage};
use super::show::{born_without_topology, show_settling};
use super::sight::sight;
use super::watch::{halt_run, was_running, watch_over};
use super::{Notice, Plan, TargetPlan, steer, steps};
use crate::validate::Valid;
use crate::world::World;
use dbbalance_api::spec::EvidenceSource;
use dbbalance_api::status::{
    BalanceStatus, DbBalancePolicyStatus, RunResult, TargetStatus, Trigger,
};
use dbbalance_core::budget::Load;
use dbbalance_core::debounce::SettlingChanges;

/// How many ended runs the status keeps.
const HISTORY: usize = 10;

/// How soon a gate is looked at again that policies of other namespaces may hold.
pub(super) const RECHECK_SECONDS: i32 = 5;

/// What every target of a pass is moved on with.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub world: &'a World,
    pub valid: &'a Valid,
    pub now: Timestamp,
    /// Runs in progress of the policy's other targets.
    pub own_running: usize,
    /// What recycles in progress of the policy may add.
    pub own_in_flight: Load,
}

/// Moves every target's run on.
pub(super) fn advance(world: &World, valid: &Valid, now: Timestamp, plan: &mut Plan) {
    let specs = world.spec.targets.iter().zip(&world.targets);
    let mut targets: Vec<_> = specs
        .map(|(spec, found)| sight(world, spec, found, now, plan))
        .collect();
    // The recycles and runs of all targets count, not only of those that come first.
    let mut in_flight = Load::default();
    for (index, target) in targets.iter().enumerate() {
        let (status, settling) = (&plan.status, &plan.settling);
        let scene = scene(world, index, status, settling, target.clone());
        in_flight = in_flight.plus(steps::in_flight(&scene, now));
    }
    let mut running: Vec<bool> = targets.iter().map(|t| was_running(world, t)).collect();
    let mut balance = Vec::new();
    for (index, slot) in targets.iter_mut().enumerate() {
        running[index] = false;
        let pass = Pass {
            world,
            valid,
            now,
            own_running: running.iter().filter(|r| **r).count(),
            own_in_flight: in_flight,
        };
        let target = std::mem::take(slot);
        let (target, part, adds) = advance_target(&pass, plan, index, target, &mut balance);
        running[index] = part.running;
        in_flight = in_flight.plus(adds);
        *slot = target;
        plan.targets.push(part);
    }
    plan.status.targets = targets;
    plan.status.balance = balance;
    plan.status.history.truncate(HISTORY);
}

fn scene<'a>(
    world: &'a World,
    index: usize,
    status: &'a DbBalancePolicyStatus,
    settling: &'a SettlingChanges,
    target: TargetStatus,
) -> Scene<'a> {
    Scene::new(
        &world.spec.targets[index],
        &world.targets[index],
        status,
        settling,
        target,
        world.policy.mark(),
        is_measured(world),
    )
}

fn advance_target(
    pass: &Pass,
    plan: &mut Plan,
    index: usize,
    target: TargetStatus,
    balance: &mut Vec<BalanceStatus>,
) -> (TargetStatus, TargetPlan, Load) {
    let (world, now) = (pass.world, pass.now);
    let status = plan.status.clone();
    let settling = plan.settling.clone();
    let mut scene = scene(world, index, &status, &settling, target);
    scene.target.pods = count(scene.counted.len());
    scene.target.stale = count(scene.stale.len());
    let mut part = TargetPlan {
        target: scene.spec.name.clone(),
        action: "nothing to do".to_owned(),
        held: None,
        step: None,
        annotate: Vec::new(),
        in_flight: steps::in_flight(&scene, now),
        running: false,
        measure: None,
        closely: Vec::new(),
        look: false,
    };
    let standing = gates::standing(world, pass.valid, index, now);
    if scene.target.owned && standing.is_ok() {
        part.annotate = born_without_topology(&scene);
    }
    supersede(&mut scene, plan, now);
    let topology = status.topology.as_ref().and_then(recorded_topology);
    let judgement = steer::judge(world, &scene, topology.as_ref(), now);
    if let Some(judgement) = &judgement {
        let shown = steer::balance_status(world, &scene, judgement, topology.as_ref());
        balance.push(shown);
    } else {
        scene.target.balance = None;
        scene.target.template = None;
        scene.target.template_time = None;
    }
    let adds = match &judgement {
        Some(judgement) if scene.target.owned && !steer::is_by_stamps(&scene, judgement, now) => {
            steer::advance(pass, plan, &mut scene, judgement, standing, &mut part)
        }
        _ => by_stamps(pass, plan, &mut scene, standing, &mut part),
    };
    (scene.target, part, adds)
}

/// Moves a target on by its stamps alone.
fn by_stamps(
    pass: &Pass,
    plan: &mut Plan,
    scene: &mut Scene,
    standing: Result<(), Held>,
    part: &mut TargetPlan,
) -> Load {
    let (world, now) = (pass.world, pass.now);
    if scene.stale.is_empty() {
        if scene.target.owned {
            finish(scene, plan, now);
        } else {
            let message = "an older policy owns the pods";
            let generation = world.policy.generation;
            halt_run(&mut scene.target, message, generation, now, plan);
        }
        show_settling(world, scene, now, part, standing);
        if let Some(until) = part.held.as_ref().and_then(|h| h.until) {
            plan.wake_at(until);
        }
        return Load::default();
    }

    part.action = super::show::describe(scene, &world.spec.pacing, now);
    part.action.push_str(&super::odds::words(world, scene));
    let mut adds = Load::default();
    let outcome = standing.and_then(|()| go(pass, plan, scene));
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
    watch_over(world, scene, plan, now, part);
    if let Some(end) = scene.next_claim_end(now) {
        plan.wake_at(end);
    }
    if part.step.is_none() {
        adds = Load::default();
    }
    part.in_flight = part.in_flight.plus(adds);
    adds
}

/// Whether pods are stale that are older than the last failover, and can still be helped.
pub(super) fn urgent_stale(scene: &Scene, now: Timestamp) -> bool {
    let mut stale = scene.stale.iter();
    stale.any(|p| p.is_urgent(&scene.mark, &scene.target) && scene.stage(p, now) != Stage::Failed)
}

/// How far a target comes that has something to do.
pub(super) enum Entry {
    /// Something was decided that must be recorded first.
    Recorded,
    /// A run has to begin.
    Begin,
    /// Its run is in progress and recorded: it may take a step.
    Go {
        /// Only what is urgent may move.
        only_urgent: bool,
    },
}

/// Takes a target through the gates before its pods are picked. `urgent`: it has a failover's privileges.
pub(super) fn enter(
    pass: &Pass,
    plan: &mut Plan,
    scene: &mut Scene,
    is_urgent: bool,
) -> Result<Entry, Held> {
    let (world, now) = (pass.world, pass.now);
    let method = scene.spec.recycle.method;
    let due = scene.target.due_epoch;
    if let Some(run) = scene.target.run.clone().filter(|r| r.epoch == due) {
        match run.result {
            RunResult::Halted if run.halted_generation != world.policy.generation => {
                resume(scene, plan, run, now);
                return Ok(Entry::Recorded);
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
            RunResult::Running
            | RunResult::Succeeded
            | RunResult::Superseded
            | RunResult::Uneven => {}
        }
    }

    let running = scene.running().is_some();
    // A token skips gates for what it made stale, not for ever.
    let token = !scene.stale.is_empty() && scene.target.triggers.contains(&Trigger::Manual);
    let privilege = |urgent| Privilege { urgent, token };
    let through = |scene: &Scene, privilege: Privilege| -> Result<(), Held> {
        gates::epoch(world, scene, privilege, now)?;
        gates::windows(pass.valid, world, privilege, now)?;
        if !running {
            gates::between_runs(world, scene, privilege, now)?;
        }
        gates::health(scene, method, privilege)
    };
    let mut only_urgent = false;
    if let Err(held) = through(scene, privilege(false)) {
        if !is_urgent {
            return Err(held);
        }
        through(scene, privilege(true))?;
        only_urgent = true;
    }
    if !running {
        gates::cluster(world, pass.own_running)?;
        return Ok(Entry::Begin);
    }
    // Only a run that is recorded is acted on.
    let recorded = world.status.targets.iter().any(|t| {
        t.name == scene.target.name
            && t.due_epoch == due
            && t.run
                .as_ref()
                .is_some_and(|r| r.epoch == due && r.result == RunResult::Running)
    });
    if !recorded {
        return Ok(Entry::Recorded);
    }
    if let Some(until) = world.quiet_until.filter(|until| now < *until) {
        let message = "the epoch has just opened: pods of that second cannot be told apart";
        return Err(Held::until(Gate::EpochNotOpen, message, until));
    }
    if let Some(b) = scene.world.blockade.as_ref().filter(|b| now < b.until) {
        return Err(Held::until(b.gate, b.message.clone(), b.until));
    }
    Ok(Entry::Go { only_urgent })
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

fn go(pass: &Pass, plan: &mut Plan, scene: &mut Scene) -> Result<Go, Held> {
    let (world, now) = (pass.world, pass.now);
    let urgent = urgent_stale(scene, now);
    let only_urgent = match enter(pass, plan, scene, urgent)? {
        Entry::Recorded => return Ok(Go::Recorded),
        Entry::Begin => {
            let (triggers, words) = (scene.target.triggers.clone(), stale_words(scene));
            begin(scene, plan, &triggers, &words, now);
            return Ok(Go::Recorded);
        }
        Entry::Go { only_urgent } => only_urgent,
    };
    if scene.running().is_some_and(|r| r.last_step_time.is_some())
        && !scene.is_verified()
        && steps::canary_passed(world, scene, now)
    {
        scene.target.method_verified = Some(scene.verify_key());
        touch(scene, now);
        plan.notices.push(Notice::CanaryPassed(format!(
            "target {}: {} works, the first pod came back; the rest follows",
            scene.spec.name,
            scene.spec.recycle.method.as_str()
        )));
        return Ok(Go::Recorded);
    }
    match steps::next(world, scene, only_urgent, pass.own_in_flight, now)? {
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

/// A time as the status holds it.
#[must_use]
pub fn status_time(time: Timestamp) -> Time {
    gates::to_second(time)
}
