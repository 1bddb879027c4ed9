//! Steps: which pods go next, how many, and what holds them at the last.
//!
//! Budget and pacing are judged here, on the very pods that a step would take.

use jiff::SignedDuration;
use jiff::Timestamp;

use super::gates::{Gate, Held};
use super::pods::{Scene, Stage, method_word};
use super::runs::load;
use super::{PodStep, Step};
use crate::api::spec::{Method, Pacing};
use crate::controller::world::World;
use crate::domain::budget::{Load, Verdict, judge};
use crate::domain::pacing::{STORM_CAP_PER_SECOND, max_unavailable, next_step};
use crate::domain::pod::PodFacts;
use crate::domain::stamp::{Claim, Stamp};
use crate::domain::topology::Fingerprint;

/// How many pods a message names.
const NAMED_PODS: usize = 5;

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

fn stamp(scene: &Scene) -> Stamp {
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
        workload.refuses_rollout(max_unavailable(&world.spec.pacing, workload.wanted))
    {
        return Err(Held::new(Gate::Refused, message));
    }
    let surge = workload.surge();
    let adds = load(scene.spec, surge.max(1));
    within_budget(world, scene, own_in_flight, adds, surge > 0)?;
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
    if evicts(scene, &candidates)
        && scene.wanted() <= 1
        && scene.spec.recycle.allow_single_replica != Some(true)
    {
        return Err(Held::new(
            Gate::Refused,
            "the only pod is not evicted: set recycle.allowSingleReplica, run two, or use Signal or HTTP",
        ));
    }

    // What the smallest step would add must fit before its pace is asked for.
    let surges = scene.spec.recycle.method == Method::Evict || !candidates.fallback.is_empty();
    let mine = own_in_flight.plus(in_flight(scene, now));
    if candidates.len() > 0 {
        within_budget(world, scene, mine, load(scene.spec, 1), surges)?;
    }

    let free = free(scene, pacing, now);
    let pace = pace(world, scene, now);
    let storm = last
        .map(|l| l.saturating_add(SignedDuration::from_secs(1)).unwrap_or(l))
        .filter(|at| now < *at);
    let mut canary = false;
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
            canary = !candidates.ready.is_empty();
            candidates.ready.truncate(1.min(free));
        }
        if let (Some(message), 0) = (waiting, candidates.len()) {
            return Err(Held::new(Gate::Canary, message));
        }
    } else {
        candidates.ready.truncate(free);
        candidates
            .fallback
            .truncate(free.saturating_sub(candidates.ready.len()));
    }

    let mut steps = candidates.into_steps(scene, now);
    while steps.len() > 1
        && within_budget(world, scene, mine, load(scene.spec, steps.len()), surges).is_err()
    {
        steps.pop();
    }
    if steps.is_empty() {
        return Err(paced(scene, pacing, pace.or(storm), now));
    }
    let adds = load(scene.spec, steps.len());
    let step = Step::Pods {
        pods: steps,
        stamp: stamp(scene),
        canary,
        verify_key: scene.verify_key(),
    };
    Ok((step, adds))
}

