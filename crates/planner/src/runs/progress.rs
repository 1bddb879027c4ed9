//! The progress of runs: what they have recycled, what failed, and when one halts.

use super::RunChanges;
use super::lifecycle::{Halt, halt_run, mark_progress};
use crate::target::{Stage, TargetContext, status_count};
use crate::times::add_duration;
use crate::types::{ClosedGate, Gate, Notice, TargetPlan};
use crate::world::World;
use dbbalance_api::spec::Method;
use dbbalance_api::status::{HaltReason, RunStatus, TargetStatus};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Attempt;

/// By what the pods of a run are selected, as far as its progress depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressKind {
    /// A pod is recycled when it is stale no longer. Every gate but the pace stops the deadline.
    ByStamp,
    /// A pod is recycled when it was moved. The deadline runs while the pace holds, or a reading is awaited; the balance
    /// bounds its waits for DNS itself.
    ByEvidence {
        /// Whether pods are misplaced since a failover that the run has not tried yet.
        has_untried: bool,
    },
}

impl ProgressKind {
    /// Whether the progress deadline runs on while this gate holds.
    fn counts(self, gate: Gate) -> bool {
        gate.is_pace() || (matches!(self, Self::ByEvidence { .. }) && gate == Gate::Evidence)
    }
}

/// Counts what the run in progress has recycled and what failed, and halts it when it does not come forward.
pub(crate) fn check_progress(
    ctx: &mut TargetContext,
    kind: ProgressKind,
    out: &mut TargetPlan,
    changes: &mut RunChanges,
) {
    if ctx.running().is_none() {
        return;
    }
    let by_gate = out.held.as_ref().is_some_and(|h| !kind.counts(h.gate));
    count_progress(ctx, kind, by_gate);
    let stalls = match kind {
        ProgressKind::ByStamp => !by_gate,
        ProgressKind::ByEvidence { .. } => !by_gate && out.held.is_some(),
    };
    let halt = find_failure(ctx, kind).or_else(|| {
        let halt = find_stall(ctx, kind, out.held.as_ref());
        halt.filter(|_| stalls)
    });
    let Some(halt) = halt else {
        if stalls && let Some(deadline) = progress_deadline(ctx) {
            changes.wake_at(deadline);
        }
        return;
    };
    publish_revert(ctx, kind, &halt.message, changes);
    halt_run(ctx, &halt, changes);
    out.step = None;
    out.running = false;
    let retry = ctx.status.run.as_ref().and_then(|r| r.retry_time.as_ref());
    let until = retry.map(|t| t.0);
    if let Some(at) = until {
        changes.wake_at(at);
    }
    out.held = Some(ClosedGate {
        gate: Gate::Halted,
        message: halt.message,
        until,
    });
}

/// Counts recycled and failed pods. Progress is also that a gate other than the pace has just opened.
fn count_progress(ctx: &mut TargetContext, kind: ProgressKind, by_gate: bool) {
    let pods = match kind {
        ProgressKind::ByStamp => &ctx.stale,
        ProgressKind::ByEvidence { .. } => &ctx.counted,
    };
    let failed = status_count(ctx.count_failed(pods) + ctx.count_ended());
    let moved = ctx.counted.iter().filter(|p| ctx.moved_in_run(p).is_some());
    let moved = status_count(moved.count());
    let stale = ctx.status.stale;
    let was_held = last_gate(ctx.pass.world, &ctx.status.name).is_some_and(|g| !kind.counts(g));
    let Some(run) = ctx.running_mut() else { return };
    let recycled = match kind {
        ProgressKind::ByStamp => run.stale.saturating_sub(stale),
        ProgressKind::ByEvidence { .. } => moved,
    };
    let recycled = recycled.max(run.recycled);
    let by_stamp = kind == ProgressKind::ByStamp;
    let more = by_stamp && (recycled > run.recycled || failed > run.failed);
    run.recycled = recycled;
    run.failed = failed;
    if more || (was_held && !by_gate) {
        mark_progress(ctx);
    }
}

/// Returns why the run in progress must halt at once, if it must.
fn find_failure(ctx: &TargetContext, kind: ProgressKind) -> Option<Halt> {
    let run = ctx.running()?;
    let method = ctx.policy.recycle.method;
    let by_stamp = kind == ProgressKind::ByStamp;
    if by_stamp && ctx.status.reverted_epoch == Some(run.epoch) {
        return Some(Halt::new(
            HaltReason::StampReverted,
            "somebody took the stamp from the pod template (GitOps?); it is not put back before the next epoch",
        ));
    }
    if let Some(halt) = find_ended_app(ctx) {
        return Some(halt);
    }
    let (name, cause) = (method.as_str(), last_failure(ctx));
    let (failed, counted) = (run.failed, ctx.counted.len());
    let allowed = allowed_failures(ctx);
    if usize::try_from(failed).unwrap_or(0) > allowed && !may_help_others(ctx, kind) {
        return Some(Halt::new(
            HaltReason::MethodFailed,
            format!("{name} failed twice on {failed} of {counted} pods, {allowed} may fail{cause}"),
        ));
    }
    let has_canary = !by_stamp || method != Method::Rollout;
    (failed > 0 && !ctx.is_verified() && has_canary).then(|| {
        let message = format!("{name} failed twice on the first pod, so no other is tried{cause}");
        Halt::new(HaltReason::MethodFailed, message)
    })
}

