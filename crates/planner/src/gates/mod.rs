//! The gates in their order: what must hold before a step. The first one that does not is shown.

pub(crate) mod budget;
pub(crate) mod dns;
pub(crate) mod halted;
pub(crate) mod pacing;
pub(crate) mod policy;
pub(crate) mod privilege;
pub(crate) mod schedule;
pub(crate) mod topology;
pub(crate) mod workload;

use crate::target::TargetContext;
use crate::types::{ClosedGate, Gate, ResumeCause};
use dbbalance_api::status::{RunStatus, Trigger};
use halted::check_halted;
use privilege::Privilege;

/// How far the gates let a target that has something to do.
pub(crate) enum Admission {
    /// This halted run goes on.
    ResumeRun(Box<RunStatus>, ResumeCause),
    /// A run has to start.
    StartRun,
    /// The run must be recorded first.
    RecordFirst,
    /// The run is in progress and recorded: it may take a step.
    Proceed {
        /// Only urgent pods may move.
        only_urgent: bool,
    },
}

/// Takes a target through all gates that are checked before its pods are selected. `is_urgent`: it has the privileges of a
/// failover. `drains`: a user has asked for what it does. `own_running`: runs in progress of the policy's other targets.
pub(crate) fn check_gates(
    ctx: &TargetContext,
    is_urgent: bool,
    drains: bool,
    own_running: usize,
) -> Result<Admission, ClosedGate> {
    if let Some((run, cause)) = check_halted(ctx)? {
        return Ok(Admission::ResumeRun(Box::new(run), cause));
    }
    // A token skips gates for what it made stale, not for ever.
    let token = !ctx.stale.is_empty() && ctx.status.triggers.contains(&Trigger::Manual);
    let only_urgent = match check_run_gates(
        ctx,
        Privilege {
            urgent: false,
            token,
            drain: drains,
        },
    ) {
        Ok(()) => false,
        Err(closed) if !is_urgent => return Err(closed),
        Err(_) => {
            check_run_gates(
                ctx,
                Privilege {
                    urgent: true,
                    token,
                    drain: drains,
                },
            )?;
            true
        }
    };
    if ctx.running().is_none() {
        // What every service waits for is not done three at a time.
        if !is_urgent {
            pacing::check_cluster_runs(ctx.pass.world, own_running)?;
        }
        return Ok(Admission::StartRun);
    }
    // Only a run that is recorded is acted on.
    if !ctx.is_run_recorded() {
        return Ok(Admission::RecordFirst);
    }
    check_effects(ctx)?;
    Ok(Admission::Proceed { only_urgent })
}

fn check_run_gates(ctx: &TargetContext, privilege: Privilege) -> Result<(), ClosedGate> {
    topology::check_epoch(ctx, privilege)?;
    schedule::check_windows(ctx, privilege)?;
    if ctx.running().is_none() {
        schedule::check_limits(ctx, privilege)?;
    }
    workload::check_workload(ctx, privilege)
}

/// Checks that effects are not put off: by an opening, or by the last attempt.
fn check_effects(ctx: &TargetContext) -> Result<(), ClosedGate> {
    let now = ctx.pass.now;
    if let Some(until) = ctx.pass.world.effects_not_before.filter(|t| now < *t) {
        let message = "the epoch has just opened: pods of that second cannot be told apart";
        return Err(ClosedGate::until(Gate::EpochNotOpen, message, until));
    }
    match &ctx.found.backoff {
        Some(backoff) if now < backoff.until => Err(ClosedGate::until(
            backoff.gate,
            backoff.message.clone(),
            backoff.until,
        )),
        _ => Ok(()),
    }
}
