//! What a target wants of the name of `spec.dns.steering`: the receiver of its next batch, or of the one on its way.

use super::{TargetOutcome, TargetPlanner};
use crate::selection::single_pod_method;
use crate::types::{ClosedGate, Gate};
use dbbalance_core::balance::{Decision, find_batch_receiver};
use dbbalance_core::narrow::WidenReason;
use dbbalance_core::topology::InstanceId;
use dbbalance_core::workload::WorkloadFacts;

impl TargetPlanner<'_, '_> {
    /// Says what comes of the gates and the selection for the name.
    pub(super) fn wish_for_name(
        &mut self,
        decision: &Decision,
        outcome: &Result<TargetOutcome, ClosedGate>,
    ) {
        let standing = self.keep_if_standing(decision.receiver.as_ref());
        let wish = match outcome {
            Ok(TargetOutcome::Wait { .. } | TargetOutcome::Step(_)) => {
                self.decided.clone().unwrap_or(standing)
            }
            // What is recorded first, or goes on by itself, narrows nothing anew.
            Ok(TargetOutcome::Recorded | TargetOutcome::InProgress) => standing,
            Err(closed) if closed.gate == Gate::TargetNotSettled => Err(WidenReason::TargetMoving),
            Err(closed) if closed.gate.is_pace() => standing,
            Err(_) => self.keep_for_batch(),
        };
        self.wish = self.check_target(wish);
    }

    /// Keeps the name for a batch that is on its way, whatever the evidence says meanwhile.
    pub(super) fn keep_name_for_batch(&mut self) {
        let wish = self.keep_for_batch();
        self.wish = self.check_target(wish);
    }

    fn keep_for_batch(&self) -> Result<InstanceId, WidenReason> {
        let memory = self.ctx.status.balance.as_ref();
        let receiver = memory.and_then(find_batch_receiver);
        let kept = self.keep_if_standing(receiver.as_ref());
        kept.map_err(|_| WidenReason::Held)
    }

    /// Returns this receiver if the name is narrowed to it already.
    fn keep_if_standing(&self, receiver: Option<&InstanceId>) -> Result<InstanceId, WidenReason> {
        let ctx = &self.ctx;
        let (run, method) = (ctx.recorded_run(), single_pod_method(ctx));
        let lead = ctx.pass.name.lead_for(run, method, ctx.pass.now);
        let standing = lead.and_then(|lead| lead.narrowed_to);
        let kept = receiver.filter(|id| standing == Some(*id));
        kept.cloned().ok_or(WidenReason::NothingLeft)
    }

    /// Refuses a wish while a rollout moves the target's pods, which would all land on the receiver; and at the end of the
    /// hold, unless a batch is on its way.
    fn check_target(
        &self,
        wish: Result<InstanceId, WidenReason>,
    ) -> Result<InstanceId, WidenReason> {
        let ctx = &self.ctx;
        let workload = ctx.found.workload.as_ref();
        if workload.is_some_and(WorkloadFacts::is_moving_pods) {
            return Err(WidenReason::TargetMoving);
        }
        let (run, method) = (ctx.recorded_run(), single_pod_method(ctx));
        let is_ending = ctx.pass.name.is_ending_for(run, method, ctx.pass.now);
        if is_ending && wish.is_ok() && self.keep_for_batch().is_err() {
            return Err(WidenReason::HoldOver);
        }
        wish
    }
}
