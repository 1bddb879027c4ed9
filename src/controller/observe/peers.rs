//! Plans a pass with what other policies hold of the cluster, and enters what this policy holds.

use jiff::Timestamp;

use super::{cluster_key, gather_world};
use crate::controller::context::Context;
use crate::controller::ledger::LedgerView;
use crate::controller::state_cache::PolicyState;
use crate::k8s::watch::Stores;
use dbbalance_api::spec::{EvidenceSource, Mode};
use dbbalance_api::status::RunStatus;
use dbbalance_core::balance::ReaderShares;
use dbbalance_core::budget::{Holding, Load};
use dbbalance_core::topology::ClusterView;
use dbbalance_planner::policy::{ParsedPolicy, Policy, PolicyFindings, pool_loads};
use dbbalance_planner::world::{
    ClusterPeers, PeerHolding, TopologyState, World, count_connections,
};
use dbbalance_planner::{Plan, is_acting, plan};

/// Plans a pass with what the other policies of the cluster hold and have in progress, and enters in the ledger what this
/// policy holds and reserves. If another policy's entry has changed meanwhile, the plan is made again, so that two policies
/// cannot both take the rest of a budget.
pub fn plan_among_peers(
    world: &mut World,
    parsed: &ParsedPolicy,
    now: Timestamp,
    ctx: &Context,
) -> Plan {
    let Some(cluster) = last_view(&world.topology).map(|view| view.topology.arn.clone()) else {
        // Nothing is done on a cluster that was not read, and the policy counts once it is.
        if !is_acting(world, parsed) {
            ctx.ledger.leave(&world.policy.uid);
        }
        return plan(world, parsed, now);
    };
    enter_missing(&cluster, ctx);
    let uid = world.policy.uid.clone();
    let acts = is_acting(world, parsed);
    let held = acts.then(|| count_holding(world, ctx));
    let is_young = ctx.ledger.is_young(now);
    // Each further round means that another policy of the cluster has got ahead, so this ends.
    loop {
        let view = ctx.ledger.view(&cluster, &uid);
        world.peers = sum_peers(&view, world, &ctx.stores);
        world.peers.is_young = is_young;
        let plan = plan(world, parsed, now);
        let holding = held.clone().map(|held| PeerHolding {
            namespace: world.policy.namespace.clone(),
            name: world.policy.name.clone(),
            held,
            in_flight: plan
                .targets
                .iter()
                .fold(Load::default(), |sum, t| sum.plus(t.in_flight)),
            running: plan.targets.iter().filter(|t| t.running).count(),
            shares: ReaderShares::sum(plan.targets.iter().map(|t| &t.shares)),
        });
        if ctx.ledger.enter(&uid, &cluster, holding, &view) {
            return plan;
        }
    }
}

/// Returns the last view of the topology, whether or not it is current.
#[must_use]
pub fn last_view(topology: &TopologyState) -> Option<&ClusterView> {
    match topology {
        TopologyState::Current(view) => Some(view),
        TopologyState::Failing { last, .. } => last.as_ref(),
        TopologyState::Pending => None,
    }
}

fn sum_peers(view: &LedgerView, world: &World, stores: &Stores) -> ClusterPeers {
    let acting: Vec<PeerHolding> = view
        .peers
        .iter()
        .filter(|(uid, peer)| still_acts(stores, uid, peer))
        .map(|(_, peer)| (**peer).clone())
        .collect();
    ClusterPeers::sum(
        &acting,
        &world.policy.namespace,
        last_view(&world.topology),
        &world.spec.budget,
    )
}

/// Returns whether the policy of an entry exists and acts, by the cache: it may not have been reconciled since a change.
fn still_acts(stores: &Stores, uid: &str, peer: &PeerHolding) -> bool {
    let policy = stores.policy(&peer.namespace, &peer.name);
    let policy = policy.as_ref().and_then(|policy| policy.0.as_ref().ok());
    policy.is_some_and(|policy| {
        policy.metadata.uid.as_deref() == Some(uid)
            && policy.metadata.deletion_timestamp.is_none()
            && policy.spec.mode == Mode::Enforce
            && !policy.spec.suspend
    })
}

/// Returns what the policy's own pods hold: as measured, or by what their pools may hold. A pod of an older policy is not
/// among them. Addresses that only a status records do not count.
fn count_holding(world: &World, ctx: &Context) -> Holding {
    let key = cluster_key(&world.spec.cluster, ctx);
    let dns = ctx.dns.view(&key);
    let topology = last_view(&world.topology).map(|view| &view.topology);
    let targets = world.spec.targets.iter().zip(&world.targets);
    targets.fold(Holding::default(), |sum, (spec, found)| {
        let running = found.pods.iter();
        let running = running.filter(|p| p.started.is_some() && !p.finished);
        sum.plus(&count_connections(
            &pool_loads(spec),
            running.map(|p| p.uid.as_str()),
            &found.evidence.measured,
            &dns.book,
            topology,
        ))
    })
}

/// Enters the policies of this cluster that were not reconciled since this replica became the leader: what their pods hold,
/// and the runs that their statuses record, which their first reconcile replaces.
fn enter_missing(cluster: &str, ctx: &Context) {
    let policies = ctx.stores.policies();
    let parsed = policies.iter().filter_map(|p| p.0.as_ref().ok());
    let missing = ctx
        .ledger
        .find_missing(parsed.filter_map(|p| Some((p.metadata.uid.as_deref()?, p))));
    for policy in missing {
        let key = cluster_key(&policy.spec.cluster, ctx);
        let view = ctx.pollers.snapshot(&key).view;
        if view.is_none_or(|view| view.topology.arn != cluster) {
            continue;
        }
        let world = gather_world(policy, ctx, &PolicyState::default(), &key);
        let parsed = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world));
        let targets = world.status.targets.iter();
        let running = targets.filter(|t| t.run.as_ref().is_some_and(RunStatus::is_counted));
        let holding = is_acting(&world, &parsed).then(|| PeerHolding {
            namespace: world.policy.namespace.clone(),
            name: world.policy.name.clone(),
            held: count_holding(&world, ctx),
            in_flight: Load::default(),
            running: running.count(),
            // Its first reconcile counts them.
            shares: if world.spec.evidence.source == EvidenceSource::None {
                ReaderShares::Unmeasured
            } else {
                ReaderShares::Unread
            },
        });
        ctx.ledger.enter_first(&world.policy.uid, cluster, holding);
    }
}
