#![allow(clippy::unwrap_used, clippy::panic)]
use jiff::Timestamp;
use proptest::prelude::*;

use super::super::{PodReading, Unreadable};
use super::*;
use crate::testing::socket;
use crate::topology::{MemberId, ResourceId};

fn member(name: &str) -> MemberId {
    MemberId {
        instance: InstanceId(name.to_owned()),
        resource: ResourceId(format!("db-{name}")),
    }
}

/// Builds a topology of these names.
pub(in crate::evidence) fn topology(writer: &str, readers: &[&str]) -> Topology {
    Topology {
        arn: "arn:aws:rds:eu-west-1:123456789012:cluster:orders".to_owned(),
        resource: ResourceId("cluster-A".to_owned()),
        writer: member(writer),
        readers: readers.iter().map(|r| member(r)).collect(),
    }
}

/// Returns `orders-N` at `10.0.0.N`, and `orders-1` formerly at `10.0.0.11`.
pub(in crate::evidence) fn addresses() -> BTreeMap<IpAddr, AddressOwner> {
    let known = |n: u8, at: u8, current| {
        let instance = InstanceId(format!("orders-{n}"));
        (
            IpAddr::from([10, 0, 0, at]),
            AddressOwner {
                instance,
                current,
                last_seen: None,
            },
        )
    };
    [
        known(1, 1, true),
        known(2, 2, true),
        known(3, 3, true),
        known(9, 9, true),
        known(1, 11, false),
    ]
    .into()
}

fn read(sockets: Vec<Socket>) -> PodMeasurement {
    PodMeasurement::Read(PodReading {
        at: Timestamp::UNIX_EPOCH,
        sockets: sockets.into(),
    })
}

fn unreadable(reason: UnreadableReason, message: &str) -> PodMeasurement {
    PodMeasurement::Unreadable {
        at: Timestamp::UNIX_EPOCH,
        why: Unreadable::new(reason, message),
    }
}

fn measured(pods: Vec<PodMeasurement>) -> Measured {
    Measured {
        pods: pods
            .into_iter()
            .enumerate()
            .map(|(n, pod)| (format!("u{n:02}"), pod))
            .collect(),
    }
}

fn evidence(measured: &Measured) -> Evidence {
    attribute_connections(
        measured.pods.keys().map(String::as_str),
        measured,
        &addresses(),
        &topology("orders-1", &["orders-2", "orders-3"]),
    )
}

#[test]
fn connections_go_to_members_former_members_former_addresses_and_nobody_known() {
    let pod = read(vec![
        socket(1, "10.0.0.1"),
        socket(2, "10.0.0.2"),
        socket(3, "10.0.0.2"),
        socket(4, "10.0.0.9"),
        socket(5, "10.0.0.11"),
        socket(6, "192.168.1.1"),
    ]);
    let found = evidence(&measured(vec![pod]));
    assert_eq!(found.verdict, EvidenceQuality::Whole);
    let pod = &found.pods["u00"];
    assert_eq!(pod.connections(), 6);
    assert_eq!(pod.connections_to(&InstanceId("orders-1".to_owned())), 1);
    assert_eq!(pod.connections_to(&InstanceId("orders-2".to_owned())), 2);
    assert_eq!(pod.to_no_member(), 2, "orders-9, and an address of old");
    assert_eq!(pod.to_unknown(), 1);
}

#[test]
fn a_proxy_in_between_is_recognised_and_its_addresses_are_named() {
    let pods = (0..4).map(|n| {
        read(vec![
            socket(1, "172.16.0.5"),
            socket(2, &format!("172.16.1.{n}")),
        ])
    });
    let found = evidence(&measured(pods.collect()));
    assert_eq!(found.verdict.reason(), Some("EvidenceUnattributable"));
    let message = found.verdict.message().unwrap();
    assert!(
        message.starts_with(
            "8 connections, none to a member of the cluster (4 to 172.16.0.5, 1 to 172.16.1.0, 1 to 172.16.1.1 and 2 more addresses)"
        ),
        "{message}"
    );
}

