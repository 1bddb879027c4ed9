//! What would hold a failover on one target, and what else is to be known about it.

use jiff::SignedDuration;

use super::Finding;
use crate::descriptions::pods::describe_pods_refused_by;
use crate::gates::budget::{BudgetRefusal, StepKind, find_refusal_at_rest};
use crate::gates::policy::check_policy;
use crate::gates::workload::{find_stuck_rollout, single_replica_gate};
use crate::policy::ParsedPolicy;
use crate::target::TargetContext;
use crate::types::Gate;
use dbbalance_api::conditions::{ConditionType, find_condition};
use dbbalance_api::prepared::PreparedReason;
use dbbalance_api::spec::{Endpoint, Method};
use dbbalance_api::status::BalanceState;
use dbbalance_core::budget::{ESTIMATED_SKEW_PERCENT, Load};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::workload::WorkloadFacts;

/// How long readings may say nothing before that is an obstacle (docs/adr/0013-evidence-outranks-stamps.md): longer than a
/// restart of the operator or a deploy takes, after which pods are read anew.
const EVIDENCE_SILENT_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Returns the first thing that would hold a failover on this target. `changing`: pods are recycled or replaced now, so that
/// what instances hold cannot be judged.
pub(super) fn find_obstacle(
    ctx: &TargetContext,
    parsed: &ParsedPolicy,
    index: usize,
    changing: bool,
) -> Option<Finding> {
    let named = |finding: Finding| Finding {
        message: format!("{}: {}", ctx.policy.name, finding.message),
        ..finding
    };
    find_target_obstacle(ctx, parsed, index)
        .or_else(|| find_method_obstacle(ctx))
        .or_else(|| find_budget_obstacle(ctx, changing))
        .or_else(|| find_silent_evidence(ctx))
        .map(named)
}

/// Returns what is to be known about a target that nothing holds.
pub(super) fn find_notes(ctx: &TargetContext, changing: bool) -> Vec<Finding> {
    let notes = [find_budget_note(ctx, changing), find_canary_note(ctx)];
    notes.into_iter().flatten().collect()
}

/// Returns what holds the target as a whole: it is another policy's, is not there, or the operator lacks a right.
fn find_target_obstacle(
    ctx: &TargetContext,
    parsed: &ParsedPolicy,
    index: usize,
) -> Option<Finding> {
    let world = ctx.pass.world;
    if let Err(closed) = check_policy(world, parsed, index, ctx.pass.now) {
        let reason = match closed.gate {
            Gate::TargetConflict => PreparedReason::TargetConflict,
            Gate::TargetNotFound => PreparedReason::TargetNotFound,
            Gate::Refused => PreparedReason::NotGranted,
            // Of the policy, and told before its targets.
            _ => return None,
        };
        return Some(Finding::new(reason, closed.message));
    }
    let measured = ctx.pass.policy.evidence.is_measured();
    (measured && !world.evidence_allowed && is_evidence_asked(ctx)).then(|| {
        Finding::new(
            PreparedReason::NotGranted,
            format!(
                "the operator may not read connections in namespace {}, so a failover goes late and by stamps alone: list the namespace in the chart's value evidence.namespaces, or set evidence.source: None",
                world.policy.namespace
            ),
        )
    })
}

/// Whether measured connections decide which of its pods a failover moves: a rollout moves them all.
fn is_evidence_asked(ctx: &TargetContext) -> bool {
    ctx.policy.recycle.method != Method::Rollout
}

