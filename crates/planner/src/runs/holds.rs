//! Holds that last: what the condition `Stalled` says of a run that waits for something which may never come.

use jiff::{SignedDuration, Timestamp};

use crate::times::add_duration;
use crate::types::Gate;
use dbbalance_api::spec::DbBalancePolicySpec;
use dbbalance_api::status::{DbBalancePolicyStatus, PlanStatus, RunResult, TargetStatus};

/// How long evictions may be refused before the run is said to be stalled: a rollout or a drain that uses up a budget
/// takes minutes (docs/adr/0010-canary-and-halting.md). The run goes on trying.
const REFUSED_FOR: SignedDuration = SignedDuration::from_mins(5);

/// A run that is held for longer than it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastingHold {
    /// The reason of the condition.
    pub reason: &'static str,
    /// The target, what it waits for and what to do.
    pub message: String,
}

/// Returns the first run in progress that is held for too long, as the status shows it: by a `PodDisruptionBudget`, or by
/// DNS after `dns.timeoutSeconds`.
#[must_use]
pub fn find_lasting_hold(
    status: &DbBalancePolicyStatus,
    spec: &DbBalancePolicySpec,
    now: Timestamp,
) -> Option<LastingHold> {
    status.plan.iter().find_map(|plan| {
        let target = status.targets.iter().find(|t| t.name == plan.target)?;
        judge_hold(target, plan, spec, now)
    })
}

fn judge_hold(
    target: &TargetStatus,
    plan: &PlanStatus,
    spec: &DbBalancePolicySpec,
    now: Timestamp,
) -> Option<LastingHold> {
    let run = target.run.as_ref();
    let run = run.filter(|r| r.result == RunResult::Running)?;
    let (gate, held) = (plan.waiting_for.as_deref()?, plan.message.as_deref()?);
    let has_passed = |from: Timestamp, wait| add_duration(from, wait) <= now;
    let name = &target.name;
    if gate == Gate::DisruptionBudget.as_str() && has_passed(run.last_progress_time.0, REFUSED_FOR)
    {
        let minutes = REFUSED_FOR.as_mins();
        return Some(LastingHold {
            reason: "EvictionsRefused",
            message: format!(
                "{name}: no pod could be evicted for {minutes} minutes or more: {held}; let the PodDisruptionBudget allow a disruption, or use Signal or HTTP"
            ),
        });
    }
    let timeout = SignedDuration::from_secs(spec.dns.timeout_seconds.into());
    let opened = target.urgent_open_time.as_ref()?.0;
    let is_urgent = run.triggers.iter().any(|t| t.is_urgent());
    (gate == Gate::Dns.as_str() && is_urgent && has_passed(opened, timeout)).then(|| LastingHold {
        reason: "DNSNotFollowed",
        message: format!("{name}: {held}"),
    })
}
