//! What a target waits for: the gates of the balance, and what is shown of a target with nothing to do.

use jiff::Timestamp;

use crate::gates::topology::{pending_epoch_gate, settling_gate};
use crate::target::{PassContext, TargetContext};
use crate::types::{ClosedGate, Gate, TargetPlan};
use dbbalance_core::balance::Wait;
use dbbalance_core::epoch::is_enabled;
use dbbalance_core::topology::InstanceId;

/// Shows of a target without stale pods what holds the policy, or what settles and concerns it.
pub(crate) fn show_upcoming(
    ctx: &TargetContext,
    policy_gate: Result<(), ClosedGate>,
    out: &mut TargetPlan,
) {
    if let Err(closed) = policy_gate
        && matches!(
            closed.gate,
            Gate::InvalidSpec
                | Gate::TargetConflict
                | Gate::TargetNotFound
                | Gate::Refused
                | Gate::Suspended
                | Gate::Paused
        )
    {
        out.held = Some(closed);
        return;
    }
    if let Some(pending) = &ctx.pass.status.pending_epoch {
        if pending.targets.contains(&ctx.policy.name) {
            out.action = format!("recycle for epoch {}", pending.epoch);
            out.held = Some(pending_epoch_gate(ctx.pass.policy, pending));
        }
        return;
    }
    let triggers = &ctx.pass.policy.triggers;
    let unsettled = ctx.pass.settling.unsettled(triggers, ctx.pass.now);
    let mine = unsettled.into_iter().filter(|(change, _)| {
        let trigger = change.trigger();
        is_enabled(triggers, trigger) && ctx.policy.is_concerned_by(trigger)
    });
    if let Some((change, at)) = mine.min_by_key(|(_, at)| *at) {
        "raise an epoch".clone_into(&mut out.action);
        out.held = Some(settling_gate(&change, at));
    }
}

/// Returns the gate for what the balance waits for.
pub(crate) fn balance_gate(pass: &PassContext, wait: Option<&Wait>) -> ClosedGate {
    let world = pass.world;
    let (gate, message, until) = match wait {
        Some(Wait::GateClosed { since, .. }) => {
            let since = round_to_second(*since);
            let message = format!(
                "the reader endpoint must lead to a reader with too few connections; asked since {since}"
            );
            (Gate::Dns, message, None)
        }
        Some(Wait::NotTold { receiver, .. }) => {
            let (message, until) = pass.name.describe_wait(receiver);
            (Gate::Dns, message, until)
        }
        Some(Wait::NeverNamed { readers, until }) => {
            let message = format!(
                "the reader endpoint has not named {} yet",
                join_instances(readers)
            );
            (Gate::Dns, message, Some(*until))
        }
        Some(Wait::DnsDisagrees { need, .. }) => {
            let failure = world.dns.failure();
            let failure = failure.map_or_else(String::new, |f| format!(" (the last failed: {f})"));
            let message =
                format!("{need} look-ups in a row must lead to the right member{failure}");
            (Gate::Dns, message, None)
        }
        Some(Wait::MeasureFirst { .. } | Wait::Broken { .. }) | None => {
            let message = "a new reading of the pods is awaited".to_owned();
            (Gate::Evidence, message, None)
        }
        Some(Wait::Settling { .. }) => {
            let message = "recycled pods are not back; the next go when these were measured";
            (Gate::Pacing, message.to_owned(), None)
        }
        Some(Wait::PodCooldown { until, .. }) => {
            let message = "every pod that could help was recycled just now".to_owned();
            (Gate::Pacing, message, Some(*until))
        }
        Some(
            wait @ (Wait::NothingFree
            | Wait::OthersMoving
            | Wait::GaveUp(_)
            | Wait::Incurable(_)
            | Wait::NotTriggered { .. }),
        ) => (Gate::Pacing, wait.to_string(), None),
    };
    ClosedGate {
        gate,
        message,
        until,
    }
}

/// Returns the gate of stale pods that are misplaced, when no more may be done about it.
pub(crate) fn exhausted_gate(ctx: &TargetContext) -> ClosedGate {
    ClosedGate::new(
        Gate::Pacing,
        format!(
            "the connections of up to {} stale pods are misplaced still, and these pods were recycled as often as a pod may be in a run, or cannot be",
            ctx.stale.len()
        ),
    )
}

fn join_instances(instances: &[InstanceId]) -> String {
    let names: Vec<&str> = instances.iter().map(|n| n.0.as_str()).collect();
    names.join(" or ")
}

pub(super) fn round_to_second(time: Timestamp) -> Timestamp {
    time.round(jiff::Unit::Second).unwrap_or(time)
}
