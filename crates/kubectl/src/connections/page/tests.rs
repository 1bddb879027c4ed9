#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::address_map::{AddressMap, parse_topology};
use super::super::snapshot::{ConnectionSnapshot, SnapshotInput, build_snapshot};
use super::*;
use dbbalance_api::spec::TargetSpec;
use dbbalance_api::status::{BalanceStatus, TopologyStatus};
use dbbalance_core::evidence::{
    Measured, PodHoldings, PodMeasurement, PodReading, SocketState, Unreadable, UnreadableReason,
};
use dbbalance_core::testing::socket;
use dbbalance_core::topology::InstanceId;

const CANVAS: Canvas = Canvas {
    colour: false,
    width: 120,
};

/// A world: the writer at 10.0.0.1, readers from 10.0.0.2 on, and pods by the ends of their connections' addresses.
struct World {
    cluster: &'static str,
    readers: u8,
    pools: Value,
    band: Option<(i32, i32)>,
    address_map: AddressMap,
    measured: Measured,
    pods: Vec<(String, String)>,
}

impl World {
    fn new(readers: u8) -> Self {
        Self {
            cluster: "orders-prod",
            readers,
            pools: json!([{"endpoint": "Reader", "connectionsPerPod": 10}]),
            band: None,
            address_map: AddressMap::default(),
            measured: Measured {
                pods: BTreeMap::new(),
            },
            pods: Vec::new(),
        }
    }

    fn topology(&self) -> TopologyStatus {
        let members: Vec<Value> = (1..=self.readers + 1)
            .map(|n| {
                let name = format!("{}-{n}", self.cluster);
                let role = if n == 1 { "Writer" } else { "Reader" };
                json!({"instance": name, "resourceID": name, "role": role, "address": format!("10.0.0.{n}")})
            })
            .collect();
        serde_json::from_value(json!({
            "fingerprint": "3f9c", "clusterARN": "arn", "clusterResourceID": "c",
            "writer": format!("{}-1", self.cluster), "readerCount": self.readers, "members": members
        }))
        .unwrap()
    }

    /// A pod with so many connections to each address, by its last number.
    fn pod(&mut self, name: &str, held: &[(u8, u16)]) -> &mut Self {
        let mut port = 40_000;
        let mut sockets = Vec::new();
        for (end, count) in held {
            for _ in 0..*count {
                port += 1;
                sockets.push(socket(port, &format!("10.0.0.{end}")));
            }
        }
        let reading = PodReading {
            at: Timestamp::UNIX_EPOCH,
            sockets: sockets.into(),
        };
        self.measured
            .pods
            .insert(name.to_owned(), PodMeasurement::Read(reading));
        self.pods.push((name.to_owned(), name.to_owned()));
        self
    }

    fn unreadable(&mut self, name: &str, reason: UnreadableReason, message: &str) -> &mut Self {
        let why = Unreadable::new(reason, message);
        let at = Timestamp::UNIX_EPOCH;
        self.measured
            .pods
            .insert(name.to_owned(), PodMeasurement::Unreadable { at, why });
        self.pods.push((name.to_owned(), name.to_owned()));
        self
    }

    fn snapshot(&mut self) -> ConnectionSnapshot {
        let status = self.topology();
        self.address_map.update(&status);
        let target: TargetSpec = serde_json::from_value(json!({
            "name": "web", "pools": self.pools, "recycle": {"method": "Evict"},
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        }))
        .unwrap();
        let balance: Option<BalanceStatus> = self.band.map(|(lowest, highest)| {
            serde_json::from_value(json!({
                "target": "web", "state": "Balanced", "reason": "r", "message": "m", "source": "ProcNet",
                "measuredPods": "1/1", "lowest": lowest, "highest": highest
            }))
            .unwrap()
        });
        build_snapshot(&SnapshotInput {
            namespace: "shop",
            policy: "orders",
            cluster: self.cluster,
            target: &target,
            port: 5432,
            pods: &self.pods,
            measured: &self.measured,
            address_map: &self.address_map,
            topology: &parse_topology(&status).unwrap(),
            tolerance: 15,
            balance: balance.as_ref(),
            time: "2026-05-04T15:52:35Z".parse().unwrap(),
        })
    }
}

