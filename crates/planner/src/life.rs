//! The life of a run: it begins, goes on, is superseded, succeeds, halts.
//!
//! Records each turn with its notice. Whether it is time for one is decided in `runs` and `watch`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::gates;
use super::pods::Scene;
use super::runs::count;
use super::{Notice, Plan};
use dbbalance_api::status::{RunResult, RunStatus, TargetStatus, Trigger};

/// Begins a run that these triggers call for, and says so in these words.
pub(super) fn begin(
    scene: &mut Scene,
    plan: &mut Plan,
    triggers: &[Trigger],
    words: &str,
    now: Timestamp,
) {
    let time = gates::to_second(now);
    let target = &scene.target;
    plan.notices.push(Notice::RunStarted(words.to_owned()));
    let run = RunStatus {
        target: target.name.clone(),
        epoch: target.due_epoch,
        triggers: triggers.to_vec(),
        start_time: time.clone(),
        last_progress_time: time.clone(),
        last_step_time: None,
        end_time: None,
        pods: target.pods,
        ready: count(scene.serving()),
        stale: target.stale,
        recycled: 0,
        failed: 0,
        result: RunResult::Running,
        message: None,
        template_generation: None,
        resumed_time: None,
        halted_generation: None,
    };
    let hour_ago = gates::after(now, -3600);
    scene.target.run_times.retain(|t| t.0 > hour_ago);
    scene.target.run_times.push(time);
    let excess = scene.target.run_times.len().saturating_sub(64);
    scene.target.run_times.drain(..excess);
    scene.target.run = Some(run);
}

/// Why a run for what is stale begins.
pub(super) fn stale_words(scene: &Scene) -> String {
    let target = &scene.target;
    format!(
        "target {}: {} of {} pods are stale at epoch {} ({}); recycling by {}",
        target.name,
        target.stale,
        target.pods,
        target.due_epoch,
        words(&target.triggers),
        scene.spec.recycle.method.as_str()
    )
}

/// An edit of the policy lets a halted run go on, compared with the pods of this moment.
pub(super) fn resume(scene: &mut Scene, plan: &mut Plan, run: RunStatus, now: Timestamp) {
    let run = RunStatus {
        result: RunResult::Running,
        message: None,
        halted_generation: None,
        end_time: None,
        resumed_time: Some(Time(gates::whole_second(now))),
        last_progress_time: gates::to_second(now),
        failed: 0,
        ready: count(scene.serving()),
        ..run
    };
    plan.notices.push(Notice::RunStarted(format!(
        "target {}: the halted run goes on, as the policy was edited",
        scene.spec.name
    )));
    plan.status.history.retain(|h| !same_run(h, &run));
    scene.target.run = Some(run);
}

/// A newer due epoch ends the run in progress; the next one begins without cool-down.
pub(super) fn supersede(scene: &mut Scene, plan: &mut Plan, now: Timestamp) {
    let due = scene.target.due_epoch;
    let Some(run) = scene.target.run.as_mut() else {
        return;
    };
    if run.result != RunResult::Running || run.epoch >= due {
        return;
    }
    run.result = RunResult::Superseded;
    run.end_time = Some(gates::to_second(now));
    run.message = Some(format!("epoch {due} took over"));
    plan.notices.push(Notice::RunSuperseded(
        format!(
            "target {}: the run for epoch {} is superseded by epoch {due}",
            run.target, run.epoch
        ),
        run.triggers.clone(),
    ));
    plan.status.history.insert(0, run.clone());
}

/// Nothing is stale: the run in progress has reached its end.
pub(super) fn finish(scene: &mut Scene, plan: &mut Plan, now: Timestamp) {
    let words = scene.target.run.as_ref().map_or_else(String::new, |run| {
        format!("no pod is stale at epoch {}; {} were", run.epoch, run.stale)
    });
    let running = |run: &&mut RunStatus| run.result == RunResult::Running;
    if let Some(run) = scene.target.run.as_mut().filter(running) {
        run.recycled = run.recycled.max(run.stale);
    }
    finish_as(scene, plan, RunResult::Succeeded, &words, now);
}

/// The run in progress has reached its end, with this result and in these words.
pub(super) fn finish_as(
    scene: &mut Scene,
    plan: &mut Plan,
    result: RunResult,
    words: &str,
    now: Timestamp,
) {
    let even = result == RunResult::Succeeded;
    let Some(run) = scene
        .target
        .run
        .as_mut()
        .filter(|r| r.result == RunResult::Running)
    else {
        return;
    };
    let end = gates::to_second(now);
    run.result = result;
    run.message = (!even).then(|| words.to_owned());
    run.last_progress_time = end.clone();
    run.end_time = Some(end.clone());
    scene.target.last_run_end_time = Some(end);
    let told = format!("target {}: {words}", run.target);
    let triggers = run.triggers.clone();
    plan.notices.push(if even {
        Notice::RunSucceeded(told, triggers)
    } else {
        Notice::RunUneven(told, triggers)
    });
    plan.status.history.insert(0, run.clone());
}

/// Halts the run in progress; returns it as the history keeps it.
pub fn halt(
    target: &mut TargetStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<RunStatus> {
    let end = gates::to_second(now);
    let run = target
        .run
        .as_mut()
        .filter(|r| r.result == RunResult::Running)?;
    run.result = RunResult::Halted;
    run.end_time = Some(end.clone());
    run.message = Some(message.to_owned());
    run.halted_generation = generation;
    target.last_run_end_time = Some(end);
    Some(run.clone())
}

pub(super) fn touch(scene: &mut Scene, now: Timestamp) {
    if let Some(run) = scene.target.run.as_mut() {
        run.last_progress_time = gates::to_second(now);
    }
}

fn same_run(a: &RunStatus, b: &RunStatus) -> bool {
    (&a.target, a.epoch, &a.start_time) == (&b.target, b.epoch, &b.start_time)
}

fn words(triggers: &[Trigger]) -> String {
    triggers
        .iter()
        .map(|t| t.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
