//! Reconciles one policy: observe, validate, plan, apply, report; then schedules the next reconcile.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};

use super::context::Context;
use super::errors::ReconcileError;
use super::observe::{observe_world, plan_among_peers};
use super::sampling::request_samples;
use super::{apply::apply_plan, report::report_results};
use crate::k8s::watch::WatchedPolicy;
use dbbalance_api::DbBalancePolicy;
use dbbalance_core::error_chain::format_error_chain;
use dbbalance_planner::policy::{Policy, PolicyFindings};

/// The shortest time between two reconciles of a policy that changes in each.
const SOON: Duration = Duration::from_millis(20);

/// The longest time between two reconciles of a policy: an event may have been lost.
const HEARTBEAT: Duration = Duration::from_mins(5);

/// Reconciles one policy.
///
/// # Errors
/// When a request to the API server fails. [`on_error`] schedules the retry.
#[tracing::instrument(
    name = "reconcile",
    level = "error", // so that a filter of warn keeps the fields
    skip_all,
    fields(
        namespace = policy.meta().namespace,
        policy = policy.meta().name,
        cluster = policy.0.as_ref().ok().map(|p| p.spec.cluster.identifier.as_str()),
        epoch = policy.0.as_ref().ok().and_then(|p| p.status.as_ref()?.epoch),
    )
)]
pub async fn reconcile_policy(
    policy: Arc<WatchedPolicy>,
    ctx: Arc<Context>,
) -> Result<Action, ReconcileError> {
    // A standby only watches, so that one replica polls AWS.
    if !ctx.leadership.is_leading() {
        return Ok(Action::await_change());
    }
    let policy = match &policy.0 {
        Ok(policy) => policy,
        Err(malformed) => return Err(ReconcileError::Malformed(malformed.error.clone())),
    };
    tracing::debug!("Reconciling policy");
    let started = std::time::Instant::now();
    let action = run_pass(policy, &ctx).await?;
    ctx.reset_backoff(&policy.uid().unwrap_or_default());
    ctx.metrics.observe_reconcile(started.elapsed());
    Ok(action)
}

async fn run_pass(policy: &DbBalancePolicy, ctx: &Context) -> Result<Action, ReconcileError> {
    let (current, mut world) = observe_world(policy, ctx).await?;
    let parsed = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world));
    let now = (ctx.clock)();
    let plan = plan_among_peers(&mut world, &parsed, now, ctx);
    request_samples(&current, &world, &plan, now, ctx);
    let applied = apply_plan(&current, &world, &plan, ctx.for_effects()).await?;
    let reported =
        report_results(&current, &world, &parsed, &plan, &applied, ctx.for_report()).await?;
    let acted = applied.targets.values().any(|t| t.stepped);
    if reported.changed || acted {
        return Ok(Action::requeue(SOON));
    }
    Ok(plan.wake.map_or_else(
        || Action::requeue(HEARTBEAT),
        |wake| {
            let wait = wake.duration_since((ctx.clock)());
            Action::requeue(Duration::try_from(wait).unwrap_or(SOON).max(SOON))
        },
    ))
}

/// Logs and counts a failed reconcile, and returns when to retry it. A conflict is retried at once and not counted.
#[allow(clippy::needless_pass_by_value)] // the signature is kube's
pub fn on_error(policy: Arc<WatchedPolicy>, error: &ReconcileError, ctx: Arc<Context>) -> Action {
    let meta = policy.meta();
    if matches!(error, ReconcileError::Conflict) {
        return Action::requeue(SOON);
    }
    ctx.metrics.count_reconcile_error(error.reason());
    tracing::warn!(
        namespace = meta.namespace,
        policy = meta.name,
        reason = error.reason(),
        error = %format_error_chain(error),
        "Reconcile failed"
    );
    if matches!(error, ReconcileError::Malformed(_)) {
        return Action::await_change();
    }
    Action::requeue(ctx.next_backoff(meta.uid.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