/// Whether a failover's run goes on with pods that were not tried yet, however many others have failed: the method has worked
/// on one, and takes nothing away from those that it does not reach.
fn may_help_others(ctx: &TargetContext, kind: ProgressKind) -> bool {
    let is_untried = |p: &&PodFacts| ctx.is_urgent(p) && ctx.stage(p) == Stage::Due(Attempt::First);
    let has_untried = match kind {
        ProgressKind::ByStamp => ctx.stale.iter().any(is_untried),
        ProgressKind::ByEvidence { has_untried } => has_untried,
    };
    has_untried && ctx.takes_nothing_away() && ctx.is_verified()
}

/// Returns how many pods may fail: a tenth of them, and at least one.
fn allowed_failures(ctx: &TargetContext) -> usize {
    (ctx.counted.len() / 10).max(1)
}

/// Returns the halt of a run whose method ends the app: at the first pod until the method is verified, and then when more
/// pods had it than may fail.
fn find_ended_app(ctx: &TargetContext) -> Option<Halt> {
    let mut pods = ctx.standing();
    let (pod, container) = pods.find_map(|p| Some((p, ctx.ended_container(p)?)))?;
    let allowed = if ctx.is_verified() {
        allowed_failures(ctx)
    } else {
        0
    };
    if ctx.count_ended() <= allowed {
        return None;
    }
    let method = ctx.policy.recycle.method.as_str();
    Some(Halt::new(
        HaltReason::AppEnded,
        format!(
            "{method} ended container {container} of pod {} instead of renewing its connections: let the app handle it, or set another recycle.method",
            pod.name
        ),
    ))
}

/// Returns why the run in progress halts for want of progress, if its deadline has passed.
fn find_stall(ctx: &TargetContext, kind: ProgressKind, held: Option<&ClosedGate>) -> Option<Halt> {
    progress_deadline(ctx).filter(|at| *at <= ctx.pass.now)?;
    let seconds = ctx.pass.policy.pacing.progress_deadline.as_secs();
    let pods = match kind {
        ProgressKind::ByStamp => {
            let (stale, counted) = (ctx.status.stale, ctx.counted.len());
            format!(" with {stale} of {counted} pods stale")
        }
        ProgressKind::ByEvidence { .. } => String::new(),
    };
    let waits = held.map_or_else(String::new, |h| format!(": {}", h.message));
    let cause = last_failure(ctx);
    let message = format!("no progress for {seconds} s{pods}{waits}{cause}");
    Some(Halt::new(HaltReason::NoProgress, message))
}

fn progress_deadline(ctx: &TargetContext) -> Option<jiff::Timestamp> {
    let run = ctx.running()?;
    let wait = ctx.pass.policy.pacing.progress_deadline;
    Some(add_duration(run.last_progress_time.0, wait))
}

fn last_failure(ctx: &TargetContext) -> String {
    let message = ctx.running().and_then(|r| r.message.as_ref());
    message.map_or_else(String::new, |m| format!("; the last failure: {m}"))
}

/// Publishes once that the stamp was removed from the template.
fn publish_revert(
    ctx: &TargetContext,
    kind: ProgressKind,
    message: &str,
    changes: &mut RunChanges,
) {
    let reverted = ctx.status.reverted_epoch;
    let of_run = ctx.running().is_some_and(|r| reverted == Some(r.epoch));
    let known = ctx.recorded().is_some_and(|t| t.reverted_epoch == reverted);
    if kind == ProgressKind::ByStamp && of_run && !known {
        let note = format!("target {}: {message}", ctx.status.name);
        changes.notices.push(Notice::RevertDetected(note));
    }
}

/// Returns the gate that held the target in the last pass.
pub(crate) fn last_gate(world: &World, target: &str) -> Option<Gate> {
    let mut last = world.status.plan.iter().filter(|p| p.target == target);
    let gate = last.next()?.waiting_for.as_deref()?;
    Gate::ALL.into_iter().find(|g| g.as_str() == gate)
}

/// Whether a target's run counts among those in progress, as the last pass left it.
pub(crate) fn was_running(world: &World, target: &TargetStatus) -> bool {
    let run = target.run.as_ref();
    let was_held = last_gate(world, &target.name).is_some_and(|g| !g.is_pace());
    run.is_some_and(RunStatus::is_counted) && !was_held
}
