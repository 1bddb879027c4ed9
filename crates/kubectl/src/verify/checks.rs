//! Checks whether a pod may be recycled by hand now, and which.
//!
//! What the operator would refuse for safety is refused here too. Windows, limits and a pause hold the operator alone,
//! not a user who recycles one pod.

use kube::ResourceExt;

use crate::error::PluginError;
use crate::pods::CountedPod;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::annotations::CLAIM;
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_api::status::{RunResult, TargetStatus};

/// The target that is meant.
pub(super) fn select_target<'p>(
    policy: &'p DbBalancePolicy,
    name: Option<&str>,
) -> Result<&'p TargetSpec, PluginError> {
    match (
        crate::connections::select_targets(policy, name)?.as_slice(),
        name,
    ) {
        ([one], _) => Ok(*one),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|t| t.name.as_str()).collect();
            Err(PluginError::Declined(format!(
                "policy {} has several targets: pass --target with one of {}",
                policy.name_any(),
                names.join(", ")
            )))
        }
    }
}

/// The target's status, if policy and target stand so that one pod may be recycled by hand.
pub(super) fn check_policy<'p>(
    policy: &'p DbBalancePolicy,
    target: &TargetSpec,
) -> Result<&'p TargetStatus, PluginError> {
    let name = policy.name_any();
    let declined = |text: String| Err(PluginError::Declined(text));
    if target.recycle.method == Method::Rollout {
        return declined(format!(
            "target {}: a Rollout is not made pod by pod, so there is no one pod to verify: request a \
             run instead: kubectl dbbalance recycle {name} --wait",
            target.name
        ));
    }
    let status = policy.status.as_ref();
    let ready =
        status.and_then(|s| conditions::find_condition(&s.conditions, ConditionType::Ready));
    if ready.is_none_or(|c| c.status != "True") {
        let why = ready.map_or_else(
            || "no operator has seen it yet".to_owned(),
            |c| format!("{}: {}", c.reason, c.message),
        );
        return declined(format!(
            "policy {name} is not Ready ({why}): fix that first"
        ));
    }
    let found = status.and_then(|s| s.targets.iter().find(|t| t.name == target.name));
    let Some(found) = found else {
        return declined(format!(
            "the operator has not seen target {} yet: try again",
            target.name
        ));
    };
    if !found.owned {
        return declined(format!(
            "the pods of target {} belong to an older policy: verify that one",
            target.name
        ));
    }
    if let Some(run) = found
        .run
        .as_ref()
        .filter(|r| r.result == RunResult::Running)
    {
        return declined(format!(
            "a run of target {} is in progress, {} of {} pods recycled: wait for its end",
            target.name, run.recycled, run.pods
        ));
    }
    let pending = status.and_then(|s| s.pending_epoch.as_ref());
    if let Some(pending) = pending.filter(|p| p.targets.contains(&target.name)) {
        return declined(format!(
            "epoch {} is about to open ({}): wait for its run to end",
            pending.epoch, pending.message
        ));
    }
    Ok(found)
}

/// The pods that may be taken, the named one or all, best first.
pub(super) fn list_candidates<'c, 'a>(
    target: &TargetSpec,
    counted: &'c [CountedPod<'a>],
    wanted: Option<&str>,
) -> Result<Vec<&'c CountedPod<'a>>, PluginError> {
    let declined = |text: String| Err(PluginError::Declined(text));
    let method = target.recycle.method;
    let evicts = method == Method::Evict;
    if evicts && counted.len() == 1 && target.recycle.allow_single_replica != Some(true) {
        return declined(format!(
            "{} is the only pod of target {}, and recycle.allowSingleReplica is not set: it is not evicted",
            counted[0].facts.name, target.name
        ));
    }
    let not_ready: Vec<&str> = counted
        .iter()
        .filter(|p| !p.facts.ready)
        .map(|p| p.facts.name.as_str())
        .collect();
    if evicts && !not_ready.is_empty() {
        return declined(format!(
            "{} of {} pods are not Ready ({}): none more is evicted meanwhile",
            not_ready.len(),
            counted.len(),
            not_ready.join(", ")
        ));
    }
    if let Some(name) = wanted {
        let Some(pod) = counted.iter().find(|p| p.facts.name == name) else {
            let names: Vec<&str> = counted
                .iter()
                .take(5)
                .map(|p| p.facts.name.as_str())
                .collect();
            return declined(format!(
                "{name} is not a counted pod of target {} (running, not ignored); its pods: {}",
                target.name,
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            ));
        };
        return match find_objection(pod, method) {
            Some(why) => declined(format!("pod {name}: {why}")),
            None => Ok(vec![pod]),
        };
    }
    let free: Vec<_> = counted
        .iter()
        .filter(|p| find_objection(p, method).is_none())
        .collect();
    if free.is_empty() {
        let why = counted.first().map_or_else(
            || "it has no counted pods".to_owned(),
            |p| {
                format!(
                    "pod {}: {}",
                    p.facts.name,
                    find_objection(p, method).unwrap_or_default()
                )
            },
        );
        return declined(format!(
            "no pod of target {} can be verified: {why}",
            target.name
        ));
    }
    Ok(free)
}

/// Why this pod may not be taken.
fn find_objection(pod: &CountedPod, method: Method) -> Option<String> {
    if let Some(why) = pod.facts.method_refusal.clone() {
        return Some(why);
    }
    if method == Method::Evict
        && let Some(why) = pod.facts.eviction_refusal()
    {
        return Some(format!("it is not evicted: {why}"));
    }
    if let Some(claim) = pod.object.annotations().get(CLAIM) {
        return Some(format!(
            "it carries the claim {claim:?}: its recycle is in progress or has failed; pass another --pod"
        ));
    }
    (!pod.facts.ready).then(|| "it is not Ready, so its pools prove nothing".to_owned())
}
