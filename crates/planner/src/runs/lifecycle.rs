//! The lifecycle of a run: it starts, is resumed, is superseded, finishes, halts. Each transition has its notice.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::RunChanges;
use crate::gates::halted::{MAX_RETRIES, retry_wait};
use crate::target::{TargetContext, status_count};
use crate::times::{add_duration, status_time, truncate_to_second};
use crate::types::{Notice, ResumeCause};
use dbbalance_api::status::{HaltReason, RunResult, RunStatus, TargetStatus, Trigger};

/// How many start times a target keeps: more than any hourly limit.
const MAX_RUN_TIMES: usize = 64;

/// Starts a run for these triggers, with this message for its event.
pub(crate) fn start_run(
    ctx: &mut TargetContext,
    triggers: Vec<Trigger>,
    message: String,
    changes: &mut RunChanges,
) {
    let now = ctx.pass.now;
    let time = status_time(now);
    changes.notices.push(Notice::RunStarted(message));
    let run = RunStatus {
        target: ctx.status.name.clone(),
        epoch: ctx.status.due_epoch,
        triggers,
        start_time: time.clone(),
        last_progress_time: time.clone(),
        last_step_time: None,
        end_time: None,
        pods: ctx.status.pods,
        ready: status_count(ctx.serving()),
        stale: ctx.status.stale,
        recycled: 0,
        failed: 0,
        result: RunResult::Running,
        message: None,
        template_generation: None,
        resumed_time: None,
        halted_generation: None,
        halted_reason: None,
        retry_time: None,
        retries: 0,
    };
    let hour_ago = add_duration(now, SignedDuration::from_hours(-1));
    let times = &mut ctx.status.run_times;
    times.retain(|t| t.0 > hour_ago);
    times.push(time);
    let excess = times.len().saturating_sub(MAX_RUN_TIMES);
    times.drain(..excess);
    ctx.status.run = Some(run);
}

/// Resumes a halted run. Its progress is counted from now on.
pub(crate) fn resume_run(
    ctx: &mut TargetContext,
    run: RunStatus,
    cause: ResumeCause,
    changes: &mut RunChanges,
) {
    let now = ctx.pass.now;
    let run = RunStatus {
        result: RunResult::Running,
        message: None,
        halted_generation: None,
        halted_reason: None,
        retry_time: None,
        retries: match cause {
            ResumeCause::Edit => 0,
            ResumeCause::FailuresGone | ResumeCause::Retry => run.retries.saturating_add(1),
        },
        end_time: None,
        resumed_time: Some(Time(truncate_to_second(now))),
        last_progress_time: status_time(now),
        failed: 0,
        ready: status_count(ctx.serving()),
        ..run
    };
    changes.notices.push(Notice::RunStarted(format!(
        "target {}: the halted run goes on, {}",
        ctx.policy.name,
        cause.describe()
    )));
    changes.history.retain(|h| !is_same_run(h, &run));
    ctx.status.run = Some(run);
}

fn is_same_run(a: &RunStatus, b: &RunStatus) -> bool {
    (&a.target, a.epoch, &a.start_time) == (&b.target, b.epoch, &b.start_time)
}

/// Ends the run in progress when a newer epoch is due; the next one starts without cooldown.
pub(crate) fn supersede_run(ctx: &mut TargetContext, changes: &mut RunChanges) {
    let (due, now) = (ctx.status.due_epoch, ctx.pass.now);
    let Some(run) = ctx.running_mut().filter(|r| r.epoch < due) else {
        return;
    };
    run.result = RunResult::Superseded;
    run.end_time = Some(status_time(now));
    run.message = Some(format!("epoch {due} took over"));
    changes.notices.push(Notice::RunSuperseded(
        format!(
            "target {}: the run for epoch {} is superseded by epoch {due}",
            run.target, run.epoch
        ),
        run.triggers.clone(),
    ));
    changes.history.insert(0, run.clone());
}