#[test]
fn a_pooler_beside_the_app_is_unknown_even_if_loopback_was_once_resolved() {
    let mut lookup = addresses();
    let instance = InstanceId("orders-1".to_owned());
    lookup.insert(
        [127, 0, 0, 1].into(),
        AddressOwner {
            instance,
            current: true,
            last_seen: None,
        },
    );
    let measured = measured(vec![read(vec![socket(1, "127.0.0.1")])]);
    let topology = topology("orders-1", &[]);
    let found = attribute_connections(["u00"], &measured, &lookup, &topology);
    let message = found.verdict.message().unwrap();
    assert!(message.contains("beside the app"), "{message}");
}

#[test]
fn one_connection_to_a_former_member_is_enough_to_attribute() {
    let found = evidence(&measured(vec![read(vec![
        socket(1, "10.0.0.9"),
        socket(2, "172.16.0.5"),
    ])]));
    assert_eq!(found.verdict, EvidenceQuality::Whole);
}

#[test]
fn no_connection_at_all_is_whole_and_zero() {
    let found = evidence(&measured(vec![read(vec![]), read(vec![])]));
    assert_eq!(found.verdict, EvidenceQuality::Whole);
    assert_eq!(
        find_unused_members(&found, &topology("orders-1", &["orders-2"])).len(),
        2
    );
}

#[test]
fn under_ninety_percent_read_nothing_is_whole_and_the_reasons_are_counted() {
    let ten = |failures: usize| {
        let pods = (0..10).map(|n| {
            if n < failures {
                unreadable(UnreadableReason::Timeout, "pod shop/web: no answer")
            } else {
                read(vec![socket(1, "10.0.0.1")])
            }
        });
        evidence(&measured(pods.collect()))
    };
    assert_eq!(ten(1).verdict, EvidenceQuality::Whole);
    assert_eq!(ten(1).pods.len(), 9, "the tenth is unknown, not zero");
    let message = ten(3).verdict.message().unwrap().to_owned();
    assert_eq!(
        message,
        "7 of 10 pods read, 90 % are needed: 3 Timeout; pod shop/web: no answer"
    );
}

#[test]
fn a_counted_pod_that_was_never_read_is_unknown() {
    let topology = topology("orders-1", &[]);
    let found = attribute_connections(
        ["u00", "u01"],
        &Measured::default(),
        &addresses(),
        &topology,
    );
    assert_eq!(found.verdict.reason(), Some("EvidencePartial"));
    assert_eq!(found.unread["u01"], UnreadableReason::NotReadYet);
}

#[test]
fn pods_that_do_not_count_are_left_out() {
    let all = measured(vec![read(vec![socket(1, "10.0.0.1")]), read(vec![])]);
    let topology = topology("orders-1", &[]);
    let found = attribute_connections(["u01"], &all, &addresses(), &topology);
    assert_eq!(found.pods.len(), 1);
    assert!(found.pods.contains_key("u01"));
}

#[test]
fn an_unresolved_member_makes_unknown_addresses_ambiguous() {
    let measured = measured(vec![read(vec![
        socket(1, "10.0.0.1"),
        socket(2, "10.0.0.4"),
    ])]);
    let topology = topology("orders-1", &["orders-4"]);
    let found = attribute_connections(["u00"], &measured, &addresses(), &topology);
    assert_eq!(found.verdict.reason(), Some("EvidenceUnresolved"));
    assert!(found.verdict.message().unwrap().contains("orders-4"));
}

#[test]
fn the_address_book_of_dns_tells_the_same() {
    let mut book = AddressBook::default();
    let instance = InstanceId("orders-1".to_owned());
    for at in [11, 1] {
        book.record_lookup(
            &instance,
            &[IpAddr::from([10, 0, 0, at])],
            Timestamp::UNIX_EPOCH,
        );
    }
    let topology = topology("orders-1", &[]);
    let sockets = [
        socket(1, "10.0.0.1"),
        socket(2, "10.0.0.11"),
        socket(3, "10.0.0.2"),
    ];
    let pod = PodHoldings::from_sockets(&sockets, &book, &topology);
    assert_eq!(
        (
            pod.connections_to(&instance),
            pod.to_no_member(),
            pod.to_unknown()
        ),
        (1, 1, 1)
    );
    assert!(book.is_resolved(&instance));
    assert!(!book.is_resolved(&InstanceId("orders-2".to_owned())));
}

