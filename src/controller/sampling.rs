//! Requests pod readings and DNS samples that the next reconcile needs. Probe and resolver keep within their own limits.

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::observe::{cluster_key, probe_key};
use crate::aurora::{LookRequest, LookRequester, LookUrgency};
use crate::sockets::MaxAge;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{Endpoint, EvidenceSource, TargetSpec};
use dbbalance_api::status::Trigger;
use dbbalance_kube::sockets::PodToRead;
use dbbalance_planner::world::World;
use dbbalance_planner::{Gate, Plan, TargetPlan};

/// The oldest acceptable reading of a pod that is recycled now: a pool renews its connections in about a second.
const WATCHED_POD_AGE: SignedDuration = SignedDuration::from_secs(1);

/// How long looks are wanted after a reconcile that needs them: longer than the time to the next one.
const DNS_BOOST: SignedDuration = SignedDuration::from_secs(15);

/// Requests what the plan waits for until the next reconcile.
pub fn request_samples(
    policy: &DbBalancePolicy,
    world: &World,
    plan: &Plan,
    now: Timestamp,
    ctx: &Context,
) {
    let requester = LookRequester {
        namespace: world.policy.namespace.clone(),
        policy: world.policy.name.clone(),
    };
    ctx.dns.request_looks(
        &cluster_key(&world.spec.cluster, ctx),
        &requester,
        find_needed_looks(world, plan, now).as_ref(),
    );
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

/// Returns the looks that the policy needs until its next reconcile: at the endpoints of the pools that wait for them, and
/// as soon as something is held. What is not held any more leaves its turns to other clusters.
fn find_needed_looks(world: &World, plan: &Plan, now: Timestamp) -> Option<LookRequest> {
    let is_held = |target: &TargetPlan| target.held.as_ref().is_some_and(|h| h.gate == Gate::Dns);
    let boosted = plan.targets.iter().zip(&world.spec.targets);
    let boosted: Vec<_> = boosted.filter(|(target, _)| target.boost_dns).collect();
    let pending = plan.status.pending_epoch.as_ref();
    let is_awaited = pending.is_some() || boosted.iter().any(|(target, _)| is_held(target));
    let needing = boosted
        .into_iter()
        .filter(|(target, _)| is_held(target) || !is_awaited);
    let pools = needing.flat_map(|(_, spec)| &spec.pools);
    let mut endpoints: Vec<Endpoint> = pools.map(|pool| pool.endpoint).collect();
    if let Some(pending) = pending {
        // A failover is told by the cluster endpoint, and readers by theirs.
        let is_replaced = pending.triggers.contains(&Trigger::Replaced);
        let is_urgent = pending.triggers.iter().any(|t| t.is_urgent());
        endpoints.extend(is_urgent.then_some(Endpoint::Writer));
        endpoints.extend((is_replaced || !is_urgent).then_some(Endpoint::Reader));
    }
    (!endpoints.is_empty()).then(|| LookRequest {
        endpoints,
        urgency: if is_awaited {
            LookUrgency::Awaited
        } else {
            LookUrgency::Expected
        },
        until: now.saturating_add(DNS_BOOST).unwrap_or(Timestamp::MAX),
    })
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
