//! Steps: which pods go next, how many, and what holds them at the last.
//!
//! Budget and pacing are judged here, on the very pods that a step would take.

use jiff::SignedDuration;
use jiff::Timestamp;

use super::candidates::{Candidates, take};
use super::epochs::recorded_topology;
use super::gate::{Gate, Held};
use super::pods::{Scene, Stage};
use super::{PodStep, Step};
use crate::world::World;
use crate::world::holding;
use dbbalance_api::spec::{Method, Pacing};
use dbbalance_core::budget::{BudgetCheck, Holding, Load, Members, check_budget};
use dbbalance_core::pacing::{STORM_CAP_PER_SECOND, max_unavailable_pods, next_step_time};
use dbbalance_core::stamp::Stamp;
use dbbalance_core::topology::Fingerprint;

/// The only pod of its target is not evicted unless the user allows it.
pub(super) fn lone() -> Held {
    Held::new(
        Gate::Refused,
        "the only pod is not evicted: set recycle.allowSingleReplica, run two, or use Signal or HTTP",
    )
}

/// The next step of a run in progress, with what it may add. `None`: what was begun goes on by
/// itself.
pub(super) fn next(
    world: &World,
    scene: &mut Scene,
    only_urgent: bool,
    own_in_flight: Load,
    now: Timestamp,
) -> Result<Option<(Step, Load)>, Held> {
    if scene.spec.recycle.method == Method::Rollout {
        return rollout(world, scene, own_in_flight);
    }
    pods(world, scene, only_urgent, own_in_flight, now).map(Some)
}

pub(super) fn stamp(scene: &Scene) -> Stamp {
    Stamp {
        policy: scene.mark.clone(),
        epoch: scene.target.due_epoch,
        fingerprint: Fingerprint(scene.target.fingerprint.clone()),
    }
}

fn rollout(
    world: &World,
    scene: &mut Scene,
    own_in_flight: Load,
) -> Result<Option<(Step, Load)>, Held> {
    let Some(workload) = &scene.world.workload else {
        return Ok(None);
    };
    let stamp = stamp(scene);
    if workload.template_stamp.as_ref() == Some(&stamp) {
        return Ok(None);
    }
    if scene.target.reverted_epoch == Some(scene.target.due_epoch) {
        return Ok(None);
    }
    let stamped_at = scene.running().and_then(|r| r.template_generation);
    match stamped_at {
        // The cache has not seen our own write yet.
        Some(generation) if workload.generation <= generation => return Ok(None),
        Some(_) => {
            scene.target.reverted_epoch = Some(scene.target.due_epoch);
            return Ok(None);
        }
        None => {}
    }
    if let Some(message) =
        workload.rollout_refusal(max_unavailable_pods(&world.spec.pacing, workload.wanted))
    {
        return Err(Held::new(Gate::Refused, message));
    }
    let surge = workload.surge_pods();
    let adds = scene.load(surge.max(1));
    within_budget(world, own_in_flight, adds, surge > 0)?;
    let step = Step::Rollout {
        kind: workload.kind,
        name: workload.name.clone(),
        stamp,
    };
    Ok(Some((step, adds)))
}

