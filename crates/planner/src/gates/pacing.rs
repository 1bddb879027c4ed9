//! The gates of pace: runs on the cluster, the interval between steps, the storm cap, unavailable pods.

use jiff::{SignedDuration, Timestamp};

use crate::target::{CANARY_WATCH, TargetContext};
use crate::times::add_duration;
use crate::types::{ClosedGate, Gate};
use crate::world::World;
use dbbalance_core::pacing::{MAX_RUNS_PER_CLUSTER, STORM_CAP_PER_SECOND};
use dbbalance_core::pod::PodFacts;

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

/// What steps wait beyond `dns.holdSeconds` after a failover: an answer that is kept as long has then ended.
const AFTER_HOLD: SignedDuration = SignedDuration::from_secs(1);

/// Returns when the interval since the last step is over, if it is not. After a failover, steps of a verified method that
/// takes nothing away wait only until caches have ended the answer of the last step: the pods' connections are broken.
pub(crate) fn interval_end(ctx: &TargetContext) -> Option<Timestamp> {
    let last = ctx.running()?.last_step_time.as_ref()?.0;
    let key = format!("{}/{}", ctx.pass.world.policy.uid, ctx.policy.name);
    let mut end = ctx.pass.policy.pacing.next_step(last, &key);
    if ctx.is_verified() && is_exempt(ctx, ctx.has_urgent_pods()) {
        let wait = ctx.pass.policy.dns.hold.saturating_add(AFTER_HOLD);
        end = end.min(add_duration(last, wait));
    }
    if !ctx.is_verified() {
        end = end.max(add_duration(last, CANARY_WATCH));
    }
    (ctx.pass.now < end).then_some(end)
}

/// Whether the first pod's recycle is so recent that an end of its app may not be reported yet.
pub(crate) fn is_canary_watched(ctx: &TargetContext) -> bool {
    canary_watch_end(ctx).is_some()
}

/// Returns until when the last step is watched for an end of an app, if it is still.
pub(crate) fn canary_watch_end(ctx: &TargetContext) -> Option<Timestamp> {
    let last = ctx.running().and_then(|r| r.last_step_time.as_ref())?;
    let end = add_duration(last.0, CANARY_WATCH);
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

/// Returns how many pods count against `maxUnavailable`.
///
/// A method that takes pods away must leave those that serve, so all that are missing count, whoever took them. One that
/// takes nothing away counts what it may have harmed: pods whose recycle is in progress, and pods that are not Ready since.
pub(crate) fn count_busy(ctx: &TargetContext) -> usize {
    if ctx.takes_nothing_away() {
        let counted = ctx.counted.iter();
        let in_flight = counted.filter(|p| ctx.is_started(p) && !ctx.is_unanswered(p));
        return in_flight.count() + ctx.count_lost();
    }
    let stale = ctx.stale.iter();
    let in_flight = stale.filter(|p| p.ready && ctx.is_started(p)).count();
    ctx.missing() + in_flight
}

/// Returns how many pods may be busy at once. A percentage rounds up where each pod that waits is broken by a failover and a
/// recycle takes none away, and down otherwise (docs/adr/0011-pacing.md).
pub(crate) fn max_busy(ctx: &TargetContext) -> usize {
    if is_exempt(ctx, ctx.has_urgent_pods()) {
        ctx.pass.policy.pacing.max_renewed(ctx.wanted())
    } else {
        ctx.max_unavailable()
    }
}

/// Returns how many pods may be taken now.
pub(crate) fn count_free(ctx: &TargetContext) -> usize {
    max_busy(ctx).saturating_sub(count_busy(ctx))
}

/// Returns how many pods that are not Ready may be evicted now. They serve nobody, so they take nothing from
/// `maxUnavailable`; but their successors must show first that they become Ready.
pub(crate) fn count_free_to_replace(ctx: &TargetContext) -> usize {
    let pods = ctx.found.pods.iter().filter(|p| !p.finished);
    let since = ctx.running().map(|r| r.start_time.0);
    let is_successor = |p: &PodFacts| since.is_some_and(|since| p.created >= since);
    let waiting = pods
        .clone()
        .filter(|p| !p.ready && (p.terminating || ctx.is_started(p) || is_successor(p)));
    let existing = pods.filter(|p| !p.terminating).count();
    let absent = ctx.wanted().saturating_sub(existing);
    let serving = ctx.stale.iter().filter(|p| p.ready && ctx.is_started(p));
    let busy = waiting.count().max(absent) + serving.count();
    ctx.max_unavailable().saturating_sub(busy)
}

/// Whether a pod is exempt from `maxUnavailable` and from the canary, under the storm cap: its connections are broken by a
/// failover, and the method takes nothing away. Ends with the first pod that a recycle has made worse.
pub(crate) fn is_exempt(ctx: &TargetContext, urgent: bool) -> bool {
    urgent && ctx.takes_nothing_away() && !ctx.standing().any(|p| ctx.is_worse(p))
}

/// Returns the gate of the pace: the interval until this time, or as many pods as may be unavailable.
pub(crate) fn pacing_gate(ctx: &TargetContext, until: Option<Timestamp>) -> ClosedGate {
    let pacing = &ctx.pass.policy.pacing;
    if let Some(until) = until {
        let seconds = pacing.interval.as_secs();
        let message = if is_exempt(ctx, ctx.has_urgent_pods()) {
            format!("at most {seconds} s between steps after a failover")
        } else {
            format!("{seconds} s between steps, ±{}%", pacing.jitter_percent)
        };
        return ClosedGate::until(Gate::Pacing, message, until);
    }
    let failed = match ctx.count_failed(&ctx.stale) {
        0 => String::new(),
        failed => format!("; {failed} failed twice"),
    };
    let (wanted, most, busy) = (ctx.wanted(), max_busy(ctx), count_busy(ctx));
    let message = if ctx.takes_nothing_away() {
        format!(
            "{busy} of {wanted} pods are being recycled or not Ready since their recycle, at most {most} may be{failed}"
        )
    } else {
        let missing = ctx.missing();
        let recycled = busy.saturating_sub(missing);
        format!(
            "{missing} of {wanted} pods are not Ready and {recycled} are being recycled, {most} may be{failed}"
        )
    };
    ClosedGate::new(Gate::Pacing, message)
}
