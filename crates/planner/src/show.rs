//! What people see of a target: its next step in words, and what it waits for.
//!
//! Takes no decision; only the topology annotations of pods born fresh are chosen here too.

use jiff::Timestamp;

use super::TargetPlan;
use super::candidates::Candidates;
use super::gate::{Gate, Held};
use super::pods::Scene;
use super::steps::stamp;
use crate::world::World;
use dbbalance_api::spec::{Method, Pacing};
use dbbalance_core::pacing::max_unavailable_pods;

/// How many pods a message names.
const NAMED_PODS: usize = 5;
/// The most pods that get topology annotations in one pass.
const ANNOTATE_AT_ONCE: usize = 50;

/// The next step in words, as if no gate held it.
pub(super) fn describe(scene: &Scene, pacing: &Pacing, now: Timestamp) -> String {
    let method = scene.spec.recycle.method.as_str();
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
    let mut names: Vec<&str> = candidates.all().map(|c| c.pod.name.as_str()).collect();
    let may = if scene.is_verified() {
        max_unavailable_pods(pacing, scene.wanted())
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

/// A target without stale pods shows what is settling and concerns it, or what holds the policy.
pub(super) fn show_settling(
    world: &World,
    scene: &Scene,
    now: Timestamp,
    part: &mut TargetPlan,
    standing: Result<(), Held>,
) {
    if let Err(held) = standing
        && matches!(
            held.gate,
            Gate::InvalidSpec
                | Gate::TargetConflict
                | Gate::TargetNotFound
                | Gate::Refused
                | Gate::Suspended
                | Gate::Paused
        )
    {
        part.held = Some(held);
        return;
    }
    if let Some(pending) = &scene.status.pending_epoch {
        if pending.targets.contains(&scene.spec.name) {
            part.action = format!("recycle for epoch {}", pending.epoch);
            part.held = Some(super::pending::held(world, pending));
        }
        return;
    }
    let triggers = &world.spec.triggers;
    let next = scene
        .settling
        .unsettled(triggers, now)
        .into_iter()
        .filter(|(c, _)| {
            dbbalance_core::epoch::is_enabled(triggers, c.trigger())
                && dbbalance_core::epoch::is_target_concerned(c.trigger(), scene.spec)
        })
        .min_by_key(|(_, at)| *at);
    if let Some((change, at)) = next {
        "raise an epoch".clone_into(&mut part.action);
        part.held = Some(Held::until(
            Gate::Settle,
            format!("{} and must hold", change.describe()),
            at,
        ));
    }
}

pub(super) fn born_without_topology(scene: &Scene) -> Vec<(String, String)> {
    scene
        .counted
        .iter()
        .filter(|p| !p.has_topology && p.is_born_since(&scene.target))
        .take(ANNOTATE_AT_ONCE)
        .map(|p| (p.name.clone(), p.uid.clone()))
        .collect()
}
