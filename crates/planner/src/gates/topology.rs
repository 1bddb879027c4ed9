//! The gates of topology and epoch: read, settled, open.

use super::privilege::Privilege;
use crate::policy::Policy;
use crate::target::TargetContext;
use crate::types::{ClosedGate, Gate};
use crate::world::TopologyState;
use dbbalance_api::spec::OnTimeout;
use dbbalance_api::status::PendingEpochStatus;
use dbbalance_core::change::Change;
use jiff::Timestamp;

/// Checks that the topology is current, and that no failover settles or is pending for the target.
pub(crate) fn check_epoch(ctx: &TargetContext, privilege: Privilege) -> Result<(), ClosedGate> {
    let not_current = |message: &str| Err(ClosedGate::new(Gate::TopologyNotCurrent, message));
    match &ctx.pass.world.topology {
        TopologyState::Current(_) => {}
        TopologyState::Pending => return not_current("the topology has not been read yet"),
        TopologyState::Failing { error, .. } => return not_current(&error.message),
    }
    if !privilege.token {
        let triggers = &ctx.pass.policy.triggers;
        let unsettled = ctx.pass.settling.unsettled(triggers, ctx.pass.now);
        let mut urgent = unsettled.into_iter();
        if let Some((change, at)) = urgent.find(|(c, _)| c.trigger().is_urgent()) {
            return Err(settling_gate(&change, at));
        }
    }
    if let Some(pending) = &ctx.pass.status.pending_epoch {
        let mine = pending.targets.contains(&ctx.policy.name);
        if mine && pending.triggers.iter().any(|t| t.is_urgent()) {
            return Err(pending_epoch_gate(ctx.pass.policy, pending));
        }
    }
    Ok(())
}

/// Returns the gate of a change that has to hold until this time.
pub(crate) fn settling_gate(change: &Change, at: Timestamp) -> ClosedGate {
    let message = format!("{} and must hold", change.describe());
    ClosedGate::until(Gate::Settle, message, at)
}

/// Returns the gate by which a pending epoch is held.
pub(crate) fn pending_epoch_gate(policy: &Policy, pending: &PendingEpochStatus) -> ClosedGate {
    let (epoch, cause) = (pending.epoch, &pending.message);
    let Some(waiting) = &pending.waiting_for else {
        let message = format!("epoch {epoch} ({cause}) is settled and not open yet");
        return ClosedGate::new(Gate::EpochNotOpen, message);
    };
    let deadline = policy.dns.deadline(pending);
    ClosedGate {
        gate: Gate::Dns,
        message: format!("epoch {epoch} ({cause}): {waiting}"),
        until: deadline.filter(|_| policy.dns.on_timeout == OnTimeout::Proceed),
    }
}
