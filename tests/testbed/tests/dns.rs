//! The name server alone on loopback: Aurora's shape, by messages looked at whole and by a real resolver.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dbbalance_testbed::aurora::address::{HASH, ZONE};
use dbbalance_testbed::aurora::dns::{self, DnsOptions};
use dbbalance_testbed::aurora::inventory::{
    ControlPlane as _, cluster_endpoint, instance_endpoint, reader_endpoint,
};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};
use support::dns::{ask_by_tcp, ask_server, orders_cluster, record_texts};

const SEEDED: DnsOptions = DnsOptions { seed: Some(7) };

fn loopback_address() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// The code, and the negative TTL that the SOA gives.
fn negative_answer(message: &Message) -> (ResponseCode, Option<(u32, u32)>) {
    let soa = message
        .authorities
        .iter()
        .find_map(|record| match &record.data {
            RData::SOA(soa) => Some((record.ttl, soa.minimum)),
            _ => None,
        });
    (message.metadata.response_code, soa)
}

#[test]
fn endpoints_are_aliases_of_a_second_to_instances_of_five() {
    let plane = orders_cluster(2);
    let server = dns::start_dns(loopback_address(), plane.clone(), &SEEDED).unwrap();
    let zone = plane.dns_zone();
    let told = ask_server(server.address(), &cluster_endpoint("orders"), RecordType::A);
    assert!(told.metadata.authoritative && !told.metadata.recursion_available);
    assert!(told.edns.is_some(), "EDNS is answered with EDNS");
    assert_eq!(
        record_texts(&told),
        [
            "CNAME orders-1 1".to_owned(),
            format!("A {} 5", zone.instances["orders-1"])
        ]
    );
    let told = ask_server(
        server.address(),
        &instance_endpoint("orders-3"),
        RecordType::A,
    );
    assert_eq!(
        record_texts(&told),
        [format!("A {} 5", zone.instances["orders-3"])]
    );
    // In any case of letters, and with the question as it was asked.
    let loud = cluster_endpoint("orders").to_uppercase();
    let told = ask_server(server.address(), &loud, RecordType::A);
    assert_eq!(record_texts(&told)[0], "CNAME orders-1 1");
    assert_eq!(told.queries[0].name().to_string(), loud + ".");
    // An alias is told to whoever asks for it, and no more.
    let told = ask_server(
        server.address(),
        &cluster_endpoint("orders"),
        RecordType::CNAME,
    );
    assert_eq!(record_texts(&told), ["CNAME orders-1 1"]);
}

#[test]
fn reader_endpoint_gives_one_random_reader_an_answer() {
    let plane = orders_cluster(3);
    let server = dns::start_dns(loopback_address(), plane.clone(), &SEEDED).unwrap();
    let name = reader_endpoint("orders");
    let take = |server: &dns::DnsServer, count: usize| -> Vec<String> {
        (0..count)
            .map(|_| {
                let told = record_texts(&ask_server(server.address(), &name, RecordType::A));
                assert_eq!(told.len(), 2, "one alias and its address: {told:?}");
                told[0].clone()
            })
            .collect()
    };
    let first = take(&server, 600);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in &first {
        *counts.entry(answer).or_default() += 1;
    }
    assert_eq!(counts.len(), 3, "{counts:?}");
    // 200 each, five standard deviations around it.
    assert!(
        counts.values().all(|count| (142..=258).contains(count)),
        "{counts:?}"
    );
    // Random, not in turn: the same again about every third time.
    let same = first.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert!((142..=258).contains(&same), "{same}");

    let log = &server.log()[&name];
    assert_eq!(log.queries, 600);
    assert_eq!(log.answered["orders-2"], counts["CNAME orders-2 1"] as u64);
    server.forget();
    assert!(server.log().is_empty());
    // The same seed, the same choices.
    let again = dns::start_dns(loopback_address(), plane, &SEEDED).unwrap();
    assert_eq!(take(&again, 50), first[..50]);
}