/// The pods that could go next, by why.
struct Candidates<'a> {
    /// Not Ready: they neither wait for the canary nor count against `maxUnavailable`.
    broken: Vec<(&'a PodFacts, u8)>,
    /// Begun, and never stamped: once more. They count as in flight already.
    redo: Vec<(&'a PodFacts, u8)>,
    /// Ready and untouched.
    ready: Vec<(&'a PodFacts, u8)>,
    /// The method has failed on them.
    fallback: Vec<(&'a PodFacts, u8)>,
}

impl<'a> Candidates<'a> {
    fn of(scene: &Scene<'a>, only_urgent: bool, now: Timestamp) -> Self {
        let mut found = Self {
            broken: vec![],
            redo: vec![],
            ready: vec![],
            fallback: vec![],
        };
        let mut stale: Vec<&PodFacts> = scene.stale.clone();
        if only_urgent {
            stale.retain(|p| p.is_urgent(&scene.mark, &scene.target));
        }
        // Urgent pods first, then the oldest, then by name, so that every pass agrees.
        stale.sort_by_key(|p| {
            (
                !p.is_urgent(&scene.mark, &scene.target),
                p.created,
                p.name.clone(),
            )
        });
        for pod in stale {
            match scene.stage(pod, now) {
                Stage::Due(attempt) if !pod.ready => found.broken.push((pod, attempt)),
                Stage::Due(1) => found.ready.push((pod, 1)),
                Stage::Due(attempt) => found.redo.push((pod, attempt)),
                Stage::FallbackDue(attempt) => found.fallback.push((pod, attempt)),
                Stage::InFlight | Stage::Failed => {}
            }
        }
        found
    }

    fn len(&self) -> usize {
        self.broken.len() + self.redo.len() + self.ready.len() + self.fallback.len()
    }

    fn into_steps(self, scene: &Scene, now: Timestamp) -> Vec<PodStep> {
        let method = scene.spec.recycle.method;
        let by_method = self
            .broken
            .into_iter()
            .chain(self.redo)
            .chain(self.ready)
            .map(|p| (p, method));
        let by_fallback = self.fallback.into_iter().map(|p| (p, Method::Evict));
        by_method
            .chain(by_fallback)
            .map(|((pod, attempt), method)| PodStep {
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                resource_version: pod.resource_version.clone(),
                claim: Claim {
                    policy: scene.mark.clone(),
                    epoch: scene.target.due_epoch,
                    attempt,
                    time: now,
                },
                method,
                recycles: pod.recycles.saturating_add(1),
            })
            .collect()
    }
}

fn evicts(scene: &Scene, candidates: &Candidates) -> bool {
    candidates.len() > 0
        && (scene.spec.recycle.method == Method::Evict
            || (candidates.len() == candidates.fallback.len() && !candidates.fallback.is_empty()))
}

/// How many Ready pods may be taken: what `maxUnavailable` leaves.
fn free(scene: &Scene, pacing: &Pacing, now: Timestamp) -> usize {
    max_unavailable(pacing, scene.wanted()).saturating_sub(busy(scene, now))
}

/// Pods that are not Ready, missing, or Ready and being recycled.
fn busy(scene: &Scene, now: Timestamp) -> usize {
    let missing = scene.wanted().saturating_sub(scene.ready());
    let in_flight = scene
        .stale
        .iter()
        .filter(|p| p.ready && begun(scene, p, now))
        .count();
    missing + in_flight
}

fn begun(scene: &Scene, pod: &PodFacts, now: Timestamp) -> bool {
    matches!(
        scene.stage(pod, now),
        Stage::InFlight | Stage::Due(Claim::LAST_ATTEMPT)
    )
}

/// The connections that recycles in progress may add.
pub(super) fn in_flight(scene: &Scene, now: Timestamp) -> Load {
    let claimed = scene.stale.iter().filter(|p| begun(scene, p, now)).count();
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
        .map_or(0, crate::domain::workload::WorkloadFacts::surge);
    load(scene.spec, claimed + surging)
}

fn within_budget(
    world: &World,
    scene: &Scene,
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
    let _ = scene;
    let now = held(world).plus(world.others.held);
    let in_flight = mine.plus(world.others.in_flight);
    match judge(view, &world.spec.budget, now, in_flight, adds, surges) {
        Verdict::Fits => Ok(()),
        Verdict::Exceeds(message) => Err(Held::new(Gate::Budget, message)),
        Verdict::Unknown(message) => Err(Held::new(Gate::BudgetUnknown, message)),
    }
}

/// What this policy's pods hold, the terminating ones included: they keep their connections.
#[must_use]
pub fn held(world: &World) -> Load {
    world
        .spec
        .targets
        .iter()
        .zip(&world.targets)
        .fold(Load::default(), |sum, (spec, found)| {
            sum.plus(load(
                spec,
                found
                    .pods
                    .iter()
                    .filter(|p| p.started.is_some() && !p.finished)
                    .count(),
            ))
        })
}

/// When the interval since the last step is over, if it is not.
fn pace(world: &World, scene: &Scene, now: Timestamp) -> Option<Timestamp> {
    let last = scene.running()?.last_step_time.as_ref()?.0;
    let key = format!("{}/{}", world.policy.uid, scene.spec.name);
    Some(next_step(&world.spec.pacing, last, &key)).filter(|at| now < *at)
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
    let ready = scene.ready();
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
    let may = max_unavailable(pacing, wanted);
    let ready = scene.ready();
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

/// The next step in words, as if no gate held it.
pub(super) fn describe(scene: &Scene, pacing: &Pacing, now: Timestamp) -> String {
    let method = method_word(scene.spec.recycle.method);
    let (stale, counted) = (scene.stale.len(), scene.counted.len());
    let epoch = scene.target.due_epoch;
    if let (Method::Rollout, Some(workload)) = (scene.spec.recycle.method, &scene.world.workload) {
        let begun = workload.template_stamp.as_ref() == Some(&stamp(scene));
        let verb = if begun { "rolling" } else { "roll" };
        return format!(
            "{verb} {} to epoch {epoch}: {stale} of {counted} pods are stale",
            workload.describe()
        );
    }
    let candidates = Candidates::of(scene, false, now);
    let mut names: Vec<&str> = candidates
        .broken
        .iter()
        .chain(&candidates.redo)
        .chain(&candidates.ready)
        .chain(&candidates.fallback)
        .map(|(p, _)| p.name.as_str())
        .collect();
    let may = if scene.is_verified() {
        max_unavailable(pacing, scene.wanted())
    } else {
        1
    };
    names.truncate(may.min(NAMED_PODS));
    let role = if scene.is_verified() { "next" } else { "first" };
    if names.is_empty() {
        return format!(
            "{stale} of {counted} pods are stale at epoch {epoch}, recycling by {method}"
        );
    }
    format!(
        "recycle {stale} of {counted} pods to epoch {epoch} by {method}, {role} {}",
        names.join(", ")
    )
}
