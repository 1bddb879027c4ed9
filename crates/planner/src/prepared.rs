//! Whether a failover that came now would be carried through, for the condition `Prepared`.
//!
//! Judged on each pass, from what is known and without effects: what would hold a failover must not be found out only in the
//! failover. Messages name bounds and not what is held at the moment, so that the status of an idle policy stays as it is.

mod target;

use jiff::Timestamp;

use crate::gates::budget::count_in_flight;
use crate::gates::policy::check_policy;
use crate::name::StandingName;
use crate::policy::{ParsedPolicy, Policy, readable_policy};
use crate::target::{PassContext, TargetContext};
use crate::types::Gate;
use crate::world::{TopologyError, TopologyState, World};
use dbbalance_api::conditions::{ConditionStatus, ConditionType, find_condition};
use dbbalance_api::prepared::PreparedReason;
use dbbalance_api::spec::{Endpoint, OnTimeout};
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::budget::Load;
use dbbalance_core::dns::{AGREEING_LOOKS, DnsSample};
use dbbalance_core::workload::WorkloadFacts;
use target::{find_notes, find_obstacle};

/// Whether a failover would be carried through, with the reason and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preparedness {
    /// `True` if nothing would hold a failover, `Unknown` if that cannot be told.
    pub status: ConditionStatus,
    /// The first obstacle, or the first thing to know about.
    pub reason: PreparedReason,
    /// The same as a sentence, for each target that has an obstacle.
    pub message: String,
}

/// Something that would hold a failover, or something to know about one that nothing holds.
#[derive(Clone, Debug)]
struct Finding {
    reason: PreparedReason,
    message: String,
}