#[test]
fn even_connections_have_nothing_to_say() {
    let mut world = World::new(3);
    world.band = Some((6, 20));
    for (name, held) in [
        ("web-6f7d9c-4kq2x", [(2, 4), (3, 3), (4, 3)]),
        ("web-6f7d9c-8tzlp", [(2, 3), (3, 4), (4, 3)]),
        ("web-6f7d9c-b5nvc", [(2, 3), (3, 3), (4, 4)]),
        ("web-6f7d9c-xw9rd", [(2, 3), (3, 3), (4, 4)]),
    ] {
        world.pod(name, &held);
    }
    let snapshot = world.snapshot();
    assert!(
        snapshot
            .pods
            .iter()
            .all(|p| p.notes.is_empty() && p.misplaced == 0)
    );
    insta::assert_snapshot!("connections-even", &render_page(&snapshot, 20, CANVAS));
}

#[test]
fn a_skew_names_the_pods_on_the_instance_that_has_too_many() {
    let mut world = World::new(2);
    world.band = Some((10, 23));
    world
        .pod("web-1", &[(2, 10)])
        .pod("web-2", &[(2, 10)])
        .pod("web-3", &[(2, 9), (3, 1)])
        .pod("web-4", &[(2, 10)]);
    insta::assert_snapshot!(
        "connections-skewed",
        &render_page(&world.snapshot(), 20, CANVAS),
    );
}

#[test]
fn a_wrong_role_and_a_former_member_come_first() {
    let mut world = World::new(3);
    world.snapshot();
    // The third reader leaves; its address is remembered.
    world.readers = 2;
    world
        .pod("web-1", &[(2, 5), (3, 5)])
        .pod("web-2", &[(1, 4), (3, 6)])
        .pod("web-3", &[(2, 8), (4, 2)]);
    let snapshot = world.snapshot();
    assert_eq!(snapshot.pods[0].misplaced, 4);
    assert_eq!(snapshot.pods[1].misplaced, 2);
    let shown = render_page(&snapshot, 20, CANVAS);
    insta::assert_snapshot!("connections-wrong-role", &shown);
    assert!(
        include_str!("../../../../../docs/plugin.md").contains(&shown),
        "docs/plugin.md shows this page as it is"
    );
}

#[test]
fn a_member_whose_address_has_changed_is_told_from_one_that_left() {
    let mut world = World::new(1);
    world.snapshot();
    world.pod("web-1", &[(2, 3)]);
    let mut status = world.topology();
    status.members[1].address = Some("10.0.0.99".to_owned());
    world.address_map.update(&status);
    let holdings = PodHoldings::from_sockets(
        &world.measured.pods["web-1"].reading().unwrap().sockets,
        &world.address_map,
        &parse_topology(&status).unwrap(),
    );
    assert_eq!(holdings.to_no_member(), 3);
    assert_eq!(
        world
            .address_map
            .former_addresses_of(&InstanceId("orders-prod-2".into())),
        ["10.0.0.2".parse::<IpAddr>().unwrap()]
    );
}

#[test]
fn two_pools_are_judged_by_counts() {
    let mut world = World::new(2);
    world.pools = json!([
        {"endpoint": "Reader", "connectionsPerPod": 4}, {"endpoint": "Writer", "connectionsPerPod": 2}
    ]);
    world
        .pod("web-1", &[(1, 2), (2, 2), (3, 2)])
        .pod("web-2", &[(1, 3), (2, 3)])
        .pod("web-3", &[(2, 3), (3, 3)]);
    let snapshot = world.snapshot();
    let misplaced: Vec<u32> = snapshot.pods.iter().map(|p| p.misplaced).collect();
    assert_eq!(misplaced, [1, 2, 0]);
    insta::assert_snapshot!("connections-two-pools", &render_page(&snapshot, 20, CANVAS));
}