/// Returns why the method would not recycle the pods as they are.
fn find_method_obstacle(ctx: &TargetContext) -> Option<Finding> {
    let method = ctx.policy.recycle.method;
    if ctx.counted.is_empty() && ctx.refused.is_empty() {
        return None;
    }
    let refused = describe_pods_refused_by(method, &ctx.found.pods);
    let workload = ctx.found.workload.as_ref();
    let refused = refused.or_else(|| {
        let rolled = workload.filter(|_| method == Method::Rollout)?;
        rolled.rollout_refusal(ctx.max_unavailable())
    });
    if let Some(message) = refused {
        return Some(Finding::new(PreparedReason::MethodRefused, message));
    }
    if method == Method::Evict && ctx.is_single_replica() {
        let message = single_replica_gate().message;
        return Some(Finding::new(PreparedReason::LonePod, message));
    }
    if let (Method::Http, Some(message)) = (method, &ctx.found.header_problem) {
        let reason = PreparedReason::HeaderSecretUnreadable;
        return Some(Finding::new(reason, message.clone()));
    }
    if let Some(message) = describe_refusing_budgets(ctx).filter(|_| method == Method::Evict) {
        let reason = PreparedReason::DisruptionBudgetAllowsNone;
        return Some(Finding::new(reason, message));
    }
    let stuck = find_stuck_rollout(ctx)?;
    Some(Finding::new(PreparedReason::RolloutStuck, stuck))
}

/// Describes the `PodDisruptionBudget`s that refuse evictions of the target's pods by what they specify, or because two select
/// one pod; `None` if no eviction is refused, or nothing is known of budgets.
fn describe_refusing_budgets(ctx: &TargetContext) -> Option<String> {
    let budgets = &ctx.found.disruption_budgets;
    let refusal = budgets.iter().find_map(|budget| {
        let selected = ctx.counted.iter().filter(|p| budget.pods.contains(&p.uid));
        let selected = selected.count();
        // Pods that are to come back count as well.
        let all = selected == ctx.counted.len();
        let expected = if all { ctx.wanted() } else { selected };
        let refusal = budget.find_refusal(expected).filter(|_| selected > 0)?;
        Some(format!(
            "PodDisruptionBudget {} has {refusal}, so that evictions are refused even when all pods are healthy: let it allow one disruption, or use Signal or HTTP",
            budget.name
        ))
    });
    refusal.or_else(|| {
        let names_of = |pod: &&PodFacts| -> Vec<&str> {
            let selecting = budgets.iter().filter(|b| b.pods.contains(&pod.uid));
            selecting.map(|b| b.name.as_str()).collect()
        };
        let mut names = ctx.counted.iter().map(names_of);
        let names = names.find(|names| names.len() > 1)?;
        Some(format!(
            "PodDisruptionBudgets {} select the same pods, which the eviction API refuses: leave one of them, or use Signal or HTTP",
            names.join(" and ")
        ))
    })
}

/// Returns the smallest step that the target's method takes: whether it surges, and what it adds.
fn smallest_step(ctx: &TargetContext) -> (bool, Load) {
    match ctx.policy.recycle.method {
        Method::Evict => (true, ctx.load(1)),
        Method::Rollout => {
            let workload = ctx.found.workload.as_ref();
            let surge = workload.map_or(0, WorkloadFacts::surge_pods);
            (surge > 0, ctx.load(surge.max(1)))
        }
        Method::Signal | Method::Http | Method::Annotate => (false, ctx.load(1)),
    }
}

fn find_smallest_refusal(ctx: &TargetContext, urgent: bool) -> Option<BudgetRefusal> {
    // Nothing is told of instances that were not read, and nothing is added without pods.
    if ctx.pass.world.topology.current().is_none() || ctx.counted.is_empty() {
        return None;
    }
    let (surges, adds) = smallest_step(ctx);
    find_refusal_at_rest(&ctx.pass, adds, StepKind { surges, urgent })
}

/// Returns the sum by which a failover's smallest step never fits: by what is measured; or by itself, as then the database
/// refuses what the new pods open, whatever else is held.
fn find_budget_obstacle(ctx: &TargetContext, changing: bool) -> Option<Finding> {
    let refusal = find_smallest_refusal(ctx, true)?;
    let bound = refusal.bound.as_ref()?;
    let alone = bound.most_held().is_none();
    if !alone && (refusal.estimated || changing) {
        return None;
    }
    Some(Finding::new(
        PreparedReason::BudgetNeverFits,
        format!(
            "a failover by {} {}: raise the instance class or budget.maxConnections, lower the pools, or use Signal or HTTP",
            ctx.policy.recycle.method.as_str(),
            describe_sum(ctx, &refusal)
        ),
    ))
}

