//! Real `CoreDNS` in front of the name server, in a testbed: how long it keeps an answer, how many answers there are,
//! and who gets which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::address::{AUTHORITY, CLUSTER_DNS};
use dbbalance_testbed::aurora::coredns::{self, CacheTopology, node_of};
use dbbalance_testbed::aurora::dns::{self, DnsOptions};
use dbbalance_testbed::aurora::inventory::{cluster_endpoint, reader_endpoint};
use dbbalance_testbed::kubernetes::network;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use support::dns::{ask_by_tcp, ask_from, ask_server, first_address, orders_cluster};
use support::{ExclusiveMachine, OwnTestbed, deploy_testapp, run_getent};

const DNS: u16 = 53;

fn service_address() -> SocketAddr {
    (CLUSTER_DNS, DNS).into()
}

fn cache_socket(index: u8) -> SocketAddr {
    (coredns::cache_address(index), DNS).into()
}

fn reader_name() -> String {
    reader_endpoint("orders")
}

/// The reader that a server leads to, asked from a new socket.
fn ask_reader(server: SocketAddr) -> IpAddr {
    first_address(&ask_server(server, &reader_name(), RecordType::A)).unwrap()
}

/// Asks each of so many caches once: what it gives from now on.
fn held_readers(caches: u8) -> Vec<IpAddr> {
    (0..caches)
        .map(|index| ask_reader(cache_socket(index)))
        .collect()
}

/// Waits until the caches have asked anew, and gives what each holds: for about 5 s from now. Three answers at least
/// are different; now and then chance gives fewer, and the next time is awaited.
fn fresh_answers(server: &dns::DnsServer, caches: u8) -> Vec<IpAddr> {
    let asked = || {
        server
            .log()
            .get(&reader_name())
            .map_or(0, |log| log.queries)
    };
    loop {
        // Nobody else asks, so all forget within one look of another: as many questions as caches.
        let before = asked();
        support::wait_eventually("caches that have forgotten", || {
            held_readers(caches);
            asked() >= before + u64::from(caches)
        });
        let now = held_readers(caches);
        if now.iter().collect::<BTreeSet<_>>().len() >= 3 {
            return now;
        }
    }
}

#[test]
fn caches_keep_a_second_for_five_and_the_service_is_spread_over_them() {
    let alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed::up("t-dns");
    let testbed = &own.testbed;
    let plane = orders_cluster(30);
    network::add_address(testbed.layout(), AUTHORITY).unwrap();
    let server = testbed
        .enter(|| {
            let options = DnsOptions { seed: Some(42) };
            dns::start_dns((AUTHORITY, DNS).into(), plane.clone(), &options)
        })
        .unwrap()
        .unwrap();

    // Without a cache the service refuses at once, as a Service without endpoints does.
    testbed
        .enter(|| {
            let started = Instant::now();
            let refused =
                ask_from(None, service_address(), &reader_name(), RecordType::A).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            assert!(started.elapsed() < Duration::from_secs(1));
        })
        .unwrap();

    coredns::start_caches(testbed, CacheTopology::Replicas(1)).unwrap();
    testbed
        .enter(|| one_cache_holds_five_seconds(&server))
        .unwrap();

    coredns::start_caches(testbed, CacheTopology::Replicas(4)).unwrap();
    assert_eq!(coredns::running_caches(testbed), [0, 1, 2, 3]);
    testbed.enter(|| service_is_spread(&server)).unwrap();
    testbed.enter(names_outside_are_answered_at_once).unwrap();
    let pods = list_pods(&own);
    pods_see_the_service(&own, &server, &pods);

    coredns::start_caches(testbed, CacheTopology::NodeLocal { nodes: 3 }).unwrap();
    assert_eq!(coredns::running_caches(testbed), [0, 1, 2]);
    node_local_sticks(&own, &server, &pods);

    coredns::stop_caches(testbed).unwrap();
    assert_eq!(coredns::running_caches(testbed), [0_u8; 0]);
    let refused = testbed
        .enter(|| ask_from(None, service_address(), &reader_name(), RecordType::A).is_err())
        .unwrap();
    assert!(refused);
    // Pods do not wait either: a name's search list would take a minute of time-outs.
    let (told, took) = run_getent(&own.testbed, &pods[0].0, &reader_name());
    assert_eq!(told, "");
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(server);
    drop(own);
    alone.assert_nothing_left("t-dns");
}

