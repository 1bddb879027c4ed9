//! The addresses of the members, recorded beside the topology.
//!
//! For users and the plugin, and so that a new leader recognises the connections of members that it never
//! looked up. They are not part of the topology: another address raises no epoch.

use std::net::IpAddr;

use crate::world::World;
use dbbalance_api::status::{DbBalancePolicyStatus, MemberStatus, TopologyStatus};
use dbbalance_core::dns::AddressBook;
use dbbalance_core::topology::{InstanceId, Topology};

/// How many former addresses are recorded: those of two whole clusters of 16 members.
pub(super) const MAX_FORMER_ADDRESSES: usize = 32;

/// Records addresses and port as DNS and RDS report them now. What they do not report stays as it was.
pub(crate) fn record_addresses(world: &World, status: &mut DbBalancePolicyStatus) {
    let before = world.status.topology.as_ref();
    let Some(topology) = &mut status.topology else {
        return;
    };
    let reported = world.topology.current().and_then(|v| v.endpoints.port);
    let known = topology.port.or_else(|| before.and_then(|t| t.port));
    topology.port = reported.map(i32::from).or(known);
    for member in &mut topology.members {
        let kept = member
            .address
            .take()
            .or_else(|| recorded_address(before, member));
        member.address = choose_address(&world.dns.book, member, kept);
    }
}

/// Returns the address that the same member had in the status before.
fn recorded_address(before: Option<&TopologyStatus>, member: &MemberStatus) -> Option<String> {
    let mut members = before?.members.iter();
    let same =
        members.find(|m| m.instance == member.instance && m.resource_id == member.resource_id)?;
    same.address.clone()
}

/// Returns the member's address now. Of several the recorded one stays, so that a new order writes nothing.
fn choose_address(
    book: &AddressBook,
    member: &MemberStatus,
    kept: Option<String>,
) -> Option<String> {
    let instance = InstanceId(member.instance.clone());
    let current: Vec<String> = book
        .current_addresses(&instance)
        .map(|a| a.to_string())
        .collect();
    match kept {
        Some(kept) if current.is_empty() || current.contains(&kept) => Some(kept),
        _ => current.into_iter().next(),
    }
}

/// Returns the recorded addresses of instances that `next` has replaced under their names, or with the whole cluster.
pub(super) fn replaced_addresses(before: &TopologyStatus, next: &Topology) -> Vec<String> {
    let replaces_all = before.cluster_resource_id != next.resource.0;
    let is_replaced = |m: &&MemberStatus| {
        replaces_all
            || next
                .members()
                .any(|(n, _)| n.instance.0 == m.instance && n.resource.0 != m.resource_id)
    };
    let replaced = before.members.iter().filter(is_replaced);
    replaced.filter_map(|m| m.address.clone()).collect()
}

/// Returns the addresses that a status records.
#[must_use]
pub fn recorded_addresses(topology: &TopologyStatus) -> Vec<(InstanceId, IpAddr)> {
    let members = topology.members.iter();
    members
        .filter_map(|m| {
            let address = m.address.as_deref()?.parse().ok()?;
            Some((InstanceId(m.instance.clone()), address))
        })
        .collect()
}
