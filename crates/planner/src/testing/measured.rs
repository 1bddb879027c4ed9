//! Worlds whose connections are measured, in few words.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{baseline, pod, target, unseen};
use crate::world::World;
use dbbalance_api::spec::{EvidenceSource, Method};
use dbbalance_core::dns::{DnsSample, DnsView};
use dbbalance_core::evidence::{Measured, PodMeasurement, PodReading, Socket, SocketState};
use dbbalance_core::topology::InstanceId;

/// The address of the instance named by a letter.
fn address(instance: &str) -> IpAddr {
    IpAddr::from([10, 0, 0, instance.bytes().next().unwrap_or(b'?')])
}

/// Sockets from consecutive local ports: so many to each instance.
pub(crate) fn sockets(first_port: u16, to: &[(&str, u16)]) -> Vec<Socket> {
    let remotes = to
        .iter()
        .flat_map(|(i, n)| (0..*n).map(move |_| address(i)));
    remotes
        .zip(first_port..)
        .map(|(remote, port)| Socket {
            local: SocketAddr::new(IpAddr::from([10, 1, 0, 1]), port),
            remote: SocketAddr::new(remote, 5432),
            state: SocketState::Established,
            unacknowledged: 0,
            retransmits: 0,
            unanswered_probes: 0,
            opened_after: None,
        })
        .collect()
}

/// A policy with the target `web` of reader pools, after its baseline at time 0: one pod for each entry,
/// with so many connections to each instance, read at time 0.
pub(crate) fn measured(method: Method, pods: &[&[(&str, u16)]]) -> World {
    let mut web = target("web", method);
    web.pools =
        serde_json::from_value(json!([{"endpoint": "Reader", "connectionsPerPod": 10}])).unwrap();
    let mut world = unseen(vec![web], pods.len());
    world.spec.evidence.source = EvidenceSource::ProcNet;
    world.targets[0].pods = (0..pods.len())
        .map(|i| pod(&format!("web-{i}"), -1000))
        .collect();
    let mut view = DnsView::default();
    for instance in ["a", "b", "c", "d"] {
        let id = InstanceId(instance.into());
        view.book
            .record_lookup(&id, &[address(instance)], super::at(0));
    }
    world.dns = Arc::new(view);
    read(&mut world, 0, pods);
    baseline(world)
}

/// Has all pods read at this time.
pub(crate) fn read(world: &mut World, second: i64, pods: &[&[(&str, u16)]]) {
    for (index, to) in pods.iter().enumerate() {
        read_one(world, second, index, &sockets(1000, to));
    }
}

/// Has one pod read at this time.
pub(crate) fn read_one(world: &mut World, second: i64, index: usize, sockets: &[Socket]) {
    let found = &mut world.targets[0];
    let uid = found.pods[index].uid.clone();
    let reading = PodReading {
        at: super::at(second),
        sockets: sockets.into(),
    };
    found
        .evidence
        .measured
        .pods
        .insert(uid, PodMeasurement::Read(reading));
}

/// Forgets all readings.
pub(crate) fn unread(world: &mut World) {
    world.targets[0].evidence.measured = Measured {
        pods: BTreeMap::new(),
    };
}

/// Lets evidence be silent since this time.
pub(crate) fn silence(world: &mut World, second: i64) {
    unread(world);
    world.targets[0].evidence.silent_since = Some(super::at(second));
}

/// Lets the last eight looks before this time, one each 100 ms, name these instances.
pub(crate) fn looks(world: &mut World, second: i64, reader: &str, writer: &str) {
    let named = |instance: &str| -> Vec<DnsSample> {
        (0..8)
            .map(|n| DnsSample {
                at: ago(second, 800 - 100 * n),
                address: Some(address(instance)),
                instance: Some(InstanceId(instance.into())),
                ttl: 1,
                failure: None,
            })
            .collect()
    };
    let mut view = (*world.dns).clone();
    view.reader = named(reader);
    view.readers_named
        .retain(|l| l.address != Some(address(reader)));
    view.readers_named.extend(view.reader.last().cloned());
    view.writer = named(writer);
    world.dns = Arc::new(view);
}

fn ago(second: i64, millis: i64) -> Timestamp {
    super::at(second)
        .saturating_sub(SignedDuration::from_millis(millis))
        .unwrap()
}
