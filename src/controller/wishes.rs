//! Wishes: what the pass wants to see next of pods and of DNS.
//!
//! Tells the probe and the resolver; they keep their own bounds. Decides nothing: the plan says for which
//! target somebody waits.

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::observe::probe_key;
use super::plan::Plan;
use super::world::World;
use crate::api::DbBalancePolicy;
use crate::api::spec::{EvidenceSource, TargetSpec};
use crate::evidence::{Freshness, PodToRead};

/// A reading as young as this is new enough for somebody who waits: pods change within about a second.
const NEW: SignedDuration = SignedDuration::from_secs(1);

/// Says what is wanted until the next pass.
pub fn wish(policy: &DbBalancePolicy, world: &World, plan: &Plan, now: Timestamp, ctx: &Context) {
    if world.spec.evidence.source == EvidenceSource::None || !world.evidence_allowed {
        return;
    }
    let since = now.saturating_sub(NEW).unwrap_or(now);
    for (index, spec) in world.spec.targets.iter().enumerate() {
        let wanted = plan.targets.get(index).is_some_and(|t| t.measure);
        let freshness = if wanted {
            Freshness::Since(since)
        } else {
            Freshness::Heartbeat
        };
        let pods = pods(world, index, spec, ctx);
        ctx.probe.want(&probe_key(policy, spec), pods, freshness);
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
        .filter_map(|p| PodToRead::of(&p, port, named))
        .collect()
}

/// The port of the target's connections: its own, else the cluster's.
fn port(world: &World, spec: &TargetSpec) -> u16 {
    let own = spec.port.and_then(|p| u16::try_from(p).ok());
    own.unwrap_or_else(|| {
        let engine = world.reading.current().map(|v| v.engine.as_str());
        // The defaults of the engines, where the cluster's port is not known.
        if engine == Some("aurora-mysql") {
            3306
        } else {
            5432
        }
    })
}
