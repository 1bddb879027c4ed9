//! Drains of readers that a user has asked for: which of them are accepted, and how far they have come.
//!
//! A drain is the annotation `dbbalance.io/drain` on the policy, so it outlives the operator. It raises no epoch: the
//! drained readers have no weight, and the balance does the rest.

use std::collections::BTreeMap;

use crate::gates::budget::count_held;
use crate::name::StandingName;
use crate::policy::{ParsedPolicy, readable_policy};
use crate::target::PassContext;
use crate::times::status_time;
use crate::types::Plan;
use crate::weights::compute_weights;
use crate::world::World;
use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::spec::Endpoint;
use dbbalance_api::status::DrainStatus;
use dbbalance_core::balance::{OtherConnections, ReaderShares};
use dbbalance_core::budget::find_instance_limits;
use dbbalance_core::drain::{DrainLoad, DrainRefusal, check_drain, parse_drain};
use dbbalance_core::topology::{InstanceId, Topology};
use jiff::Timestamp;

/// How a drain stands, for the condition `Drained`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// `True` if no connections of the policy are left on the named instances, `Unknown` if that cannot be told.
    pub status: ConditionStatus,
    /// The reason in one word.
    pub reason: &'static str,
    /// The same as a sentence, with the count.
    pub message: String,
}

/// Returns the readers that are drained; none if nothing was asked for, or it is refused.
pub(crate) fn find_drained(pass: &PassContext, topology: &Topology) -> Vec<InstanceId> {
    match judge_drain(pass, topology) {
        Some(Ok(drained)) => drained,
        Some(Err(_)) | None => Vec::new(),
    }
}

/// Judges what is asked for; `None` if nothing is.
fn judge_drain(
    pass: &PassContext,
    topology: &Topology,
) -> Option<Result<Vec<InstanceId>, DrainRefusal>> {
    let text = pass.world.policy.drain.as_deref()?;
    let names = match parse_drain(text) {
        Ok(names) => names,
        Err(refusal) => return Some(Err(refusal)),
    };
    let weights = compute_weights(pass, topology, &names);
    // What has begun goes on: what is held varies while pods move.
    let started = &pass.world.status.drain;
    let is_started = |name: &InstanceId| started.iter().any(|d| d.instance == name.0);
    let budgets = if names.iter().all(is_started) {
        BTreeMap::new()
    } else {
        find_budgets(pass)
    };
    let load = DrainLoad {
        connections: count_on_readers(pass, topology),
        budgets: &budgets,
    };
    Some(check_drain(&names, topology, &weights, load))
}

/// Returns what each instance may hold, as far as its limit is known.
fn find_budgets(pass: &PassContext) -> BTreeMap<InstanceId, u64> {
    let spec = &pass.policy.budget;
    let Some(view) = pass.world.topology.current() else {
        return BTreeMap::new();
    };
    let headroom = u64::try_from(spec.headroom_percent).unwrap_or(0).min(100);
    let limits = find_instance_limits(view, spec).into_iter();
    limits
        .filter_map(|(instance, limit)| Some((instance, limit? * (100 - headroom) / 100)))
        .collect()
}

/// Returns the connections to readers that are known of, of this policy and of others, with those that are only estimated.
fn count_on_readers(pass: &PassContext, topology: &Topology) -> u64 {
    let held = count_held(pass).plus(&pass.world.peers.held);
    let on = |instance| held.measured.get(instance).copied().unwrap_or(0);
    let measured: u64 = topology.readers.iter().map(|r| on(&r.instance)).sum();
    measured + held.estimated.reader
}

/// Returns what the policy's pods hold of the readers; `None` while that is not known.
fn sum_shares(plan: &Plan) -> Option<OtherConnections> {
    match ReaderShares::sum(plan.targets.iter().map(|t| &t.shares)) {
        ReaderShares::Read(shares) => Some(shares),
        ReaderShares::Unmeasured => Some(OtherConnections::default()),
        ReaderShares::Unread => None,
    }
}

/// Records drains as they begin, each with the connections that it has to move, and forgets those that nobody asks for.
pub(crate) fn record_drains(pass: &PassContext, plan: &Plan) -> Vec<DrainStatus> {
    let topology = pass.settled_topology();
    let drained = topology.map_or_else(Vec::new, |t| find_drained(pass, &t));
    let shares = sum_shares(plan);
    let recorded = &pass.world.status.drain;
    let drains = drained.iter().filter_map(|instance| {
        let mut known = recorded.iter();
        if let Some(known) = known.find(|d| d.instance == instance.0) {
            return Some(known.clone());
        }
        let connections = shares.as_ref()?.measured.get(instance).copied();
        Some(DrainStatus {
            instance: instance.0.clone(),
            since: status_time(pass.now),
            connections: i32::try_from(connections.unwrap_or(0)).unwrap_or(i32::MAX),
        })
    });
    drains.collect()
}

/// Reports how a drain stands; `None` if nobody asks for one.
#[must_use]
pub fn assess_drain(
    world: &World,
    parsed: &ParsedPolicy,
    plan: &Plan,
    now: Timestamp,
) -> Option<DrainReport> {
    let text = world.policy.drain.as_deref()?;
    let policy = readable_policy(parsed);
    let report = |status, reason, message: String| DrainReport {
        status,
        reason,
        message,
    };
    let pass = PassContext {
        world,
        policy,
        status: &plan.status,
        settling: &plan.settling,
        name: &StandingName::Unsteered,
        now,
    };
    let Some(topology) = pass.settled_topology() else {
        let message = "the topology has not been read yet".to_owned();
        return Some(report(ConditionStatus::Unknown, "Pending", message));
    };
    let drained = match judge_drain(&pass, &topology)? {
        Ok(drained) => drained,
        Err(refusal) => {
            return Some(report(
                ConditionStatus::False,
                refusal.reason(),
                refusal.to_string(),
            ));
        }
    };
    let reads = policy.targets.iter().any(|t| t.has_pool(Endpoint::Reader));
    if reads && !(policy.evidence.is_measured() && world.evidence_allowed) {
        let message = format!(
            "connections are not measured, so nothing is drained, and it is not known what is left on {text}: set evidence.source"
        );
        return Some(report(ConditionStatus::Unknown, "NoEvidence", message));
    }
    let Some(shares) = sum_shares(plan) else {
        let message = "too few pods could be read to tell what is left".to_owned();
        return Some(report(ConditionStatus::Unknown, "EvidencePartial", message));
    };
    let names = parse_drain(text).unwrap_or_default();
    let mut left = 0;
    let mut texts = Vec::new();
    for name in &names {
        if !drained.contains(name) {
            texts.push(format!("{name} is not a reader of the cluster"));
            continue;
        }
        let held = shares.measured.get(name).copied().unwrap_or(0);
        left += held;
        let mut recorded = plan.status.drain.iter();
        let from = recorded
            .find(|d| d.instance == name.0)
            .map(|d| d.connections);
        let from = from
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(held)
            .max(held);
        let others = world.peers.shares.measured.get(name).copied().unwrap_or(0);
        let others = if others > 0 {
            format!(" ({others} of other policies, which must be drained by themselves)")
        } else {
            String::new()
        };
        texts.push(format!("{name}: {held} of {from} connections left{others}"));
    }
    let (status, reason) = if left == 0 {
        (ConditionStatus::True, "Drained")
    } else {
        (ConditionStatus::False, "Draining")
    };
    Some(report(status, reason, texts.join("; ")))
}