fn pods(
    world: &World,
    scene: &Scene,
    only_urgent: bool,
    own_in_flight: Load,
    now: Timestamp,
) -> Result<(Step, Load), Held> {
    let pacing = &world.spec.pacing;
    let run = scene.running();
    let last = run.and_then(|r| r.last_step_time.as_ref()).map(|t| t.0);
    let verified = scene.is_verified();
    let mut candidates = Candidates::of(scene, only_urgent, now);
    let evicts = scene.spec.recycle.method == Method::Evict || candidates.is_fallback_alone();
    if scene.is_lone() {
        if evicts && candidates.len() > 0 {
            return Err(lone());
        }
        candidates.fallback.clear();
    }

    // What the smallest step would add must fit before its pace is asked for.
    if candidates.len() > 0 && candidates.all().all(|c| !c.begun) {
        within_budget(world, own_in_flight, scene.load(1), evicts)?;
    }

    let mut free = free(scene, pacing, now);
    let pace = pace(world, scene, now);
    let storm = last
        .map(|l| l.saturating_add(SignedDuration::from_secs(1)).unwrap_or(l))
        .filter(|at| now < *at);
    let mut canary = None;
    if storm.is_some() {
        candidates.broken.clear();
    }
    candidates.broken.truncate(STORM_CAP_PER_SECOND);
    if pace.is_some() {
        candidates.redo.clear();
        candidates.ready.clear();
        candidates.fallback.clear();
    } else if !verified {
        candidates.fallback.clear();
        let waiting = canary_waits(scene, now);
        if waiting.is_some() || !candidates.redo.is_empty() {
            candidates.ready.clear();
        } else {
            candidates.ready.truncate(1);
            take(&mut candidates.ready, &mut free);
            canary = candidates.ready.first().map(|c| c.pod.uid.clone());
        }
        if let (Some(message), 0) = (waiting, candidates.len()) {
            return Err(Held::new(Gate::Canary, message));
        }
    } else {
        take(&mut candidates.ready, &mut free);
        take(&mut candidates.fallback, &mut free);
    }

    if candidates.len() == 0 {
        return Err(paced(scene, pacing, pace.or(storm), now));
    }
    let mut steps = candidates.into_steps(scene, now);
    let adds = trim_to_budget(world, scene, own_in_flight, &mut steps)?;
    let pods: Vec<PodStep> = steps.into_iter().map(|(step, _)| step).collect();
    let step = Step::Pods {
        canary: canary.is_some_and(|uid| pods.iter().any(|p| p.uid == uid)),
        pods,
        stamp: stamp(scene),
        verify_key: scene.verify_key(),
    };
    Ok((step, adds))
}

/// Drops from a step, last first, what the budget has no room for; returns what the rest adds.
pub(super) fn trim_to_budget(
    world: &World,
    scene: &Scene,
    in_flight: Load,
    steps: &mut Vec<(PodStep, bool)>,
) -> Result<Load, Held> {
    loop {
        let adds = scene.load(steps.iter().filter(|(_, adds)| *adds).count());
        let surges = steps.iter().any(|(s, _)| s.method == Method::Evict);
        let Err(held) = within_budget(world, in_flight, adds, surges) else {
            return Ok(adds);
        };
        if let Some(last) = steps.iter().rposition(|(_, adds)| *adds) {
            steps.remove(last);
        }
        if steps.is_empty() {
            return Err(held);
        }
    }
}

/// How many Ready pods may be taken: what `maxUnavailable` leaves.
fn free(scene: &Scene, pacing: &Pacing, now: Timestamp) -> usize {
    max_unavailable_pods(pacing, scene.wanted()).saturating_sub(busy(scene, now))
}

/// Pods that are not Ready, missing, or Ready and being recycled.
fn busy(scene: &Scene, now: Timestamp) -> usize {
    let missing = scene.wanted().saturating_sub(scene.serving());
    let in_flight = scene
        .stale
        .iter()
        .filter(|p| p.ready && scene.is_begun(p, now))
        .count();
    missing + in_flight
}

/// The connections that recycles in progress may add.
pub(super) fn in_flight(scene: &Scene, now: Timestamp) -> Load {
    let claimed = scene
        .stale
        .iter()
        .filter(|p| scene.is_begun(p, now))
        .count();
    let surging = scene
        .world
        .workload
        .as_ref()
        .filter(|w| {
            w.is_rolling()
                && w.template_stamp
                    .as_ref()
                    .is_some_and(|s| s.policy == scene.mark)
        })
        .map_or(0, dbbalance_core::workload::WorkloadFacts::surge_pods);
    scene.load(claimed + surging)
}

