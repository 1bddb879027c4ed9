//! Reconciles one policy: observe, validate, plan, apply, report; then schedules the next reconcile.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};

use super::apply::{CLAIMING, NameApplied, apply_name_action, apply_plan};
use super::context::{Context, backoff_after};
use super::errors::ReconcileError;
use super::observe::{cluster_key, observe_world, plan_among_peers};
use super::report::{record_steps, report_results};
use super::sampling::request_samples;
use crate::k8s::watch::WatchedPolicy;
use dbbalance_api::DbBalancePolicy;
use dbbalance_core::error_chain::format_error_chain;
use dbbalance_planner::policy::{Policy, PolicyFindings};

/// The shortest time between two reconciles of a policy that changes in each.
const SOON: Duration = Duration::from_millis(20);

/// The least time for which a policy that the rate limit has stopped leaves the limit to others.
const YIELD: Duration = Duration::from_secs(1);

/// How many lost races in a row are repeated at once. Another writer wins one or two. An answer that is not a race, such
/// as an admission webhook's, comes each time and must not make a loop of requests.
const CONFLICTS_AT_ONCE: u32 = 5;

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
    refuse_unread(policy, &ctx)?;
    tracing::debug!("Reconciling policy");
    let started = std::time::Instant::now();
    let action = run_pass(policy, &ctx).await?;
    ctx.reset_backoff(&policy.uid().unwrap_or_default());
    ctx.metrics.observe_reconcile(started.elapsed());
    Ok(action)
}

/// Refuses a policy whose namespace is not in the caches: its pods would look gone, and the policy done.
fn refuse_unread(policy: &DbBalancePolicy, ctx: &Context) -> Result<(), ReconcileError> {
    let namespace = policy.namespace().unwrap_or_default();
    let kinds = ctx.stores.unread_kinds(&namespace);
    if kinds.is_empty() {
        Ok(())
    } else {
        Err(ReconcileError::NamespaceUnread { namespace, kinds })
    }
}

async fn run_pass(policy: &DbBalancePolicy, ctx: &Context) -> Result<Action, ReconcileError> {
    let (current, mut world) = observe_world(policy, ctx).await?;
    let parsed = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world));
    let now = (ctx.clock)();
    let plan = plan_among_peers(&mut world, &parsed, now, ctx);
    // Before the status is written, which another writer or an admission webhook may refuse.
    let key = cluster_key(&world.spec.cluster, ctx);
    let named = apply_name_action(&current, &world, &plan, &key, ctx.for_effects()).await;
    request_samples(&current, &world, &plan, now, ctx);
    let recorded = if has_room(ctx) {
        record_steps(&current, &world, &parsed, &plan, ctx.for_report()).await?
    } else {
        None
    };
    let applied = apply_plan(
        &current,
        &world,
        &plan,
        recorded.is_some(),
        ctx.for_effects(),
    )
    .await?;
    let reported = report_results(
        &current,
        &world,
        &parsed,
        &plan,
        &applied,
        recorded.as_ref(),
        ctx.for_report(),
    )
    .await?;
    if applied.targets.values().any(|t| t.left > 0) {
        return Ok(Action::requeue(yield_limit(ctx)));
    }
    if named == NameApplied::Failed {
        return Ok(Action::requeue(YIELD));
    }
    let acted = named == NameApplied::Written || applied.targets.values().any(|t| t.stepped);
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

/// Whether the rate limit lets a pass that begins now take at least one pod. If not, its steps need no record.
fn has_room(ctx: &Context) -> bool {
    let deadline = tokio::time::Instant::now() + CLAIMING;
    ctx.effect_limiter.admits_claim(deadline)
}

/// Returns when a step goes on that the rate limit has cut: late enough that policies that wait get their share, in random
/// order, and no later than the limiter's burst lasts.
fn yield_limit(ctx: &Context) -> Duration {
    let spread = (ctx.clock)().subsec_millisecond().unsigned_abs() % 1000;
    YIELD + Duration::from_millis(spread.into())
}

/// Logs and counts a failed reconcile, and returns when to retry it. A conflict is retried at once and not counted,
/// unless it keeps coming.
#[allow(clippy::needless_pass_by_value)] // the signature is kube's
pub fn on_error(policy: Arc<WatchedPolicy>, error: &ReconcileError, ctx: Arc<Context>) -> Action {
    let meta = policy.meta();
    let failures = ctx.count_failure(meta.uid.as_deref().unwrap_or_default());
    if matches!(error, ReconcileError::Conflict) && failures <= CONFLICTS_AT_ONCE {
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
    Action::requeue(backoff_after(failures))
}

#[cfg(test)]
mod tests;
