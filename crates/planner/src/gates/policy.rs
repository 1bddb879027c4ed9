//! The gates of the policy and of ownership: mode, suspension, pause, problems, conflicts, rights.

use crate::policy::{ParsedPolicy, readable_policy};
use crate::types::{ClosedGate, Gate};
use crate::world::World;
use dbbalance_api::spec::{Method, Mode};
use jiff::Timestamp;

/// Checks what holds a policy, or the target at this index, as a whole.
pub(crate) fn check_policy(
    world: &World,
    parsed: &ParsedPolicy,
    index: usize,
    now: Timestamp,
) -> Result<(), ClosedGate> {
    let policy = readable_policy(parsed);
    if policy.mode == Mode::Observe {
        return Err(ClosedGate::new(
            Gate::Observe,
            "mode is Observe: the plan is shown, nothing is changed",
        ));
    }
    if policy.suspend {
        return Err(ClosedGate::new(Gate::Suspended, "spec.suspend is true"));
    }
    if let Some(until) = policy.paused_until.filter(|until| now < *until) {
        return Err(ClosedGate::until(
            Gate::Paused,
            "paused by dbbalance.io/pause-until",
            until,
        ));
    }
    if let Err(problems) = parsed
        && let Some(problem) = problems.list.first()
    {
        return Err(ClosedGate::new(Gate::InvalidSpec, problem.message.clone()));
    }
    let (target, found) = (&policy.targets[index], &world.targets[index]);
    if let Some(owner) = &found.owned_by {
        return Err(ClosedGate::new(
            Gate::TargetConflict,
            format!("policy {owner} is older and owns these pods: take them out of one of the two"),
        ));
    }
    let namespace = &world.policy.namespace;
    if let (Some(reference), None) = (&target.workload, &found.workload) {
        return Err(ClosedGate::new(
            Gate::TargetNotFound,
            format!(
                "{:?} {} is not in namespace {namespace}",
                reference.kind, reference.name
            ),
        ));
    }
    // Shown before anything is tried: an attempt would be a refused request for every epoch.
    if target.recycle.method == Method::Signal && !world.signal_allowed {
        return Err(ClosedGate::new(
            Gate::Refused,
            format!(
                "spec.targets[{}].recycle.method: Signal is not granted in namespace {namespace}: list it in the chart's value signal.namespaces, or choose another method",
                target.name
            ),
        ));
    }
    Ok(())
}
