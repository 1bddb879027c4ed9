//! The gates of pace: runs on the cluster, the interval between steps, the storm cap, unavailable pods.

use jiff::{SignedDuration, Timestamp};

use crate::target::TargetContext;
use crate::types::{ClosedGate, Gate};
use crate::world::World;
use dbbalance_core::pacing::{MAX_RUNS_PER_CLUSTER, STORM_CAP_PER_SECOND};

/// Checks that the cluster may have one more run. `own_running`: runs of the policy's other targets.
pub(crate) fn check_cluster_runs(world: &World, own_running: usize) -> Result<(), ClosedGate> {
    let running = world.peers.running + own_running;
    if running < MAX_RUNS_PER_CLUSTER {
        return Ok(());
    }
    Err(ClosedGate::new(
        Gate::Pacing,
        format!("{running} runs are in progress on the cluster, {MAX_RUNS_PER_CLUSTER} may be"),
    ))
}

/// Returns when the interval since the last step is over, if it is not.
pub(crate) fn interval_end(ctx: &TargetContext) -> Option<Timestamp> {
    let last = ctx.running()?.last_step_time.as_ref()?.0;
    let key = format!("{}/{}", ctx.pass.world.policy.uid, ctx.policy.name);
    let end = ctx.pass.policy.pacing.next_step(last, &key);
    (ctx.pass.now < end).then_some(end)
}

/// Returns when the storm cap admits the next pods, if it does not yet.
pub(crate) fn storm_cap_end(ctx: &TargetContext) -> Option<Timestamp> {
    let last = ctx.running()?.last_step_time.as_ref()?.0;
    let end = last.saturating_add(SignedDuration::from_secs(1)).ok()?;
    (ctx.pass.now < end).then_some(end)
}

/// Returns the gate of the storm cap.
pub(crate) fn storm_cap_gate(until: Timestamp) -> ClosedGate {
    let message = format!("at most {STORM_CAP_PER_SECOND} pods a second");
    ClosedGate::until(Gate::Pacing, message, until)
}

/// Returns how many pods are not Ready, missing, or Ready and being recycled.
pub(crate) fn count_busy(ctx: &TargetContext) -> usize {
    let stale = ctx.stale.iter();
    let in_flight = stale.filter(|p| p.ready && ctx.is_started(p)).count();
    ctx.missing() + in_flight
}

/// Returns the gate of the pace: the interval until this time, or as many pods as may be unavailable.
pub(crate) fn pacing_gate(ctx: &TargetContext, until: Option<Timestamp>) -> ClosedGate {
    let pacing = &ctx.pass.policy.pacing;
    if let Some(until) = until {
        let seconds = pacing.interval.as_secs();
        let message = format!("{seconds} s between steps, ±{}%", pacing.jitter_percent);
        return ClosedGate::until(Gate::Pacing, message, until);
    }
    let failed = match ctx.count_failed(&ctx.stale) {
        0 => String::new(),
        failed => format!("; {failed} failed twice"),
    };
    let missing = ctx.missing();
    ClosedGate::new(
        Gate::Pacing,
        format!(
            "{missing} of {} pods are not Ready and {} are being recycled, {} may be{failed}",
            ctx.wanted(),
            count_busy(ctx).saturating_sub(missing),
            ctx.max_unavailable()
        ),
    )
}
