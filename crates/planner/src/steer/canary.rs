//! The canary where connections are measured: the first pod's must be new before another goes.
//!
//! Decides whether the method has shown that it works. It picks no pods.

use jiff::Timestamp;

use super::inputs::REOPENING;
use crate::pods::Scene;
use crate::world::TargetEvidence;
use dbbalance_api::spec::Method;
use dbbalance_core::evidence::{fresh_sockets, kept_sockets};
use dbbalance_core::pod::PodFacts;

/// How many local ports a message names.
const NAMED_PORTS: usize = 4;

/// How the canary stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Canary {
    /// Not taken yet, or not needed.
    None,
    /// It has not come back, or its connections are not new.
    Waits(String),
    /// It has.
    Passed,
}

/// Says how the canary of the run in progress stands.
pub(super) fn stand(
    scene: &Scene,
    found: &TargetEvidence,
    method: Method,
    now: Timestamp,
) -> Canary {
    let Some(run) = scene.running() else {
        return Canary::None;
    };
    if scene.is_verified() || run.last_step_time.is_none() {
        return Canary::None;
    }
    if let Some(pod) = scene.counted.iter().find(|p| scene.may_still_end(p, now)) {
        return Canary::Waits(format!("the first pod, {}, is being recycled", pod.name));
    }
    let before = usize::try_from(run.ready).unwrap_or(0).min(scene.wanted());
    let ready = scene.serving();
    if ready < before {
        return Canary::Waits(format!(
            "{ready} pods are Ready, {before} were when the run began: the first pod must come back"
        ));
    }
    if method == Method::Evict {
        let read = |p: &&&PodFacts| {
            found
                .measured
                .pods
                .get(&p.uid)
                .is_some_and(|m| m.reading().is_some())
        };
        let born = |p: &&&PodFacts| p.created >= run.start_time.0;
        return if scene
            .counted
            .iter()
            .any(|p| p.ready && born(&p) && read(&p))
        {
            Canary::Passed
        } else {
            Canary::Waits("the successor of the first pod must be Ready and measured".to_owned())
        };
    }
    let mut moved = scene
        .counted
        .iter()
        .filter(|p| scene.moved_in_run(p, now).is_some());
    let Some(pod) = moved.find(|p| p.ready) else {
        // It has left meanwhile: another will be the first.
        return Canary::None;
    };
    renewed(scene, pod, found, now)
}

fn renewed(scene: &Scene, pod: &PodFacts, found: &TargetEvidence, now: Timestamp) -> Canary {
    let waits = |what: &str| Canary::Waits(format!("the first pod, {}, {what}", pod.name));
    let Some(moved) = scene.moved_in_run(pod, now) else {
        return Canary::None;
    };
    let after = moved.time.saturating_add(REOPENING).unwrap_or(moved.time);
    let reading = found.measured.pods.get(&pod.uid).and_then(|m| m.reading());
    let Some(reading) = reading.filter(|r| r.at >= after) else {
        return waits("must be measured again");
    };
    // Not remembered: another replica took it. The stamp says that the effect was made, no more.
    let Some(before) = found.before.get(&pod.uid) else {
        return if reading.sockets.is_empty() {
            waits("holds no connection yet")
        } else {
            Canary::Passed
        };
    };
    let kept = kept_sockets(before, &reading.sockets);
    if !kept.is_empty() {
        let mut ports: Vec<String> = kept.iter().map(|s| s.local.port().to_string()).collect();
        ports.truncate(NAMED_PORTS);
        return waits(&format!(
            "still holds {} of {} connections from before its recycle (local ports {}): the method must renew them",
            kept.len(),
            before.iter().filter(|s| s.is_connection()).count(),
            ports.join(", ")
        ));
    }
    if fresh_sockets(before, &reading.sockets).is_empty() {
        return waits("holds no connection yet");
    }
    Canary::Passed
}
