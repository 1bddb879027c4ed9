//! The gate of the connection budget: whether an instance has room for what a step may open.

use crate::target::{PassContext, TargetContext};
use crate::types::{ClosedGate, Gate};
use crate::world::{ClusterPeers, count_connections};
use dbbalance_core::budget::{self, BudgetCheck, Holding, Load, Members};
use dbbalance_core::workload::WorkloadFacts;

/// How many other policies a message names.
const HOLDERS: usize = 3;

/// Checks that the budget has room for `adds`, besides what is held and `in_flight` of this policy. `surges`: the method
/// starts new pods before the old ones are gone, so it must know a limit.
pub(crate) fn check_budget(
    pass: &PassContext,
    in_flight: Load,
    adds: Load,
    surges: bool,
) -> Result<(), ClosedGate> {
    let world = pass.world;
    let Some(view) = world.topology.current() else {
        let message = "the topology is not current";
        return Err(ClosedGate::new(Gate::TopologyNotCurrent, message));
    };
    let held = count_held(pass).plus(&world.peers.held);
    let in_flight = in_flight.plus(world.peers.in_flight);
    let settled = world.settled_topology();
    let members = Members {
        view,
        settled: settled.as_ref(),
    };
    match budget::check_budget(members, &pass.policy.budget, &held, in_flight, adds, surges) {
        BudgetCheck::Fits => Ok(()),
        BudgetCheck::Exceeds(mut message) => {
            message.push_str(&describe_holders(&world.peers));
            Err(ClosedGate::new(Gate::Budget, message))
        }
        BudgetCheck::Unknown(message) => Err(ClosedGate::new(Gate::BudgetUnknown, message)),
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
fn count_held(pass: &PassContext) -> Holding {
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
