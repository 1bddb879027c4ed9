//! The gate of the connection budget: whether an instance has room for what a step may open.

use crate::target::{PassContext, TargetContext};
use crate::types::{ClosedGate, Gate};
use crate::world::{ClusterPeers, count_connections};
use dbbalance_core::budget::{self, BudgetBound, BudgetCheck, Holding, Load, Members};
use dbbalance_core::workload::WorkloadFacts;

/// How many other policies a message names.
const HOLDERS: usize = 3;

/// How a step opens its connections, as far as the budget depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepKind {
    /// New pods start before the old ones are gone, so a limit must be known.
    pub surges: bool,
    /// All its pods are older than the last failover: their connections are broken.
    pub urgent: bool,
}

/// The budget's refusal of a step.
pub(crate) struct BudgetRefusal {
    pub closed: ClosedGate,
    /// Whether it rests on an estimate: it may cut an urgent step, and does not hold it.
    pub estimated: bool,
    /// What of its sum does not change with what is held; `None` if no limit is known.
    pub bound: Option<BudgetBound>,
}

/// Checks that the budget has room for `adds`, besides what is held and `in_flight` of this policy.
///
/// A failover by a method that closes connections before it opens others is never held: its pods hold broken connections,
/// which others replace. Nor is a failover by another method held by an estimate.
pub(crate) fn check_budget(
    pass: &PassContext,
    in_flight: Load,
    adds: Load,
    kind: StepKind,
) -> Result<(), ClosedGate> {
    match find_refusal(pass, in_flight, adds, kind) {
        Some(refusal) if !(kind.urgent && refusal.estimated) => Err(refusal.closed),
        Some(_) | None => Ok(()),
    }
}

/// Returns the budget's refusal, also one by an estimate that does not hold an urgent step.
pub(crate) fn find_refusal(
    pass: &PassContext,
    in_flight: Load,
    adds: Load,
    kind: StepKind,
) -> Option<BudgetRefusal> {
    let in_flight = in_flight.plus(pass.world.peers.in_flight);
    find_refusal_beside(pass, in_flight, adds, kind)
}

/// Returns the budget's refusal of a step while nothing is in flight.
pub(crate) fn find_refusal_at_rest(
    pass: &PassContext,
    adds: Load,
    kind: StepKind,
) -> Option<BudgetRefusal> {
    find_refusal_beside(pass, Load::default(), adds, kind)
}

/// Returns the budget's refusal of a step beside what is in flight on the cluster.
fn find_refusal_beside(
    pass: &PassContext,
    in_flight: Load,
    adds: Load,
    kind: StepKind,
) -> Option<BudgetRefusal> {
    let world = pass.world;
    let refusal = |gate, message, estimated, bound| {
        let closed = ClosedGate::new(gate, message);
        Some(BudgetRefusal {
            closed,
            estimated,
            bound,
        })
    };
    let Some(view) = world.topology.current() else {
        let message = "the topology is not current".to_owned();
        return refusal(Gate::TopologyNotCurrent, message, false, None);
    };
    if kind.urgent && !kind.surges {
        return None;
    }
    let held = count_held(pass).plus(&world.peers.count_held(kind.urgent));
    let settled = world.settled_topology();
    let members = Members {
        view,
        settled: settled.as_ref(),
    };
    let budget = &pass.policy.budget;
    match budget::check_budget(members, budget, &held, in_flight, adds, kind.surges) {
        BudgetCheck::Fits => None,
        BudgetCheck::Exceeds {
            mut message,
            measured,
            bound,
        } => {
            message.push_str(&describe_holders(&world.peers));
            refusal(Gate::Budget, message, !measured, Some(bound))
        }
        BudgetCheck::Unknown(_) if kind.urgent => None,
        BudgetCheck::Unknown(message) => refusal(Gate::BudgetUnknown, message, true, None),
    }
}

/// Names the other policies that hold most; empty if no other policy holds anything.
fn describe_holders(peers: &ClusterPeers) -> String {
    let largest = peers.holders.iter().take(HOLDERS);
    let largest: Vec<String> = largest
        .map(|(policy, connections)| format!("{policy} {connections}"))
        .collect();
    if largest.is_empty() {
        return String::new();
    }
    let more = peers.holders.len() - largest.len();
    let rest = if more > 0 {
        format!(" and {more} more policies")
    } else {
        String::new()
    };
    format!("; of the cluster hold {}{rest}", largest.join(", "))
}

/// Returns what this policy's pods hold, or will once they have started: as measured, or by what their pools may hold.
/// Terminating pods keep their connections.
pub(crate) fn count_held(pass: &PassContext) -> Holding {
    let world = pass.world;
    let view = world.topology.current().map(|v| &v.topology);
    let targets = pass.policy.targets.iter().zip(&world.targets);
    targets.fold(Holding::default(), |sum, (target, found)| {
        let pods = found.pods.iter();
        let pods = pods.filter(|p| !p.finished && (p.started.is_some() || !p.terminating));
        sum.plus(&count_connections(
            &target.pool_loads(0),
            pods.map(|p| p.uid.as_str()),
            &found.evidence.measured,
            &world.dns.book,
            view,
        ))
    })
}

/// Returns the connections that the target's recycles in progress may add.
pub(crate) fn count_in_flight(ctx: &TargetContext) -> Load {
    let claimed = ctx.stale.iter().filter(|p| ctx.is_started(p)).count();
    let stamped = |w: &&WorkloadFacts| {
        let stamp = w.template_stamp.as_ref();
        stamp.is_some_and(|s| s.policy == ctx.mark)
    };
    let rolling = ctx.found.workload.as_ref().filter(|w| w.is_rolling());
    let surging = rolling.filter(stamped).map_or(0, WorkloadFacts::surge_pods);
    ctx.load(claimed + surging)
}