#[test]
fn reader_endpoint_leads_to_the_writer_when_no_reader_serves() {
    let plane = orders_cluster(1);
    let server = dns::start_dns(loopback_address(), plane.clone(), &SEEDED).unwrap();
    let readers = || {
        record_texts(&ask_server(
            server.address(),
            &reader_endpoint("orders"),
            RecordType::A,
        ))[0]
            .clone()
    };
    assert_eq!(readers(), "CNAME orders-2 1");
    plane.edit(|inventory| {
        inventory.instances.get_mut("orders-2").unwrap().status = "rebooting".into();
    });
    assert_eq!(readers(), "CNAME orders-1 1");
    plane.edit(|inventory| {
        inventory.instances.get_mut("orders-2").unwrap().status = "available".into();
    });
    plane.failover("orders", Some("orders-2")).unwrap();
    assert_eq!(readers(), "CNAME orders-1 1");
    let told = ask_server(server.address(), &cluster_endpoint("orders"), RecordType::A);
    assert_eq!(record_texts(&told)[0], "CNAME orders-2 1");
    plane.delete_instance("orders-1").unwrap();
    assert_eq!(readers(), "CNAME orders-2 1");
    let told = ask_server(
        server.address(),
        &instance_endpoint("orders-1"),
        RecordType::A,
    );
    assert_eq!(told.metadata.response_code, ResponseCode::NXDomain);
}

#[test]
fn what_is_not_there_is_said_with_a_soa() {
    let server = dns::start_dns(loopback_address(), orders_cluster(1), &SEEDED).unwrap();
    let ask = |name: &str, kind| ask_server(server.address(), name, kind);
    let soa = Some((5, 5));
    // No IPv6: the alias, and no data; a AAAA query must not make a client believe that there is no name.
    let told = ask(&cluster_endpoint("orders"), RecordType::AAAA);
    assert_eq!(record_texts(&told), ["CNAME orders-1 1"]);
    assert_eq!(negative_answer(&told), (ResponseCode::NoError, soa));
    let told = ask(&instance_endpoint("orders-1"), RecordType::AAAA);
    assert_eq!(
        (record_texts(&told).len(), negative_answer(&told)),
        (0, (ResponseCode::NoError, soa))
    );
    for name in [
        instance_endpoint("orders-9"),
        reader_endpoint("bills"),
        format!("x.{ZONE}"),
        format!("orders.cluster-custom-{HASH}.{ZONE}"),
    ] {
        let told = ask(&name, RecordType::A);
        assert!(told.metadata.authoritative);
        assert_eq!(
            negative_answer(&told),
            (ResponseCode::NXDomain, soa),
            "{name}"
        );
    }
    assert_eq!(
        negative_answer(&ask("example.org", RecordType::A)),
        (ResponseCode::Refused, None)
    );
    let told = ask(ZONE, RecordType::SOA);
    assert!(matches!(told.answers[0].data, RData::SOA(_)));
    let told = ask(ZONE, RecordType::NS);
    assert!(
        matches!(&told.answers[0].data, RData::NS(name) if name.0.to_string() == format!("ns-1.{ZONE}."))
    );
    assert_eq!(told.additionals.len(), 1, "with the server's address");
}

#[test]
fn real_resolver_is_content_by_udp_and_by_tcp() {
    let plane = orders_cluster(2);
    let server = dns::start_dns(loopback_address(), plane.clone(), &SEEDED).unwrap();
    let address = server.address();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for mut connection in [ConnectionConfig::udp(), ConnectionConfig::tcp()] {
            connection.port = address.port();
            let server = NameServerConfig::new(address.ip(), true, vec![connection]);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let provider = TokioRuntimeProvider::default();
            let resolver = TokioResolver::builder_with_config(config, provider)
                .build()
                .unwrap();
            let found = resolver
                .lookup_ip(cluster_endpoint("orders") + ".")
                .await
                .unwrap();
            let found: Vec<_> = found.iter().map(|ip| ip.to_string()).collect();
            assert_eq!(found, [plane.dns_zone().instances["orders-1"].to_string()]);
            let readers = resolver
                .lookup_ip(reader_endpoint("orders") + ".")
                .await
                .unwrap();
            assert_eq!(readers.iter().count(), 1);
            let error = resolver
                .lookup_ip(instance_endpoint("nobody") + ".")
                .await
                .unwrap_err();
            assert!(error.is_nx_domain(), "{error}");
        }
    });
    assert_eq!(
        record_texts(&ask_by_tcp(
            address,
            &cluster_endpoint("orders"),
            RecordType::A
        ))[0],
        "CNAME orders-1 1"
    );
}
