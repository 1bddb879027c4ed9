//! The life of a run: it begins, goes on, is superseded, succeeds, halts.
//!
//! Records each turn with its notice. Whether it is time for one is decided in `runs` and `watch`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::gates;
use super::pods::Scene;
use super::runs::count;
use super::{Notice, Plan};
use crate::api::status::{RunResult, RunStatus, TargetStatus, Trigger};

pub(super) fn begin(scene: &mut Scene, plan: &mut Plan, now: Timestamp) {
    let time = gates::to_second(now);
    let target = &scene.target;
    plan.notices.push(Notice::RunStarted(format!(
        "target {}: {} of {} pods are stale at epoch {} ({}); recycling by {}",
        target.name,
        target.stale,
        target.pods,
        target.due_epoch,
        words(&target.triggers),
        scene.spec.recycle.method.as_str()
    )));
    let run = RunStatus {
        target: target.name.clone(),
        epoch: target.due_epoch,
        triggers: target.triggers.clone(),
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
    let Some(run) = scene
        .target
        .run
        .as_mut()
        .filter(|r| r.result == RunResult::Running)
    else {
        return;
    };
    let end = gates::to_second(now);
    run.result = RunResult::Succeeded;
    run.message = None;
    run.recycled = run.recycled.max(run.stale);
    run.last_progress_time = end.clone();
    run.end_time = Some(end.clone());
    scene.target.last_run_end_time = Some(end);
    plan.notices.push(Notice::RunSucceeded(
        format!(
            "target {}: no pod is stale at epoch {}; {} were",
            run.target, run.epoch, run.stale
        ),
        run.triggers.clone(),
    ));
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
