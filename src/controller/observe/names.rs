//! What stands under the name that a policy steers.

use std::collections::BTreeMap;

use super::{cluster_key, last_view};
use crate::controller::context::Context;
use crate::k8s::steering::{ClusterHosts, NameKey, SteeredNames, observe_name};
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{DbBalancePolicySpec, SteeringVia};
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::narrow::ObservedName;
use dbbalance_core::topology::InstanceId;
use dbbalance_planner::world::{SteeredName, World};

/// Returns the name that the policy steers. Without steering, the one that its status still records: a name is widened
/// whose steering was removed.
#[must_use]
pub fn steered_key(
    names: &SteeredNames,
    namespace: &str,
    spec: &DbBalancePolicySpec,
    status: Option<&DbBalancePolicyStatus>,
) -> Option<NameKey> {
    let wanted = spec.dns.steering.as_ref().map(|s| (s.via, &s.reader));
    let recorded = || {
        let dns = status?.dns.as_ref()?;
        Some((dns.via, &dns.service))
    };
    let (via, reader) = wanted.or_else(recorded)?;
    Some(names.key_of(via, namespace, reader))
}

/// Returns whether the spec of a policy of this namespace steers the name.
#[must_use]
pub fn is_steered_by(policy: &DbBalancePolicy, key: &NameKey) -> bool {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    policy.spec.dns.steering.as_ref().is_some_and(|steering| {
        steering.via == key.via
            && steering.reader == key.name
            && (key.via == SteeringVia::Slice || namespace == key.namespace)
    })
}

/// Returns what stands under the policy's name now.
#[must_use]
pub fn observe_steered(world: &World, key: &NameKey, names: &SteeredNames) -> ObservedName {
    let Some(state) = names.state(key) else {
        return ObservedName::NotAllowed;
    };
    let view = last_view(&world.topology);
    let reader = view.and_then(|view| view.endpoints.reader.as_deref());
    // Another cluster's slice: whoever narrowed it would lead the readers of a cluster that is not the policy's.
    if reader.is_some_and(|reader| !names.may_serve(key, reader)) {
        return ObservedName::NotAllowed;
    }
    let facts = view.into_iter().flat_map(|view| &view.facts);
    let instances: BTreeMap<InstanceId, String> = facts
        .filter_map(|(id, facts)| Some((id.clone(), facts.endpoint.clone()?)))
        .collect();
    let hosts = ClusterHosts {
        reader,
        instances: &instances,
        book: &world.dns.book,
    };
    observe_name(&state, hosts)
}

/// Returns the policy's name with the looks at it; `None` if it steers none.
pub(super) fn gather_steered_name(
    world: &World,
    wide_until: Option<String>,
    ctx: &Context,
) -> Option<SteeredName> {
    let policy = &world.policy;
    let key = steered_key(
        &ctx.names,
        &policy.namespace,
        &world.spec,
        Some(&world.status),
    )?;
    let looked_up = ctx.names.looked_up_name(&key);
    let looks = looked_up
        .map(|name| {
            ctx.dns
                .name_looks(&cluster_key(&world.spec.cluster, ctx), &name)
        })
        .unwrap_or_default();
    Some(SteeredName {
        observed: observe_steered(world, &key, &ctx.names),
        looks: looks.looks,
        greatest_ttl: looks.greatest_ttl,
        wide_until,
        is_operator_alone: ctx.names.config().replicas < 2,
        is_shutting_down: ctx.names.is_closed(),
    })
}
