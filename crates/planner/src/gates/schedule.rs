//! The gates of time: windows, and the limits between runs.

use jiff::SignedDuration;

use super::privilege::Privilege;
use crate::target::TargetContext;
use crate::times::add_duration;
use crate::types::{ClosedGate, Gate};
use dbbalance_api::status::RunResult;
use dbbalance_core::epoch::flapping_until;
use dbbalance_core::window;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Checks the windows, which hold within a run too.
pub(crate) fn check_windows(ctx: &TargetContext, privilege: Privilege) -> Result<(), ClosedGate> {
    if privilege.skips_schedule() {
        return Ok(());
    }
    let facts = &ctx.pass.world.policy;
    let key = format!("{}/{}", facts.namespace, facts.name);
    let windows = &ctx.pass.policy.windows;
    window::check_windows(windows, ctx.pass.now, &key).map_err(|closed| ClosedGate {
        gate: Gate::Window,
        message: closed.message,
        until: closed.until,
    })
}

/// Checks the limits between runs: cooldown, runs in an hour, flapping readers.
pub(crate) fn check_limits(ctx: &TargetContext, privilege: Privilege) -> Result<(), ClosedGate> {
    if privilege.skips_schedule() {
        return Ok(());
    }
    let (limits, now) = (&ctx.pass.policy.limits, ctx.pass.now);
    let run = ctx.status.run.as_ref();
    let superseding = run.is_some_and(|r| r.result == RunResult::Superseded);
    if let (Some(end), false) = (&ctx.status.last_run_end_time, superseding) {
        let until = add_duration(end.0, limits.cooldown);
        if now < until {
            let seconds = limits.cooldown.as_secs();
            let message = format!("{seconds} s after the end of the last run");
            return Err(ClosedGate::until(Gate::Cooldown, message, until));
        }
    }
    let hour_ago = add_duration(now, -HOUR);
    let times = ctx.status.run_times.iter();
    let recent: Vec<_> = times.filter(|t| t.0 > hour_ago).collect();
    if recent.len() >= limits.max_runs_per_hour {
        return Err(ClosedGate {
            gate: Gate::HourlyLimit,
            message: format!(
                "{} runs began within the last hour, {} may",
                recent.len(),
                limits.max_runs_per_hour
            ),
            until: recent.first().map(|t| add_duration(t.0, HOUR)),
        });
    }
    if let Some(until) = flapping_until(&ctx.pass.status.reader_changes, now) {
        let message = "readers came and went more than 3 times within an hour: waiting for 30 minutes without";
        return Err(ClosedGate::until(Gate::Flapping, message, until));
    }
    Ok(())
}