#[test]
fn a_pod_that_cannot_be_read_is_unknown_and_says_why() {
    let mut world = World::new(2);
    let why = "container app of pod shop/web-2 has neither cat nor sh: name another by targets[].evidenceContainer";
    world
        .pod("web-1", &[(2, 5), (3, 5)])
        .unreadable("web-2", UnreadableReason::NoReader, why);
    let snapshot = world.snapshot();
    assert_eq!(snapshot.pods_read(), 1);
    insta::assert_snapshot!("connections-unread", &render_page(&snapshot, 20, CANVAS));
}

#[test]
fn a_proxy_in_between_is_said() {
    let mut world = World::new(2);
    world.pod("web-1", &[(77, 10)]).pod("web-2", &[(77, 10)]);
    insta::assert_snapshot!(
        "connections-proxy",
        &render_page(&world.snapshot(), 20, CANVAS),
    );
}

#[test]
fn half_open_and_closed_connections_are_told() {
    let mut world = World::new(1);
    world.pod("web-1", &[(2, 4)]);
    if let Some(PodMeasurement::Read(reading)) = world.measured.pods.get_mut("web-1") {
        let sockets = Arc::make_mut(&mut reading.sockets);
        sockets[0].retransmits = 6;
        sockets[0].unacknowledged = 40;
        sockets[1].state = SocketState::ClosedByServer;
    }
    insta::assert_snapshot!(
        "connections-half-open",
        &render_page(&world.snapshot(), 20, CANVAS),
    );
}

#[test]
fn one_pod_and_no_pod_are_pages_too() {
    let mut one = World::new(1);
    one.pod("web-1", &[(2, 1)]);
    insta::assert_snapshot!(
        "connections-one-pod",
        &render_page(&one.snapshot(), 20, CANVAS),
    );
    insta::assert_snapshot!(
        "connections-no-pods",
        &render_page(&World::new(2).snapshot(), 20, CANVAS),
    );
    let mut idle = World::new(2);
    idle.pod("web-1", &[]);
    insta::assert_snapshot!(
        "connections-idle",
        &render_page(&idle.snapshot(), 20, CANVAS),
    );
}

#[test]
fn many_instances_with_long_names_get_short_columns() {
    let mut world = World::new(15);
    world.cluster = "customer-orders-production-eu-west-1-blue-2026";
    let spread: Vec<(u8, u16)> = (2..=16).map(|n| (n, u16::from(n % 4))).collect();
    world.pod(
        "customer-orders-service-production-7c9d8f6b5d-x2k4q",
        &spread,
    );
    world.pod(
        "customer-orders-service-production-7c9d8f6b5d-zzz9p",
        &[(1, 1), (5, 9)],
    );
    let shown = render_page(&world.snapshot(), 20, CANVAS);
    assert!(
        shown.lines().all(|l| display_width(l) <= CANVAS.width),
        "{shown}"
    );
    insta::assert_snapshot!("connections-wide", &shown);
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let mut world = World::new(2);
    for n in 0..200_u16 {
        world.pod(&format!("web-{n:03}"), &[(2, 5), (3, 5)]);
    }
    world.pod("web-zzz", &[(1, 1), (2, 9)]);
    let snapshot = world.snapshot();
    let shown = render_page(&snapshot, 20, CANVAS);
    assert!(shown.contains("… and 181 more"), "{shown}");
    assert!(
        shown.contains("web-zzz"),
        "those with something to say are not cut"
    );
    assert_eq!(
        render_page(&snapshot, 0, CANVAS).matches("  web-").count(),
        201
    );
}

#[test]
fn a_narrow_terminal_still_gets_its_figures() {
    let mut world = World::new(2);
    world.pod("web-1", &[(1, 2), (2, 5), (3, 3)]);
    let narrow = Canvas {
        width: 60,
        ..CANVAS
    };
    insta::assert_snapshot!(
        "connections-narrow",
        &render_page(&world.snapshot(), 20, narrow),
    );
}
