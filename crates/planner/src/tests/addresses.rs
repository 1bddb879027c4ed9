//! Members' addresses in the status: recorded when they change, and no part of the topology.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::recorded_addresses;
use crate::testing::{at, look, quiet, record, view};
use crate::world::{TopologyState, World};
use dbbalance_api::spec::Method;
use dbbalance_core::topology::InstanceId;

fn answered(world: &mut World, second: i64, instance: &str, address: &str) {
    let mut dns = (*world.dns).clone();
    let id = InstanceId(instance.into());
    dns.book
        .record_lookup(&id, &[address.parse().unwrap()], at(second));
    world.dns = Arc::new(dns);
}

fn of(world: &World, instance: &str) -> Option<String> {
    let members = &world.status.topology.as_ref().unwrap().members;
    let member = members.iter().find(|m| m.instance == instance).unwrap();
    member.address.clone()
}

#[test]
fn addresses_are_recorded_as_dns_tells_them_and_written_only_when_they_change() {
    let mut world = quiet(Method::Evict, 2);
    assert_eq!(of(&world, "b"), None);
    answered(&mut world, 1, "b", "10.0.0.2");
    world = record(world, 2);
    assert_eq!(of(&world, "b").as_deref(), Some("10.0.0.2"));
    assert_eq!(look(&world, 600).status, world.status, "nothing ticks");
    // Another family beside it does not replace it.
    answered(&mut world, 700, "b", "fd00::2");
    assert_eq!(look(&world, 701).status, world.status);
    answered(&mut world, 800, "b", "10.0.0.9");
    let moved = look(&world, 801);
    assert_eq!(moved.status.epoch, world.status.epoch, "it is no change");
    assert_eq!(moved.status.pending_epoch, None);
    world = record(world, 801);
    assert_eq!(of(&world, "b").as_deref(), Some("10.0.0.9"));
}

#[test]
fn a_new_leader_that_has_looked_up_nothing_keeps_the_recorded_addresses_over_an_epoch() {
    let mut world = quiet(Method::Evict, 2);
    answered(&mut world, 1, "b", "10.0.0.2");
    world = record(world, 2);
    world.dns = Arc::default();
    // The old writer stays as a reader, b becomes the writer.
    world.topology = TopologyState::Current(view("bac"));
    world = record(world, 10);
    assert_eq!(
        world.status.topology.as_ref().unwrap().writer.as_deref(),
        Some("b")
    );
    assert_eq!(of(&world, "b").as_deref(), Some("10.0.0.2"));
    let known = recorded_addresses(world.status.topology.as_ref().unwrap());
    assert_eq!(
        known,
        [(InstanceId("b".into()), "10.0.0.2".parse().unwrap())]
    );
}

#[test]
fn the_clusters_port_is_recorded_and_stays_while_the_cluster_cannot_be_read() {
    let mut world = quiet(Method::Evict, 1);
    let mut read = view("abc");
    read.endpoints.port = Some(3306);
    world.topology = TopologyState::Current(read);
    world = record(world, 1);
    assert_eq!(world.status.topology.as_ref().unwrap().port, Some(3306));
    world.topology = TopologyState::Pending;
    assert_eq!(look(&world, 2).status, world.status);
}