/// Finishes the run in progress when no pod is stale.
pub(crate) fn finish_fresh_run(ctx: &mut TargetContext, changes: &mut RunChanges) {
    let Some(run) = ctx.running_mut() else { return };
    run.recycled = run.recycled.max(run.stale);
    let message = format!("no pod is stale at epoch {}; {} were", run.epoch, run.stale);
    finish_run(ctx, RunResult::Succeeded, &message, changes);
}

/// Finishes the run in progress with this result and message.
pub(crate) fn finish_run(
    ctx: &mut TargetContext,
    result: RunResult,
    message: &str,
    changes: &mut RunChanges,
) {
    let end = status_time(ctx.pass.now);
    let Some(run) = ctx.running_mut() else { return };
    let even = result == RunResult::Succeeded;
    run.result = result;
    run.message = (!even).then(|| message.to_owned());
    run.last_progress_time = end.clone();
    run.end_time = Some(end.clone());
    let text = format!("target {}: {message}", run.target);
    let triggers = run.triggers.clone();
    changes.notices.push(if even {
        Notice::RunSucceeded(text, triggers)
    } else {
        Notice::RunUneven(text, triggers)
    });
    changes.history.insert(0, run.clone());
    ctx.status.last_run_end_time = Some(end);
}

/// Halts the run in progress, and publishes it: until a new epoch, an edit or a token; and, while pods are older than a
/// failover and the cause may pass, until it is tried again.
pub(crate) fn halt_run(ctx: &mut TargetContext, halt: &Halt, changes: &mut RunChanges) {
    let (generation, now) = (ctx.pass.world.policy.generation, ctx.pass.now);
    let is_urgent = ctx.stale.iter().any(|p| ctx.is_urgent(p));
    let Some(mut run) = mark_halted(&mut ctx.status, halt, generation, now) else {
        return;
    };
    if is_urgent && halt.reason.may_pass() && run.retries < MAX_RETRIES {
        run.retry_time = Some(status_time(add_duration(now, retry_wait(run.retries))));
        ctx.status.run = Some(run.clone());
    }
    changes.notices.push(halt_notice(&run, &halt.message));
    changes.history.insert(0, run);
}

/// Why a run halts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    /// The reason in one word.
    pub reason: HaltReason,
    /// What happened and what to do.
    pub message: String,
}

impl Halt {
    /// Creates the cause of a halt.
    #[must_use]
    pub fn new(reason: HaltReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// Marks the run in progress as halted; returns it as the history keeps it.
pub fn mark_halted(
    target: &mut TargetStatus,
    halt: &Halt,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<RunStatus> {
    let end = status_time(now);
    let run = target.run.as_mut();
    let run = run.filter(|r| r.result == RunResult::Running)?;
    run.result = RunResult::Halted;
    run.end_time = Some(end.clone());
    run.message = Some(halt.message.clone());
    run.halted_generation = generation;
    run.halted_reason = Some(halt.reason);
    target.last_run_end_time = Some(end);
    Some(run.clone())
}

/// Returns the event of a run that has halted.
#[must_use]
pub fn halt_notice(run: &RunStatus, message: &str) -> Notice {
    Notice::RunHalted(
        format!(
            "target {}: the run for epoch {} has halted: {message}",
            run.target, run.epoch
        ),
        run.triggers.clone(),
    )
}

/// Marks the method as verified for the pods' templates, as the canary has shown that it works.
pub(crate) fn mark_verified(ctx: &mut TargetContext, message: String, changes: &mut RunChanges) {
    ctx.status.method_verified = Some(ctx.verify_key());
    mark_progress(ctx);
    changes.notices.push(Notice::CanaryPassed(message));
}

/// Records that the run has made progress now.
pub(crate) fn mark_progress(ctx: &mut TargetContext) {
    let now = status_time(ctx.pass.now);
    if let Some(run) = ctx.status.run.as_mut() {
        run.last_progress_time = now;
    }
}
