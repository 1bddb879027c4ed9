//! Sets the conditions of a policy. `Ready` means that the policy is valid and its topology known, not that all pods are
//! fresh.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::balanced::balanced_condition;
use dbbalance_api::conditions::{self, ConditionState, ConditionStatus, ConditionType};
use dbbalance_api::status::{DbBalancePolicyStatus, HaltReason, RunResult};
use dbbalance_planner::policy::ParsedPolicy;
use dbbalance_planner::world::{TopologyError, TopologyState, World};
use dbbalance_planner::{
    Gate, LastingHold, Plan, SteeredState, UntakenPods, assess_drain, assess_preparedness,
    describe_refused_method, describe_steered, describe_untaken_pods, find_lasting_hold,
};

/// A condition's status, reason and message.
type ConditionValue = (ConditionStatus, &'static str, String);

/// Sets all conditions of the status.
pub(super) fn set_conditions(
    status: &mut DbBalancePolicyStatus,
    world: &World,
    parsed: &ParsedPolicy,
    plan: &Plan,
    now: Timestamp,
) {
    let generation = world.policy.generation;
    let ready = ready_condition(status, world, parsed, plan);
    let observed = observed_condition(world);
    let fresh = fresh_condition(status, world);
    let prepared = assess_preparedness(world, parsed, status, now);
    let recycling = recycling_condition(status);
    let steered = describe_steered(world, parsed, status, now);
    let reconciling = (ready.0 == ConditionStatus::Unknown).then(|| ready.clone());
    let held = find_lasting_hold(status, &world.spec, now);
    let stalled = stalled_condition(status, plan, &ready, held);
    let drained = assess_drain(world, parsed, plan, now);
    let (evenness, reason, message) =
        balanced_condition(world.spec.evidence.source, &status.balance);
    let list = &mut status.conditions;
    let mut put = |type_, value: ConditionValue| {
        let state = ConditionState {
            status: value.0,
            reason: value.1,
            message: &value.2,
        };
        conditions::set_condition(list, type_, state, generation, now);
    };
    put(ConditionType::Ready, ready);
    put(ConditionType::TopologyObserved, observed);
    let prepared: ConditionValue = (prepared.status, prepared.reason.as_str(), prepared.message);
    put(ConditionType::Prepared, prepared);
    put(ConditionType::Fresh, fresh);
    put(ConditionType::Recycling, recycling);
    let state = ConditionState {
        status: evenness,
        reason: &reason,
        message: &message,
    };
    conditions::set_condition(list, ConditionType::Balanced, state, generation, now);
    set_steered(list, steered, generation, now);
    set_only_while_true(
        list,
        ConditionType::Reconciling,
        reconciling,
        generation,
        now,
    );
    set_only_while_true(list, ConditionType::Stalled, stalled, generation, now);
    match drained {
        Some(report) => {
            let state = ConditionState {
                status: report.status,
                reason: report.reason,
                message: &report.message,
            };
            conditions::set_condition(list, ConditionType::Drained, state, generation, now);
        }
        None => conditions::remove_condition(list, ConditionType::Drained),
    }
}

/// Sets the condition of the name of `spec.dns.steering`, or removes it without steering.
fn set_steered(
    list: &mut Vec<Condition>,
    steered: Option<SteeredState>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let Some(steered) = steered else {
        return conditions::remove_condition(list, ConditionType::Steered);
    };
    let state = ConditionState {
        status: steered
            .is_steered
            .map_or(ConditionStatus::Unknown, ConditionStatus::from),
        reason: steered.reason,
        message: &steered.message,
    };
    conditions::set_condition(list, ConditionType::Steered, state, generation, now);
}

fn set_only_while_true(
    list: &mut Vec<Condition>,
    type_: ConditionType,
    value: Option<ConditionValue>,
    generation: Option<i64>,
    now: Timestamp,
) {
    match value {
        Some((_, reason, message)) => {
            let state = ConditionState {
                status: ConditionStatus::True,
                reason,
                message: &message,
            };
            conditions::set_condition(list, type_, state, generation, now);
        }
        None => conditions::remove_condition(list, type_),
    }
}

fn ready_condition(
    status: &DbBalancePolicyStatus,
    world: &World,
    parsed: &ParsedPolicy,
    plan: &Plan,
) -> ConditionValue {
    if let Err(problems) = parsed
        && let Some(problem) = problems.list.first()
    {
        let message = problems
            .list
            .iter()
            .map(|p| p.message.as_str())
            .collect::<Vec<_>>()
            .join("; ");
        return (ConditionStatus::False, problem.reason, message);
    }
    match (&world.topology, &status.topology) {
        (TopologyState::Failing { error, .. }, recorded)
            if recorded.is_none() || error.is_cluster_missing() =>
        {
            return (ConditionStatus::False, error.reason, error.message.clone());
        }
        (_, None) => {
            return (
                ConditionStatus::Unknown,
                "Pending",
                "the topology has not been read yet".to_owned(),
            );
        }
        _ => {}
    }
    for (index, target) in world.targets.iter().enumerate() {
        let spec = &world.spec.targets[index];
        if let Some(owner) = &target.owned_by {
            return (
                ConditionStatus::False,
                "TargetConflict",
                format!(
                    "spec.targets[{}]: policy {owner} is older and owns these pods, so this policy does not recycle them; remove them from one of the two policies",
                    spec.name
                ),
            );
        }
        if let Some(message) = describe_refused_method(spec, &target.pods) {
            return (ConditionStatus::False, "MethodRefused", message);
        }
        if let (Some(reference), None) = (&spec.workload_ref, &target.workload) {
            return (
                ConditionStatus::False,
                "TargetNotFound",
                format!(
                    "spec.targets[{}].workloadRef: {:?} {} is not in namespace {}",
                    spec.name, reference.kind, reference.name, world.policy.namespace
                ),
            );
        }
    }
    if let Some(refused) = plan
        .targets
        .iter()
        .find_map(|t| t.held.as_ref().filter(|h| h.gate == Gate::Refused))
    {
        return (
            ConditionStatus::False,
            "MethodRefused",
            refused.message.clone(),
        );
    }
    (
        ConditionStatus::True,
        "Ready",
        "the policy is valid, its targets were found, its topology was read".to_owned(),
    )
}

fn observed_condition(world: &World) -> ConditionValue {
    match &world.topology {
        TopologyState::Pending => (
            ConditionStatus::Unknown,
            "Pending",
            "the topology has not been read yet".to_owned(),
        ),
        TopologyState::Current(_) => (
            ConditionStatus::True,
            "Observed",
            "the last readings were complete".to_owned(),
        ),
        TopologyState::Failing { error, .. } => {
            (ConditionStatus::False, error.reason, error.message.clone())
        }
    }
}

fn fresh_condition(status: &DbBalancePolicyStatus, world: &World) -> ConditionValue {
    let Some(epoch) = status.epoch else {
        return (
            ConditionStatus::Unknown,
            "Pending",
            "no epoch has been recorded yet".to_owned(),
        );
    };
    if let Some(pending) = &status.pending_epoch
        && !pending.targets.is_empty()
    {
        return (
            ConditionStatus::False,
            "EpochNotOpen",
            format!(
                "epoch {} has settled and is not open yet: {}{}",
                pending.epoch,
                pending.message,
                pending
                    .waiting_for
                    .as_ref()
                    .map_or(String::new(), |w| format!("; waits for DNS: {w}"))
            ),
        );
    }
    let mut stale: Vec<String> = status
        .targets
        .iter()
        .filter(|t| t.stale > 0)
        .map(|t| {
            format!(
                "{}: {} of {} pods are stale at epoch {}",
                t.name, t.stale, t.pods, t.due_epoch
            )
        })
        .collect();
    let (uncounted, not_evictable): (Vec<_>, Vec<_>) = untaken_pods(status, world)
        .into_iter()
        .partition(|untaken| untaken.is_fresh);
    let reason = if stale.is_empty() {
        "NotEvictable"
    } else {
        "StalePods"
    };
    stale.extend(not_evictable.into_iter().map(|u| u.message));
    if !stale.is_empty() {
        return (ConditionStatus::False, reason, stale.join("; "));
    }
    let pods: i32 = status.targets.iter().map(|t| t.pods).sum();
    if pods == 0 && !uncounted.is_empty() {
        let texts: Vec<String> = uncounted.into_iter().map(|u| u.message).collect();
        return (ConditionStatus::True, "NoneCounted", texts.join("; "));
    }
    if pods == 0 {
        return (
            ConditionStatus::True,
            "NoPods",
            format!("no pods to recycle at epoch {epoch}"),
        );
    }
    (
        ConditionStatus::True,
        "AllFresh",
        format!("no pod is stale at epoch {epoch}"),
    )
}

fn untaken_pods(status: &DbBalancePolicyStatus, world: &World) -> Vec<UntakenPods> {
    let mark = world.policy.mark();
    let targets = world.spec.targets.iter().zip(&world.targets);
    let untaken = targets.filter_map(|(spec, found)| {
        let mut recorded = status.targets.iter();
        let target = recorded.find(|t| t.name == spec.name && t.owned)?;
        describe_untaken_pods(spec, target, &mark, &found.pods)
    });
    untaken.collect()
}

fn recycling_condition(status: &DbBalancePolicyStatus) -> ConditionValue {
    let runs: Vec<String> = status
        .targets
        .iter()
        .filter_map(|t| t.run.as_ref().filter(|r| r.result == RunResult::Running))
        .map(|r| {
            format!(
                "{}: {} of {} pods recycled for epoch {}",
                r.target, r.recycled, r.stale, r.epoch
            )
        })
        .collect();
    if runs.is_empty() {
        (
            ConditionStatus::False,
            "Idle",
            "no run is in progress".to_owned(),
        )
    } else {
        (ConditionStatus::True, "RunInProgress", runs.join("; "))
    }
}

fn stalled_condition(
    status: &DbBalancePolicyStatus,
    plan: &Plan,
    ready: &ConditionValue,
    held: Option<LastingHold>,
) -> Option<ConditionValue> {
    let halted = status.targets.iter().find_map(|t| {
        // A run by measured connections may halt while no pod is stale.
        let mut plans = plan.targets.iter();
        let shown = plans.find(|p| p.target == t.name);
        let gate = shown.and_then(|p| p.held.as_ref()).map(|h| h.gate);
        let is_open = t.stale > 0 || gate == Some(Gate::Halted);
        let run = t
            .run
            .as_ref()
            .filter(|r| r.result == RunResult::Halted && r.epoch == t.due_epoch && is_open)?;
        let message = run.message.clone().unwrap_or_default();
        let reason = match run.halted_reason {
            Some(HaltReason::AppEnded) => "AppEnded",
            _ => "RunHalted",
        };
        Some((
            ConditionStatus::True,
            reason,
            format!("{}: {message}", t.name),
        ))
    });
    let refused = plan
        .targets
        .iter()
        .find_map(|t| t.held.as_ref().filter(|h| h.gate == Gate::Refused))
        .map(|h| (ConditionStatus::True, "MethodRefused", h.message.clone()));
    let invalid = matches!(
        ready.1,
        "InvalidSpec"
            | "MethodRefused"
            | "TargetOverlap"
            | "RoleNotAllowed"
            | TopologyError::CLUSTER_NOT_FOUND
            | TopologyError::CLUSTER_NOT_ALLOWED
    )
    .then(|| ready.clone());
    let held = held.map(|h| (ConditionStatus::True, h.reason, h.message));
    halted.or(refused).or(invalid).or(held)
}

#[cfg(test)]
mod tests;