#[test]
fn sockets_that_the_server_has_closed_are_no_connections() {
    let mut closed = socket(1, "10.0.0.1");
    closed.state = SocketState::ClosedByServer;
    let found = evidence(&measured(vec![read(vec![closed])]));
    assert_eq!(found.pods["u00"].connections(), 0);
    assert_eq!(found.pods["u00"].closed_by_server, 1);
}

#[test]
fn sockets_that_lead_nowhere_are_counted_where_a_member_is_or_was() {
    let closed = |port, remote| Socket {
        state: SocketState::ClosedByServer,
        ..socket(port, remote)
    };
    let half_open = |port, remote| Socket {
        unacknowledged: 100,
        retransmits: 4,
        ..socket(port, remote)
    };
    let pod = PodHoldings::from_sockets(
        &[
            closed(1, "10.0.0.2"),
            closed(2, "10.0.0.11"),
            closed(3, "192.0.2.1"),
            half_open(4, "10.0.0.3"),
            half_open(5, "10.0.0.9"),
            half_open(6, "192.0.2.1"),
            socket(7, "10.0.0.3"),
        ],
        &addresses(),
        &topology("orders-1", &["orders-2", "orders-3"]),
    );
    assert_eq!((pod.dead, pod.closed_by_server), (3, 3));
    assert_eq!(pod.to_no_member(), 1, "counted there, and not twice");
}

proptest! {
    /// Whatever is measured, every connection is counted exactly once, in its place.
    #[test]
    fn nothing_is_lost_or_counted_twice(sockets in prop::collection::vec((1_u16.., 0_u8..14, any::<bool>()), 0..60)) {
        let sockets: Vec<Socket> = sockets.into_iter().map(|(port, host, open)| {
            let mut s = socket(port, &format!("10.0.0.{host}"));
            if !open { s.state = SocketState::ClosedByServer; }
            s
        }).collect();
        let open = sockets.iter().filter(|s| s.is_connection()).count();
        let pod = PodHoldings::from_sockets(&sockets, &addresses(), &topology("orders-1", &["orders-2", "orders-3"]));
        let held: u32 = pod.by_instance.values().map(|h| h.connections).sum();
        prop_assert_eq!(held + pod.to_no_member() + pod.to_unknown(), u32::try_from(open).unwrap());
        prop_assert_eq!(pod.connections() + pod.closed_by_server, u32::try_from(sockets.len()).unwrap());
        let ports: usize = pod.by_instance.values().chain(pod.no_member.values()).chain(pod.unknown.values())
            .map(|h| h.local_ports.len()).sum();
        prop_assert_eq!(ports, open);
    }
}

#[test]
fn a_former_address_is_no_members_only_for_sockets_from_before_it_may_be_anothers() {
    let left = Timestamp::UNIX_EPOCH;
    let mut lookup = addresses();
    for owner in lookup.values_mut() {
        owner.last_seen = Some(left);
    }
    let opened = |port, remote, minutes: Option<i64>| {
        let after = |m| left + jiff::SignedDuration::from_mins(m);
        Socket {
            opened_after: minutes.map(after),
            ..socket(port, remote)
        }
    };
    let sockets = [
        opened(1, "10.0.0.11", None),
        opened(2, "10.0.0.11", Some(-5)),
        opened(3, "10.0.0.11", Some(9)),
        opened(4, "10.0.0.11", Some(10)),
        opened(5, "10.0.0.11", Some(600)),
        opened(6, "10.0.0.2", Some(600)),
    ];
    let topology = topology("orders-1", &["orders-2"]);
    let pod = PodHoldings::from_sockets(&sockets, &lookup, &topology);
    assert_eq!(
        pod.no_member[&InstanceId("orders-1".into())].local_ports,
        [1, 2, 3]
    );
    assert_eq!(
        pod.unknown[&IpAddr::from([10, 0, 0, 11])].local_ports,
        [4, 5]
    );
    assert_eq!(pod.connections_to(&InstanceId("orders-2".into())), 1);
}
