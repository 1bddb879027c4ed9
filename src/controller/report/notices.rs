//! Publishes events on the policy and counts transitions, once each.
//!
//! It runs after the status is written, so that a repeated reconcile does not report twice.

use std::time::Duration;

use kube::runtime::events::EventType;

use crate::controller::context::ReportContext;
use crate::k8s::events::EventReason;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_api::status::{DbBalancePolicyStatus, RunResult, Trigger};
use dbbalance_planner::Notice;
use dbbalance_planner::world::World;

/// Publishes the notices of a plan, conditions that have turned False, pauses, and gates that have closed.
pub(super) async fn publish_notices(
    policy: &DbBalancePolicy,
    world: &World,
    status: &DbBalancePolicyStatus,
    notices: &[Notice],
    ctx: ReportContext<'_>,
) {
    for notice in notices {
        count_notice(notice, status, ctx);
        let (type_, reason, note) = event_for(notice);
        tracing::info!(
            policy = world.policy.name,
            namespace = world.policy.namespace,
            reason = reason.as_str(),
            note,
            "Published notice"
        );
        ctx.events.publish(policy, type_, reason, note).await;
    }
    for (type_, reason) in [
        (ConditionType::TopologyObserved, EventReason::TopologyStale),
        (ConditionType::Ready, EventReason::InvalidSpec),
        (ConditionType::Steered, EventReason::Blocked),
    ] {
        if let Some(message) = turned_false(&world.status, status, type_) {
            let reason = match conditions::find_condition(&status.conditions, type_)
                .map(|c| c.reason.as_str())
            {
                Some("TargetConflict") => EventReason::TargetConflict,
                Some("InvalidSpec" | "TargetOverlap" | "RoleNotAllowed" | "ClusterNotAllowed") => {
                    EventReason::InvalidSpec
                }
                Some(_) if type_ == ConditionType::Ready => EventReason::Blocked,
                _ => reason,
            };
            ctx.events
                .publish(policy, EventType::Warning, reason, &message)
                .await;
        }
    }
    let paused = (is_paused(&world.status), is_paused(status));
    if paused == (false, true) {
        let note = "paused: no pod is recycled until the policy is resumed; the topology is still followed";
        ctx.events
            .publish(policy, EventType::Normal, EventReason::Paused, note)
            .await;
    } else if paused == (true, false) {
        let note = "resumed: due recycles start now, at the configured pace";
        ctx.events
            .publish(policy, EventType::Normal, EventReason::Resumed, note)
            .await;
    }
    for plan in &status.plan {
        let before = world.status.plan.iter().find(|p| p.target == plan.target);
        let gate = plan.waiting_for.as_deref();
        if before.and_then(|p| p.waiting_for.as_deref()) == gate {
            continue;
        }
        let reason = match gate {
            Some("DisruptionBudget" | "APIServer" | "Budget" | "BudgetUnknown" | "Refused") => {
                EventReason::Blocked
            }
            Some("HourlyLimit" | "Flapping") => EventReason::LimitReached,
            _ => continue,
        };
        let note = format!(
            "target {}: {}: {}",
            plan.target,
            gate.unwrap_or_default(),
            plan.message.as_deref().unwrap_or_default()
        );
        ctx.events
            .publish(policy, EventType::Warning, reason, &note)
            .await;
    }
}

fn is_paused(status: &DbBalancePolicyStatus) -> bool {
    status
        .plan
        .iter()
        .any(|p| matches!(p.waiting_for.as_deref(), Some("Paused" | "Suspended")))
}

/// Returns the message of a condition that has just turned False, or is False for another reason.
fn turned_false(
    before: &DbBalancePolicyStatus,
    after: &DbBalancePolicyStatus,
    type_: ConditionType,
) -> Option<String> {
    let was = conditions::find_condition(&before.conditions, type_);
    let is =
        conditions::find_condition(&after.conditions, type_).filter(|c| c.status == "False")?;
    let same = was.is_some_and(|w| w.status == "False" && w.reason == is.reason);
    (!same).then(|| format!("{type_} is False: {}: {}", is.reason, is.message))
}

/// Returns type, reason and note of a notice's event.
fn event_for(notice: &Notice) -> (EventType, EventReason, &str) {
    use EventType::{Normal, Warning};
    match notice {
        Notice::Baseline(n) => (Normal, EventReason::TopologyBaseline, n),
        Notice::StatusLost(n) => (Warning, EventReason::StatusLost, n),
        Notice::Settled(n) => (Normal, EventReason::EpochSettled, n),
        Notice::DnsLate(n) => (Warning, EventReason::Blocked, n),
        Notice::Requested(n) => (Normal, EventReason::RecycleRequested, n),
        Notice::RunStarted(n) => (Normal, EventReason::RunStarted, n),
        Notice::CanaryPassed(n) => (Normal, EventReason::CanaryPassed, n),
        Notice::RunSucceeded(n, _) => (Normal, EventReason::RunSucceeded, n),
        Notice::RunUneven(n, _) => (Warning, EventReason::RunUneven, n),
        Notice::RunHalted(n, _) => (Warning, EventReason::RunHalted, n),
        Notice::RunSuperseded(n, _) => (Normal, EventReason::RunSuperseded, n),
        Notice::RevertDetected(n) => (Warning, EventReason::RevertDetected, n),
        Notice::Conflict(n) => (Warning, EventReason::TargetConflict, n),
        Notice::FallbackUsed(n) => (Warning, EventReason::FallbackUsed, n),
        Notice::RecycleFailed(n) => (Warning, EventReason::RecycleFailed, n),
        Notice::WeightsFightDns(n) => (Warning, EventReason::WeightsFightDNS, n),
        Notice::Narrowed(n) => (Normal, EventReason::Narrowed, n),
        Notice::Widened(n) => (Normal, EventReason::Widened, n),
    }
}

fn count_notice(notice: &Notice, status: &DbBalancePolicyStatus, ctx: ReportContext<'_>) {
    let ended = |triggers: &[Trigger], result: RunResult| {
        let took = status
            .history
            .first()
            .and_then(|r| {
                r.end_time
                    .as_ref()
                    .map(|e| e.0.duration_since(r.start_time.0))
            })
            .and_then(|d| Duration::try_from(d).ok())
            .unwrap_or_default();
        for trigger in triggers {
            ctx.metrics.count_run(*trigger, result, took);
        }
    };
    match notice {
        Notice::Settled(_) => {
            if let Some(pending) = &status.pending_epoch {
                ctx.metrics.count_epoch(&pending.triggers);
            }
        }
        Notice::RunSucceeded(_, t) => ended(t, RunResult::Succeeded),
        Notice::RunUneven(_, t) => ended(t, RunResult::Uneven),
        Notice::RunHalted(_, t) => ended(t, RunResult::Halted),
        Notice::RunSuperseded(_, t) => ended(t, RunResult::Superseded),
        Notice::RevertDetected(_) => ctx.metrics.count_revert(),
        Notice::Baseline(_)
        | Notice::StatusLost(_)
        | Notice::DnsLate(_)
        | Notice::Requested(_)
        | Notice::RunStarted(_)
        | Notice::CanaryPassed(_)
        | Notice::Conflict(_)
        | Notice::FallbackUsed(_)
        | Notice::RecycleFailed(_)
        | Notice::WeightsFightDns(_)
        | Notice::Narrowed(_)
        | Notice::Widened(_) => {}
    }
}
