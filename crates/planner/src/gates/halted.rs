//! The gate of a run that has halted: what lets it go on, and how often it does so by itself.

use jiff::{SignedDuration, Timestamp};

use crate::target::TargetContext;
use crate::times::add_duration;
use crate::types::{ClosedGate, Gate, ResumeCause};
use dbbalance_api::status::{HaltReason, RunResult, RunStatus};

/// The longest wait before a halted run is tried again is 2^5 minutes (docs/adr/0010-canary-and-halting.md).
const MAX_RETRY_DOUBLINGS: u32 = 5;
/// How often a halted run goes on by itself, whatever lets it: within four hours what passes has passed.
pub(crate) const MAX_RETRIES: i32 = 8;

/// Returns how long a run stays halted that has gone on by itself so often: 1, 2, 4, … minutes.
pub(crate) fn retry_wait(retries: i32) -> SignedDuration {
    let doublings = u32::try_from(retries).unwrap_or(0).min(MAX_RETRY_DOUBLINGS);
    SignedDuration::from_mins(1 << doublings)
}

/// Returns the halted run to resume, or the gate of one that stays halted.
pub(crate) fn check_halted(
    ctx: &TargetContext,
) -> Result<Option<(RunStatus, ResumeCause)>, ClosedGate> {
    let due = ctx.status.due_epoch;
    let run = ctx.status.run.as_ref();
    let halted = run.filter(|r| r.epoch == due && r.result == RunResult::Halted);
    let Some(run) = halted else { return Ok(None) };
    if run.halted_generation != ctx.pass.world.policy.generation {
        return Ok(Some((run.clone(), ResumeCause::Edit)));
    }
    let retry = run.retry_time.as_ref().map(|t| t.0);
    let gone = failures_gone_time(ctx, run);
    let is_over = |at: Option<Timestamp>| at.is_some_and(|at| at <= ctx.pass.now);
    if is_over(retry) {
        return Ok(Some((run.clone(), ResumeCause::Retry)));
    }
    if is_over(gone) {
        return Ok(Some((run.clone(), ResumeCause::FailuresGone)));
    }
    let until = retry.into_iter().chain(gone).min();
    let by_itself = if until.is_some() {
        "; it is tried again by itself"
    } else {
        ""
    };
    Err(ClosedGate {
        gate: Gate::Halted,
        message: format!(
            "{}; a new epoch, an edit of the policy or a token lets it go on{by_itself}",
            run.message.as_deref().unwrap_or_default()
        ),
        until,
    })
}

/// Returns when a run goes on whose failed pods are gone: at once the first time, then after pauses that double, as pods
/// that fail one after the other would be tried without end.
fn failures_gone_time(ctx: &TargetContext, run: &RunStatus) -> Option<Timestamp> {
    let failed = run.halted_reason == Some(HaltReason::MethodFailed);
    if !failed || run.retries >= MAX_RETRIES || ctx.has_failed_pods() {
        return None;
    }
    let ended = run.end_time.as_ref().map_or(ctx.pass.now, |t| t.0);
    Some(match run.retries {
        0 => ended,
        retries => add_duration(ended, retry_wait(retries)),
    })
}
