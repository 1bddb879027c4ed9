//! Requests pod readings and DNS samples that the next reconcile needs. Probe and resolver keep within their own limits.

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::observe::{cluster_key, probe_key, steered_key};
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
    request_looks(world, ctx);
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

/// Looks at the policy's name while it is narrowed, by whomever, and no longer.
fn request_looks(world: &World, ctx: &Context) {
    let (spec, status) = (&world.spec, Some(&world.status));
    let key = steered_key(&ctx.names, &world.policy.namespace, spec, status);
    let Some(key) = key else { return };
    let Some(name) = ctx.names.looked_up_name(&key) else {
        return;
    };
    let cluster = cluster_key(&spec.cluster, ctx);
    let is_narrowed = ctx
        .names
        .state(&key)
        .is_some_and(|state| state.claim().is_some());
    if is_narrowed {
        ctx.dns.look_at(&cluster, &name);
    } else {
        ctx.dns.look_away(&cluster, &name);
    }
}

/// Returns the pods of a target that are measured; none if another policy owns the target.
fn pods_to_read(world: &World, index: usize, spec: &TargetSpec, ctx: &Context) -> Vec<PodToRead> {
    let Some(found) = world.targets.get(index).filter(|t| t.owned_by.is_none()) else {
        return Vec::new();
    };
    let Some(port) = database_port(world, spec) else {
        return Vec::new();
    };
    let named = spec.evidence_container.as_deref();
    found
        .pods
        .iter()
        .filter(|p| p.is_counted())
        .filter_map(|p| ctx.stores.pod(&world.policy.namespace, &p.name))
        .filter_map(|p| PodToRead::from_pod(&p, port, named))
        .collect()
}

/// Returns the port of the target's database connections: its own, else the cluster's as last read or recorded, else the
/// engine's default; `None` while nothing is known of the cluster. A guess would find no connections, and pods without a
/// connection count as placed.
fn database_port(world: &World, spec: &TargetSpec) -> Option<u16> {
    let own = spec.port.and_then(|port| u16::try_from(port).ok());
    let read = || {
        let view = world.topology.last()?;
        Some(view.endpoints.port.unwrap_or(match view.engine.as_str() {
            "aurora-mysql" => 3306,
            _ => 5432,
        }))
    };
    let recorded = || {
        let port = world.status.topology.as_ref()?.port?;
        u16::try_from(port).ok()
    };
    own.or_else(read).or_else(recorded)
}

#[cfg(test)]
mod tests;