/// For 11 s, every 50 ms: the name server is asked about every 5 s, and everybody gets the same meanwhile.
fn one_cache_holds_five_seconds(server: &dns::DnsServer) {
    let (started, mut changes, mut last) = (Instant::now(), Vec::new(), None);
    while started.elapsed() < Duration::from_secs(11) {
        let told = ask_server(service_address(), &reader_name(), RecordType::A);
        assert!(told.answers.iter().all(|record| record.ttl <= 5), "{told}");
        let now = first_address(&told);
        // 30 readers: a fresh answer is the same as the one before once in 30 times, so the server is asked too.
        let asked = server.log()[&reader_name()].queries;
        if last != Some((asked, now)) {
            assert!(
                last.is_none_or(|(before, _)| before < asked),
                "another answer without a question"
            );
            changes.push(started.elapsed().as_secs_f64());
            last = Some((asked, now));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let kept: Vec<f64> = changes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!("one cache keeps an answer of TTL 1 s for {kept:.2?} s");
    assert!(kept.len() >= 2, "{kept:?}");
    // CoreDNS counts whole seconds.
    assert!(
        kept.iter().all(|kept| (4.0..=6.3).contains(kept)),
        "{kept:?}"
    );
}

fn service_is_spread(server: &dns::DnsServer) {
    let four = fresh_answers(server, 4);
    let different: BTreeSet<_> = four.iter().collect();
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let started = Instant::now();
    for _ in 0..200 {
        *counts.entry(ask_reader(service_address())).or_default() += 1;
    }
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "too slow to judge"
    );
    println!("200 conversations with the service address: {counts:?}");
    assert_eq!(counts.keys().collect::<BTreeSet<_>>(), different);
    // 50 a cache, more than five standard deviations around it.
    for (answer, count) in &counts {
        let caches = four.iter().filter(|held| *held == answer).count();
        assert!((18 * caches..=82 * caches).contains(count), "{counts:?}");
    }
    // TCP as well.
    let by_tcp = first_address(&ask_by_tcp(
        service_address(),
        &reader_name(),
        RecordType::A,
    ))
    .unwrap();
    assert!(different.contains(&by_tcp), "{by_tcp} {four:?}");
}

fn names_outside_are_answered_at_once() {
    let started = Instant::now();
    for name in [
        "orders.default.svc.cluster.local",
        "kubernetes.default.svc.cluster.local",
        "example.org",
        "x.compute.internal",
    ] {
        for kind in [RecordType::A, RecordType::AAAA] {
            let told = ask_server(service_address(), name, kind);
            assert_eq!(
                told.metadata.response_code,
                ResponseCode::NXDomain,
                "{name}"
            );
        }
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    // A name that is there, without an address of this kind.
    let told = ask_server(
        service_address(),
        &cluster_endpoint("orders"),
        RecordType::AAAA,
    );
    assert_eq!(told.metadata.response_code, ResponseCode::NoError);
    assert_eq!(first_address(&told), None);
}

/// Four pods, with their addresses.
fn list_pods(own: &OwnTestbed) -> Vec<(String, Ipv4Addr)> {
    let names = deploy_testapp(&own.testbed, 4);
    let path = "jsonpath={.status.podIP}";
    names
        .into_iter()
        .map(|name| {
            let told = own.testbed.kubectl(&["get", "pod", &name, "-o", path]);
            (name, told.unwrap().parse().unwrap())
        })
        .collect()
}

fn run_in_pod(own: &OwnTestbed, pod: &str, script: &str) -> String {
    let call = ["exec", pod, "--", "sh", "-c", script];
    own.testbed.kubectl(&call).unwrap()
}

/// The readers that so many questions of a pod get: each `nslookup` is a new conversation.
fn asked_by(own: &OwnTestbed, pod: &str, times: u32) -> Vec<IpAddr> {
    let script = format!(
        "for i in $(seq {times}); do nslookup -type=a {}; done",
        reader_name()
    );
    let told = run_in_pod(own, pod, &script);
    let mut found = Vec::new();
    for line in told.lines() {
        if let Some(server) = line.strip_prefix("Server:") {
            assert_eq!(server.trim(), CLUSTER_DNS.to_string());
        } else if let Some(address) = line.strip_prefix("Address: ") {
            found.push(address.trim().parse().unwrap());
        }
    }
    assert_eq!(found.len(), times as usize, "{told}");
    found
}

fn pods_see_the_service(own: &OwnTestbed, server: &dns::DnsServer, pods: &[(String, Ipv4Addr)]) {
    let pod = &pods[0].0;
    let config = run_in_pod(own, pod, "cat /etc/resolv.conf");
    assert!(
        config.contains(&format!("nameserver {CLUSTER_DNS}\n")),
        "{config}"
    );
    assert!(config.contains("default.svc.cluster.local svc.cluster.local cluster.local"));
    assert!(config.contains("ndots:5"), "{config}");
    let four: BTreeSet<_> = own
        .testbed
        .enter(|| fresh_answers(server, 4))
        .unwrap()
        .into_iter()
        .collect();
    let seen: BTreeSet<_> = asked_by(own, pod, 40).into_iter().collect();
    assert_eq!(seen, four, "the pod sees the answers of all caches");
    // As an ordinary program asks: glibc with the pod's resolv.conf, in the pod's network.
    let writer = own.testbed.enter(|| {
        first_address(&ask_server(
            service_address(),
            &cluster_endpoint("orders"),
            RecordType::A,
        ))
        .unwrap()
    });
    let (told, took) = run_getent(&own.testbed, pod, &cluster_endpoint("orders"));
    assert!(told.starts_with(&writer.unwrap().to_string()), "{told}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // A name that is searched for in all of the cluster's domains, and then as it is: eight questions.
    let (told, took) = run_getent(&own.testbed, pod, "orders.example.org");
    assert_eq!(told, "");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn node_local_sticks(own: &OwnTestbed, server: &dns::DnsServer, pods: &[(String, Ipv4Addr)]) {
    let three = own.testbed.enter(|| fresh_answers(server, 3)).unwrap();
    let nodes: BTreeSet<u8> = pods.iter().map(|(_, ip)| node_of(*ip, 3)).collect();
    assert!(nodes.len() >= 2, "pods are on several nodes: {pods:?}");
    for (pod, ip) in pods {
        let seen: BTreeSet<_> = asked_by(own, pod, 8).into_iter().collect();
        let node = node_of(*ip, 3);
        assert_eq!(
            seen,
            BTreeSet::from([three[usize::from(node)]]),
            "{pod} {ip}"
        );
    }
    // Programs of the testbed too, by the address that they come from.
    let layout = own.testbed.layout();
    for last in 200..206 {
        let from = Ipv4Addr::new(198, 18, 0, last);
        network::add_address(layout, from).unwrap();
        let told = own.testbed.enter(|| {
            ask_from(Some(from), service_address(), &reader_name(), RecordType::A).unwrap()
        });
        let told = first_address(&told.unwrap()).unwrap();
        assert_eq!(told, three[usize::from(node_of(from, 3))], "{from}");
        network::remove_address(layout, from).unwrap();
    }
}
