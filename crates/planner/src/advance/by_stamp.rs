//! Advances a target by its stamps alone.

use jiff::Timestamp;

use super::{SelectedStep, Selector, TargetOutcome, TargetPlanner};
use crate::descriptions::actions::{
    describe_balance_run, describe_canary, describe_stale_run, describe_stamp_step,
};
use crate::descriptions::waiting::show_upcoming;
use crate::gates::dns::{self, DnsAdmission, LATE};
use crate::gates::pacing::{canary_watch_end, is_exempt};
use crate::runs::canary::{Canary, check_stamped_canary};
use crate::runs::lifecycle::{Halt, finish_fresh_run, halt_run, mark_verified};
use crate::runs::progress::last_gate;
use crate::selection::by_stamp;
use crate::types::{ClosedGate, Gate, Notice, Step};
use dbbalance_api::status::{HaltReason, Trigger};

impl TargetPlanner<'_, '_> {
    pub(super) fn advance_by_stamp(&mut self, policy_gate: Result<(), ClosedGate>) {
        if self.ctx.stale.is_empty() {
            return self.rest_fresh(policy_gate);
        }
        self.out.action = describe_stamp_step(&self.ctx);
        let outcome = policy_gate.and_then(|()| self.select_next_step(Selector::Stamps));
        self.apply_outcome(Selector::Stamps, outcome);
        let ends = [
            self.ctx.next_claim_end(),
            self.ctx.next_answer_end(),
            self.exempt_watch_end(),
        ];
        for end in ends.into_iter().flatten() {
            self.changes.wake_at(end);
        }
    }

    /// Checks DNS before a step, and says once that it has not followed in time.
    fn check_dns(&mut self, step: &Step) -> Result<(), ClosedGate> {
        let (name, world) = (&self.ctx.policy.name, self.ctx.pass.world);
        let was_waiting = last_gate(world, name) == Some(Gate::Dns);
        let late = |message: &str| Notice::DnsLate(format!("target {name}: {message}"));
        match dns::check_step(&self.ctx, step) {
            Ok(DnsAdmission::Open) => Ok(()),
            Ok(DnsAdmission::WriterAlone(message)) => {
                if was_waiting {
                    self.changes.notices.push(late(&message));
                }
                self.out.action = format!("{}; {message}", self.out.action);
                Ok(())
            }
            Err(hold) => {
                let shown = world.status.plan.iter().find(|p| p.target == *name);
                let was_late = shown.and_then(|p| p.message.as_deref());
                let was_late = was_late.is_some_and(|m| m.contains(LATE));
                if hold.is_late && !was_late {
                    self.changes.notices.push(late(&hold.closed.message));
                }
                self.changes.wake_at(hold.again);
                Err(hold.closed)
            }
        }
    }

    /// Returns when pods that are not Ready may follow the first of them, if they wait for that.
    fn exempt_watch_end(&self) -> Option<Timestamp> {
        let ctx = &self.ctx;
        let waits = !ctx.is_verified() && is_exempt(ctx, ctx.has_urgent_pods());
        let waits = waits && ctx.stale.iter().any(|p| !p.ready);
        canary_watch_end(ctx).filter(|_| waits)
    }

    /// Ends the run of a target without stale pods, and shows what comes next.
    fn rest_fresh(&mut self, policy_gate: Result<(), ClosedGate>) {
        if self.ctx.status.owned {
            finish_fresh_run(&mut self.ctx, self.changes);
        } else {
            let halt = Halt::new(HaltReason::TargetLost, "an older policy owns the pods");
            halt_run(&mut self.ctx, &halt, self.changes);
        }
        self.show_next(policy_gate);
    }

    /// Shows what comes next, and asks for a pass when that is known.
    pub(super) fn show_next(&mut self, policy_gate: Result<(), ClosedGate>) {
        show_upcoming(&self.ctx, policy_gate, &mut self.out);
        if let Some(until) = self.out.held.as_ref().and_then(|h| h.until) {
            self.changes.wake_at(until);
        }
    }

    pub(super) fn describe_run(&self, selector: Selector) -> (Vec<Trigger>, String) {
        match selector {
            Selector::Stamps => {
                let triggers = self.ctx.status.triggers.clone();
                (triggers, describe_stale_run(&self.ctx))
            }
            Selector::Evidence(assessment, _) => describe_balance_run(&self.ctx, assessment),
        }
    }

    pub(super) fn select_by_stamp(
        &mut self,
        only_urgent: bool,
    ) -> Result<TargetOutcome, ClosedGate> {
        self.out.boost_dns = dns::is_awaited(&self.ctx);
        if check_stamped_canary(&self.ctx) == Canary::Passed {
            let method = self.ctx.policy.recycle.method;
            let message = describe_canary(&self.ctx, method, "the first pod came back");
            mark_verified(&mut self.ctx, message, self.changes);
            return Ok(TargetOutcome::Recorded);
        }
        let selected = by_stamp::select_step(&mut self.ctx, only_urgent, self.own_in_flight)?;
        if let Some((step, _)) = &selected {
            self.check_dns(step)?;
        }
        Ok(selected.map_or(TargetOutcome::InProgress, |(step, adds)| {
            TargetOutcome::Step(SelectedStep {
                step,
                adds,
                memory: None,
            })
        }))
    }
}
