//! Wishes: what the pass wants to see next of pods and of DNS.
//!
//! Tells the probe and the resolver; they keep their own bounds. Decides nothing: the plan says for which
//! target somebody waits.

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::observe::{cluster_key, probe_key};
use crate::evidence::Freshness;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{EvidenceSource, TargetSpec};
use dbbalance_kube::sockets::PodToRead;
use dbbalance_planner::Plan;
use dbbalance_planner::world::World;

/// How old a reading of a pod may be that changes now: a pool renews its connections in about a second.
const NEW: SignedDuration = SignedDuration::from_secs(1);

/// How long DNS is looked at closely after a pass that needs it: longer than the pause between two such passes.
const WANTED: SignedDuration = SignedDuration::from_secs(15);

/// Says what is wanted until the next pass.
pub fn wish(policy: &DbBalancePolicy, world: &World, plan: &Plan, now: Timestamp, ctx: &Context) {
    // Somebody waits for DNS: an epoch that is pending, or a target that is steered.
    if plan.status.pending_epoch.is_some() || plan.targets.iter().any(|t| t.look) {
        let until = now.saturating_add(WANTED).unwrap_or(Timestamp::MAX);
        ctx.dns.want(&cluster_key(&world.spec.cluster, ctx), until);
    }
    if world.spec.evidence.source == EvidenceSource::None || !world.evidence_allowed {
        return;
    }
    for (index, spec) in world.spec.targets.iter().enumerate() {
        let part = plan.targets.get(index);
        let since = |age| Freshness::Since(now.saturating_sub(age).unwrap_or(now));
        let others = part
            .and_then(|t| t.measure)
            .map_or(Freshness::Heartbeat, since);
        let closely = |pod: &PodToRead| part.is_some_and(|t| t.closely.contains(&pod.uid));
        let pods = pods(world, index, spec, ctx).into_iter().map(|pod| {
            let freshness = if closely(&pod) { since(NEW) } else { others };
            (pod, freshness)
        });
        ctx.probe
            .want_each(&probe_key(policy, spec), pods.collect());
    }
}

/// The counted pods of a target, as the probe reads them.
fn pods(world: &World, index: usize, spec: &TargetSpec, ctx: &Context) -> Vec<PodToRead> {
    let Some(found) = world.targets.get(index).filter(|t| t.owned_by.is_none()) else {
        return Vec::new();
    };
    let port = port(world, spec);
    let named = spec.evidence_container.as_deref();
    found
        .pods
        .iter()
        .filter(|p| p.is_counted())
        .filter_map(|p| ctx.stores.pod(&world.policy.namespace, &p.name))
        .filter_map(|p| PodToRead::from_pod(&p, port, named))
        .collect()
}

/// The port of the target's connections: its own, else the cluster's, else the default of its engine.
fn port(world: &World, spec: &TargetSpec) -> u16 {
    let view = world.reading.current();
    let default = match view.map(|v| v.engine.as_str()) {
        Some("aurora-mysql") => 3306,
        _ => 5432,
    };
    let own = spec.port.and_then(|p| u16::try_from(p).ok());
    own.or_else(|| view?.endpoints.port).unwrap_or(default)
}
