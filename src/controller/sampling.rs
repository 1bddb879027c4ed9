//! Requests pod readings and DNS samples that the next reconcile needs. Probe and resolver keep within their own limits.

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::observe::{cluster_key, probe_key};
use crate::sockets::MaxAge;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{EvidenceSource, TargetSpec};
use dbbalance_kube::sockets::PodToRead;
use dbbalance_planner::Plan;
use dbbalance_planner::world::World;

/// The oldest acceptable reading of a pod that is recycled now: a pool renews its connections in about a second.
const WATCHED_POD_AGE: SignedDuration = SignedDuration::from_secs(1);

/// How long DNS is sampled at the fast interval after a reconcile that needs it: longer than the time to the next one.
const DNS_BOOST: SignedDuration = SignedDuration::from_secs(15);

/// Requests what the plan waits for until the next reconcile.
pub fn request_samples(
    policy: &DbBalancePolicy,
    world: &World,
    plan: &Plan,
    now: Timestamp,
    ctx: &Context,
) {
    // A pending epoch or a rebalanced target waits for DNS.
    if plan.status.pending_epoch.is_some() || plan.targets.iter().any(|t| t.boost_dns) {
        let until = now.saturating_add(DNS_BOOST).unwrap_or(Timestamp::MAX);
        ctx.dns
            .boost_until(&cluster_key(&world.spec.cluster, ctx), until);
    }
    if world.spec.evidence.source == EvidenceSource::None || !world.evidence_allowed {
        return;
    }
    for (index, spec) in world.spec.targets.iter().enumerate() {
        let part = plan.targets.get(index);
        let since = |age| MaxAge::Since(now.saturating_sub(age).unwrap_or(now));
        let others = part
            .and_then(|t| t.max_reading_age)
            .map_or(MaxAge::Heartbeat, since);
        let closely = |pod: &PodToRead| part.is_some_and(|t| t.watch_pods.contains(&pod.uid));
        let pods = pods_to_read(world, index, spec, ctx)
            .into_iter()
            .map(|pod| {
                let freshness = if closely(&pod) {
                    since(WATCHED_POD_AGE)
                } else {
                    others
                };
                (pod, freshness)
            });
        ctx.probe
            .measure_each(&probe_key(policy, spec), pods.collect());
    }
}

/// Returns the pods of a target that are measured; none if another policy owns the target.
fn pods_to_read(world: &World, index: usize, spec: &TargetSpec, ctx: &Context) -> Vec<PodToRead> {
    let Some(found) = world.targets.get(index).filter(|t| t.owned_by.is_none()) else {
        return Vec::new();
    };
    let port = database_port(world, spec);
    let named = spec.evidence_container.as_deref();
    found
        .pods
        .iter()
        .filter(|p| p.is_counted())
        .filter_map(|p| ctx.stores.pod(&world.policy.namespace, &p.name))
        .filter_map(|p| PodToRead::from_pod(&p, port, named))
        .collect()
}

/// Returns the port of the target's database connections: its own, else the cluster's, else the engine's default.
fn database_port(world: &World, spec: &TargetSpec) -> u16 {
    let view = world.topology.current();
    let default = match view.map(|v| v.engine.as_str()) {
        Some("aurora-mysql") => 3306,
        _ => 5432,
    };
    let own = spec.port.and_then(|p| u16::try_from(p).ok());
    own.or_else(|| view?.endpoints.port).unwrap_or(default)
}
