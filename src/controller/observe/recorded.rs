//! What statuses record of a cluster, and how far it is believed.
//!
//! Whoever may write a policy's status can record anything there. So nothing of it counts for other policies: addresses serve
//! the policy that recorded them, and the pollers start from a topology only if all statuses record the same one.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::cluster_key;
use crate::aurora::{ClusterKey, ClusterSnapshot};
use crate::controller::context::Context;
use dbbalance_api::spec::DbBalancePolicy;
use dbbalance_api::status::MemberStatus;
use dbbalance_core::dns::DnsView;
use dbbalance_core::topology::Topology;
use dbbalance_planner::{recorded_addresses, recorded_topology};

/// Returns the topology that the statuses of all policies with this key record, for the poller to start from; `None` unless
/// all record the same one.
pub(super) fn agreed_topology(
    policy: &DbBalancePolicy,
    key: &ClusterKey,
    ctx: &Context,
) -> Option<Topology> {
    let recorded = |policy: &DbBalancePolicy| {
        let status = policy.status.as_ref()?;
        recorded_topology(status.topology.as_ref()?)
    };
    let own = recorded(policy)?;
    let uid = policy.uid();
    let agree = ctx.stores.policies().iter().all(|other| {
        let Ok(other) = &other.0 else { return true };
        let is_same_cluster = other.spec.cluster.identifier == key.cluster.0
            && cluster_key(&other.spec.cluster, ctx) == *key
            && ctx.may_name_cluster(other, key, None);
        !is_same_cluster || other.uid() == uid || recorded(other).as_ref() == Some(&own)
    });
    agree.then_some(own)
}

/// Returns the DNS of a cluster as the policy sees it: with the addresses that its status records of members whose endpoint
/// this process has not resolved yet. Otherwise their good connections would seem to lead to unknown addresses after a change
/// of the leader. An address is believed only of an instance that the RDS API lists with the recorded resource ID, and it
/// never marks a connection as one to a former member.
pub(super) fn own_dns_view(
    policy: &DbBalancePolicy,
    snapshot: &ClusterSnapshot,
    shared: Arc<DnsView>,
    now: Timestamp,
) -> Arc<DnsView> {
    let recorded = policy.status.as_ref().and_then(|s| s.topology.as_ref());
    let (Some(view), Some(recorded)) = (&snapshot.view, recorded) else {
        return shared;
    };
    let is_member = |m: &MemberStatus| {
        let mut members = view.topology.members();
        members.any(|(id, _)| id.instance.0 == m.instance && id.resource.0 == m.resource_id)
    };
    let mut recorded = recorded.clone();
    recorded.members.retain(is_member);
    let mut addresses = recorded_addresses(&recorded);
    addresses.retain(|(instance, address)| {
        shared.book.current_addresses(instance).next().is_none()
            && shared.book.record_of(*address).is_none()
    });
    if addresses.is_empty() {
        return shared;
    }
    let mut own = (*shared).clone();
    for (instance, address) in &addresses {
        own.book.seed_address(instance, *address, true, now);
    }
    Arc::new(own)
}

#[cfg(test)]
mod tests;
