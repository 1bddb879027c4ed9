//! The next step of a target, and the events of its runs.

use super::odds::describe_odds;
use crate::gates::pacing::max_busy;
use crate::selection::assessment::{Assessment, UsableEvidence};
use crate::selection::by_stamp::StaleCandidates;
use crate::target::TargetContext;
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
use dbbalance_core::balance::Decision;
use dbbalance_core::evidence::descriptions::describe_holdings;

/// How many pods a message names.
const NAMED_PODS: usize = 5;

/// Describes the next step by stamps, as if no gate held it.
pub(crate) fn describe_stamp_step(ctx: &TargetContext) -> String {
    let method = ctx.policy.recycle.method.as_str();
    let (stale, counted) = (ctx.stale.len(), ctx.counted.len());
    let epoch = ctx.status.due_epoch;
    let odds = describe_odds(ctx);
    if let (Method::Rollout, Some(workload)) = (ctx.policy.recycle.method, &ctx.found.workload) {
        let started = workload.template_stamp.as_ref() == Some(&ctx.stamp());
        let verb = if started { "rolling" } else { "roll" };
        return format!(
            "{verb} {} to epoch {epoch}: {stale} of {counted} pods are stale{odds}",
            workload.describe()
        );
    }
    let (at_once, role) = if ctx.is_verified() {
        (max_busy(ctx), "next")
    } else {
        (1, "first")
    };
    let mut names = StaleCandidates::names(ctx);
    names.truncate(at_once.min(NAMED_PODS));
    if names.is_empty() {
        return format!(
            "{stale} of {counted} pods are stale at epoch {epoch}, recycling by {method}{odds}"
        );
    }
    format!(
        "recycle {stale} of {counted} pods to epoch {epoch} by {method}, {role} {}{odds}",
        names.join(", ")
    )
}

/// Describes the next step by evidence, as if no gate held it; without a decision, the pods must be measured first.
pub(crate) fn describe_balance_step(ctx: &TargetContext, decision: Option<&Decision>) -> String {
    let (stale, counted) = (ctx.stale.len(), ctx.counted.len());
    let epoch = ctx.status.due_epoch;
    let method = ctx.policy.recycle.method.as_str();
    let Some(figures) = decision.and_then(|d| d.verdict.figures()) else {
        return format!("measure {counted} pods, {stale} of them stale at epoch {epoch}");
    };
    let broken = figures.broken_pods;
    if broken > 0 {
        return format!("recycle {broken} of {counted} pods with broken connections by {method}");
    }
    if figures.misplaced.excess > 0 || !figures.under.is_empty() {
        return format!(
            "move the connections of about {} of {counted} pods by {method}",
            usize::try_from(figures.least)
                .unwrap_or(counted)
                .min(counted)
        );
    }
    format!(
        "stamp {stale} of {counted} pods at epoch {epoch}: their connections are where they should be"
    )
}

/// Describes why a run for stale pods starts.
pub(crate) fn describe_stale_run(ctx: &TargetContext) -> String {
    let target = &ctx.status;
    format!(
        "target {}: {} of {} pods are stale at epoch {} ({}); recycling by {}",
        target.name,
        target.stale,
        target.pods,
        target.due_epoch,
        join_triggers(&target.triggers),
        ctx.policy.recycle.method.as_str()
    )
}

/// Returns the triggers of a run for uneven connections, and describes why it starts.
pub(crate) fn describe_balance_run(
    ctx: &TargetContext,
    assessment: &Assessment,
) -> (Vec<Trigger>, String) {
    let target = &ctx.status;
    let usable = assessment.usable.as_ref();
    let drains = usable.is_some_and(UsableEvidence::drains);
    let triggers = if drains {
        vec![Trigger::Drain]
    } else if ctx.stale.is_empty() {
        vec![Trigger::Imbalance]
    } else {
        target.triggers.clone()
    };
    let message = format!(
        "target {} ({}): {}; moving connections by {}{}",
        target.name,
        join_triggers(&triggers),
        assessment.message,
        ctx.policy.recycle.method.as_str(),
        describe_example(ctx, assessment)
    );
    (triggers, message)
}

/// Describes what was seen on one of the pods with misplaced connections.
fn describe_example(ctx: &TargetContext, assessment: &Assessment) -> String {
    let topology = ctx.pass.settled_topology();
    let (Some(usable), Some(topology)) = (&assessment.usable, topology) else {
        return String::new();
    };
    let misplaced = usable.misplaced_pods();
    let mut pods = ctx
        .counted
        .iter()
        .filter(|p| misplaced.contains_key(&p.uid));
    let Some(pod) = pods.next() else {
        return String::new();
    };
    let held = assessment.evidence.pods.get(&pod.uid);
    let lines = held.map_or_else(Vec::new, |h| describe_holdings(h, &topology));
    format!("; for example pod {}: {}", pod.name, lines.join("; "))
}

/// Describes that the canary has passed; `evidence`: in what, for example that the first pod came back.
pub(crate) fn describe_canary(ctx: &TargetContext, method: Method, evidence: &str) -> String {
    format!(
        "target {}: {} works, {evidence}; the rest follows",
        ctx.policy.name,
        method.as_str()
    )
}

fn join_triggers(triggers: &[Trigger]) -> String {
    let names: Vec<&str> = triggers.iter().map(|t| t.as_str()).collect();
    names.join(", ")
}
