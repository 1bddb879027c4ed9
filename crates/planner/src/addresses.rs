//! Addresses: where the members are found, recorded beside the topology.
//!
//! For people and the plugin, and so that a new leader recognises the connections of members that it never
//! looked up. No part of the topology: another address is no change and raises nothing.

use std::net::IpAddr;

use crate::world::World;
use dbbalance_api::status::{DbBalancePolicyStatus, MemberStatus, TopologyStatus};
use dbbalance_core::dns::AddressBook;
use dbbalance_core::topology::InstanceId;

/// Records addresses and port as DNS and RDS tell them now. What they do not tell stays as it was.
pub(super) fn record(world: &World, status: &mut DbBalancePolicyStatus) {
    let before = world.status.topology.as_ref();
    let Some(topology) = &mut status.topology else {
        return;
    };
    let told = world.reading.current().and_then(|v| v.endpoints.port);
    let known = topology.port.or_else(|| before.and_then(|t| t.port));
    topology.port = told.map(i32::from).or(known);
    for member in &mut topology.members {
        let kept = member.address.take().or_else(|| former(before, member));
        member.address = address(&world.dns.book, member, kept);
    }
}

/// The address that the same member had in the status before.
fn former(before: Option<&TopologyStatus>, member: &MemberStatus) -> Option<String> {
    let mut members = before?.members.iter();
    let same =
        members.find(|m| m.instance == member.instance && m.resource_id == member.resource_id)?;
    same.address.clone()
}

/// The member's address now. Of several the recorded one stays, so that their order is never written.
fn address(book: &AddressBook, member: &MemberStatus, kept: Option<String>) -> Option<String> {
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

/// The addresses that a status records.
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