pub(super) fn within_budget(
    world: &World,
    mine: Load,
    adds: Load,
    surges: bool,
) -> Result<(), Held> {
    let Some(view) = world.reading.current() else {
        return Err(Held::new(
            Gate::TopologyNotCurrent,
            "the topology is not current",
        ));
    };
    let now = held(world).plus(&world.others.held);
    let in_flight = mine.plus(world.others.in_flight);
    let settled = world.status.topology.as_ref().and_then(recorded_topology);
    let members = Members {
        view,
        settled: settled.as_ref(),
    };
    match check_budget(members, &world.spec.budget, &now, in_flight, adds, surges) {
        BudgetCheck::Fits => Ok(()),
        BudgetCheck::Exceeds(message) => Err(Held::new(Gate::Budget, message)),
        BudgetCheck::Unknown(message) => Err(Held::new(Gate::BudgetUnknown, message)),
    }
}

/// What this policy's pods hold, or will once they have started; where they were measured, what they do. The
/// terminating ones keep their connections.
#[must_use]
pub fn held(world: &World) -> Holding {
    let targets = world.spec.targets.iter().zip(&world.targets);
    targets.fold(Holding::default(), |sum, (spec, found)| {
        let pods = found
            .pods
            .iter()
            .filter(|p| !p.finished && (p.started.is_some() || !p.terminating));
        let uids = pods.map(|p| p.uid.as_str());
        let view = world.reading.current().map(|v| &v.topology);
        sum.plus(&holding(
            spec,
            uids,
            &found.evidence.measured,
            &world.dns.book,
            view,
        ))
    })
}

/// When the interval since the last step is over, if it is not.
fn pace(world: &World, scene: &Scene, now: Timestamp) -> Option<Timestamp> {
    let last = scene.running()?.last_step_time.as_ref()?.0;
    let key = format!("{}/{}", world.policy.uid, scene.spec.name);
    Some(next_step_time(&world.spec.pacing, last, &key)).filter(|at| now < *at)
}

/// Whether the first pod has come back: an interval after its step as many are Ready as when the run
/// began, and one that was recycled is among them. Sooner, its probes may not have noticed yet.
pub(super) fn canary_passed(world: &World, scene: &Scene, now: Timestamp) -> bool {
    if pace(world, scene, now).is_some() || canary_waits(scene, now).is_some() {
        return false;
    }
    scene.counted.iter().any(|p| {
        let stamped = p
            .stamp
            .as_ref()
            .is_some_and(|s| s.policy == scene.mark && s.epoch == scene.target.due_epoch);
        let born = scene.spec.recycle.method == Method::Evict && p.is_born_since(&scene.target);
        p.ready && (stamped || born)
    })
}

fn canary_waits(scene: &Scene, now: Timestamp) -> Option<String> {
    let run = scene.running()?;
    run.last_step_time.as_ref()?;
    if let Some(pod) = scene
        .stale
        .iter()
        .find(|p| scene.stage(p, now) == Stage::InFlight && p.ready)
    {
        return Some(format!("the first pod, {}, is being recycled", pod.name));
    }
    let before = usize::try_from(run.ready).unwrap_or(0).min(scene.wanted());
    let ready = scene.serving();
    (ready < before).then(|| {
        format!(
            "{ready} pods are Ready, {before} were when the run began: the first pod must come back"
        )
    })
}

fn paced(scene: &Scene, pacing: &Pacing, until: Option<Timestamp>, now: Timestamp) -> Held {
    if let Some(until) = until {
        let message = format!(
            "{} s between steps, ±{}%",
            pacing.interval_seconds, pacing.jitter_percent
        );
        return Held::until(Gate::Pacing, message, until);
    }
    let failed = scene
        .stale
        .iter()
        .filter(|p| scene.stage(p, now) == Stage::Failed)
        .count();
    let wanted = scene.wanted();
    let may = max_unavailable_pods(pacing, wanted);
    let ready = scene.serving();
    let recycling = busy(scene, now).saturating_sub(wanted.saturating_sub(ready));
    let failed_words = if failed > 0 {
        format!("; {failed} failed twice")
    } else {
        String::new()
    };
    Held::new(
        Gate::Pacing,
        format!(
            "{} of {wanted} pods are not Ready and {recycling} are being recycled, {may} may be{failed_words}",
            wanted.saturating_sub(ready)
        ),
    )
}