impl Finding {
    fn new(reason: PreparedReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    fn with_status(self, status: ConditionStatus) -> Preparedness {
        Preparedness {
            status,
            reason: self.reason,
            message: self.message,
        }
    }
}

/// Judges whether a failover that came at this time would be carried through. `status` is that of the pass, with what it
/// has planned.
#[must_use]
pub fn assess_preparedness(
    world: &World,
    parsed: &ParsedPolicy,
    status: &DbBalancePolicyStatus,
    now: Timestamp,
) -> Preparedness {
    if let Some(finding) = find_policy_obstacle(world, parsed, now) {
        return finding.with_status(ConditionStatus::False);
    }
    let policy = readable_policy(parsed);
    let pass = PassContext {
        world,
        policy,
        status,
        settling: &world.settling,
        name: &StandingName::Unsteered,
        now,
    };
    let Some(targets) = sort_targets(pass) else {
        let message = "the targets have not been planned yet";
        return Finding::new(PreparedReason::Pending, message)
            .with_status(ConditionStatus::Unknown);
    };
    let changing = is_changing(&targets);
    let (mut obstacles, mut notes) = (Vec::new(), Vec::new());
    for (index, ctx) in targets.iter().enumerate() {
        match find_obstacle(ctx, parsed, index, changing) {
            Some(obstacle) => obstacles.push(obstacle),
            None => notes.extend(find_notes(ctx, changing)),
        }
    }
    obstacles.extend(find_dns_obstacle(&pass));
    if let Some(first) = obstacles.first() {
        let message = join_messages(&obstacles);
        return Finding::new(first.reason, message).with_status(ConditionStatus::False);
    }
    if let Some(unknown) = describe_topology_gap(&world.topology) {
        return unknown.with_status(ConditionStatus::Unknown);
    }
    if let Some(kept) = kept_budget_verdict(world).filter(|_| changing) {
        return kept;
    }
    let reason = notes.first().map_or(PreparedReason::Prepared, |n| n.reason);
    let message = if notes.is_empty() {
        "nothing would hold a failover".to_owned()
    } else {
        format!("nothing would hold a failover; {}", join_messages(&notes))
    };
    Finding::new(reason, message).with_status(ConditionStatus::True)
}

fn join_messages(findings: &[Finding]) -> String {
    let texts: Vec<&str> = findings.iter().map(|f| f.message.as_str()).collect();
    texts.join("; ")
}

/// Returns what holds the policy as a whole.
fn find_policy_obstacle(world: &World, parsed: &ParsedPolicy, now: Timestamp) -> Option<Finding> {
    if world.targets.is_empty() {
        return None;
    }
    if let Err(closed) = check_policy(world, parsed, 0, now) {
        let reason = match closed.gate {
            Gate::Observe => Some(PreparedReason::Observe),
            Gate::Suspended => Some(PreparedReason::Suspended),
            Gate::Paused => Some(PreparedReason::Paused),
            Gate::InvalidSpec => Some(PreparedReason::InvalidSpec),
            // The others hold one target.
            _ => None,
        };
        let until = closed.until.map(|until| format!(" until {until}"));
        let message = format!("{}{}", closed.message, until.unwrap_or_default());
        if let Some(reason) = reason {
            return Some(Finding::new(reason, message));
        }
    }
    let enabled = readable_policy(parsed).triggers.failover.enabled;
    (!enabled).then(|| {
        let message = "triggers.failover.enabled is false: a failover starts no run";
        Finding::new(PreparedReason::FailoverDisabled, message)
    })
}

/// Sorts the pods of all targets; `None` if the status does not have one of them yet.
fn sort_targets(pass: PassContext) -> Option<Vec<TargetContext>> {
    let targets = pass.policy.targets.iter().zip(0..pass.world.targets.len());
    let targets = targets.map(|(target, index)| {
        let mut statuses = pass.status.targets.iter();
        let status = statuses.find(|s| s.name == target.name)?;
        Some(TargetContext::new(pass, index, status.clone()))
    });
    targets.collect()
}

/// Whether pods are recycled or replaced now, of this policy or of another one of the cluster: what instances hold then is
/// not what they hold at rest.
fn is_changing(targets: &[TargetContext]) -> bool {
    targets.iter().any(|ctx| {
        let moving = ctx.found.workload.as_ref();
        ctx.running().is_some()
            || moving.is_some_and(WorkloadFacts::is_moving_pods)
            || count_in_flight(ctx) != Load::default()
            || ctx.pass.world.peers.in_flight != Load::default()
    })
}

/// Returns the recorded verdict of the budget, which stays while it cannot be judged and the spec is the same.
fn kept_budget_verdict(world: &World) -> Option<Preparedness> {
    let recorded = find_condition(&world.status.conditions, ConditionType::Prepared)?;
    if recorded.observed_generation != world.policy.generation {
        return None;
    }
    let reason = recorded.reason.parse().ok()?;
    let status = match reason {
        PreparedReason::BudgetNeverFits => ConditionStatus::False,
        PreparedReason::OnlyFailoversFit => ConditionStatus::True,
        _ => return None,
    };
    Some(Finding::new(reason, recorded.message.clone()).with_status(status))
}

/// Returns the endpoint that DNS has not answered for many samples, if a failover would wait for it without an end.
fn find_dns_obstacle(pass: &PassContext) -> Option<Finding> {
    let (policy, dns): (&Policy, _) = (pass.policy, &pass.world.dns);
    if policy.dns.on_timeout != OnTimeout::Hold {
        return None;
    }
    let reads = policy.targets.iter().any(|t| t.has_pool(Endpoint::Reader));
    let endpoints = [
        ("cluster", &dns.writer, true),
        ("reader", &dns.reader, reads),
    ];
    let mut endpoints = endpoints.into_iter();
    let (name, _, _) = endpoints.find(|(_, looks, used)| *used && is_unanswered(looks))?;
    let message = format!(
        "the last {AGREEING_LOOKS} look-ups of the {name} endpoint had no answer, and a failover waits for DNS: mend the operator's resolver, or set dns.onTimeout: Proceed"
    );
    Some(Finding::new(PreparedReason::DnsUnanswered, message))
}

fn is_unanswered(looks: &[DnsSample]) -> bool {
    let newest = looks.len().checked_sub(AGREEING_LOOKS);
    newest.is_some_and(|from| looks[from..].iter().all(|l| l.failure.is_some()))
}

/// Returns why the topology cannot tell; `None` if it is current.
fn describe_topology_gap(topology: &TopologyState) -> Option<Finding> {
    match topology {
        TopologyState::Current(_) => None,
        TopologyState::Pending => Some(Finding::new(
            PreparedReason::Pending,
            "the topology has not been read yet",
        )),
        TopologyState::Failing { error, .. } => {
            let reason = if error.reason == TopologyError::CLUSTER_STOPPED {
                PreparedReason::ClusterStopped
            } else {
                PreparedReason::TopologyNotCurrent
            };
            Some(Finding::new(reason, error.message.clone()))
        }
    }
}