/// Returns which runs besides failovers the budget holds.
fn find_budget_note(ctx: &TargetContext, changing: bool) -> Option<Finding> {
    let triggers = &ctx.pass.policy.triggers;
    let enabled = triggers.reader_added.enabled || triggers.reader_removed.enabled;
    if changing || !enabled || !ctx.policy.has_pool(Endpoint::Reader) {
        return None;
    }
    let refusal = find_smallest_refusal(ctx, false)?;
    let (reason, why) = if refusal.bound.is_some() {
        let sum = describe_sum(ctx, &refusal);
        (PreparedReason::OnlyFailoversFit, sum)
    } else {
        (PreparedReason::BudgetUnknown, refusal.closed.message)
    };
    let message = format!(
        "{}: runs for changes of readers are held: {why}",
        ctx.policy.name
    );
    Some(Finding::new(reason, message))
}

/// Describes the sum by its bounds alone: what is held changes all the time.
fn describe_sum(ctx: &TargetContext, refusal: &BudgetRefusal) -> String {
    let Some(bound) = &refusal.bound else {
        return refusal.closed.message.clone();
    };
    let declared = ctx.policy.pool_loads(0).iter().all(|(_, held)| *held > 0);
    if !declared {
        return format!(
            "needs on {} what its pods were measured to hold, which does not fit into the {} connections that it may have",
            bound.instance, bound.budget
        );
    }
    match bound.most_held() {
        None => bound.to_string(),
        Some(most) if refusal.estimated => format!(
            "{bound}, and more than {most} are held by the estimate of an even share and {}% more",
            ESTIMATED_SKEW_PERCENT - 100
        ),
        Some(most) => format!("{bound}, and more than {most} are held, as measured"),
    }
}

/// Returns why measured connections have said nothing for minutes.
fn find_silent_evidence(ctx: &TargetContext) -> Option<Finding> {
    let pass = &ctx.pass;
    if !pass.policy.evidence.is_measured() || !is_evidence_asked(ctx) || ctx.counted.is_empty() {
        return None;
    }
    let mut balances = pass.status.balance.iter();
    let balance = balances.find(|b| b.target == ctx.policy.name)?;
    // Without connections a failover has nothing to move.
    let silent = balance.state == BalanceState::Unknown && balance.reason != "NoConnections";
    let recorded = find_condition(&pass.world.status.conditions, ConditionType::Balanced)?;
    let since = recorded.last_transition_time.0;
    let long = recorded.status != "True" && pass.now.duration_since(since) >= EVIDENCE_SILENT_AFTER;
    (silent && long).then(|| {
        Finding::new(
            PreparedReason::EvidenceSaysNothing,
            format!(
                "measured connections have said nothing for {} minutes ({}), so a failover goes late and by stamps alone: the condition Balanced says why",
                EVIDENCE_SILENT_AFTER.as_mins(),
                balance.reason
            ),
        )
    })
}

/// Returns that one pod goes first, as the method was not yet seen to work for the pods' template.
fn find_canary_note(ctx: &TargetContext) -> Option<Finding> {
    // A rollout is paced by its workload.
    let rolls = ctx.policy.recycle.method == Method::Rollout;
    if rolls || ctx.counted.is_empty() || ctx.is_verified() {
        return None;
    }
    Some(Finding::new(
        PreparedReason::MethodNotVerified,
        format!(
            "{}: {} was not seen to work for these pods yet, so one goes first and the others when it is back",
            ctx.policy.name,
            ctx.policy.recycle.method.as_str()
        ),
    ))
}
