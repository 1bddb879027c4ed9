//! Real `CoreDNS` in front of the name server, in a testbed: how long it keeps an answer, how many answers there are,
//! and who gets which.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::address::{AUTHORITY, CLUSTER_DNS};
use dbbalance_testbed::aurora::coredns::{self, Caches, node_of};
use dbbalance_testbed::aurora::dns::{self, DnsOptions};
use dbbalance_testbed::aurora::estate::{cluster_endpoint, reader_endpoint};
use dbbalance_testbed::kubernetes::network;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use support::dns::{address, ask, ask_by_tcp, ask_from, orders};
use support::{Alone, Own, deploy_testapp, text};

const DNS: u16 = 53;

fn service() -> SocketAddr {
    (CLUSTER_DNS, DNS).into()
}

fn cache(index: u8) -> SocketAddr {
    (coredns::address(index), DNS).into()
}

fn readers() -> String {
    reader_endpoint("orders")
}

/// The reader that a server leads to, asked from a new socket.
fn reader(server: SocketAddr) -> IpAddr {
    address(&ask(server, &readers(), RecordType::A)).unwrap()
}

/// Asks each of so many caches once: what it gives from now on.
fn held(caches: u8) -> Vec<IpAddr> {
    (0..caches).map(|index| reader(cache(index))).collect()
}

/// Waits until the caches have asked anew, and gives what each holds: for about 5 s from now. Three answers at least
/// are different; now and then chance gives fewer, and the next time is awaited.
fn fresh(server: &dns::Server, caches: u8) -> Vec<IpAddr> {
    let asked = || server.log().get(&readers()).map_or(0, |log| log.queries);
    loop {
        // Nobody else asks, so all forget within one look of another: as many questions as caches.
        let before = asked();
        support::eventually("caches that have forgotten", || {
            held(caches);
            asked() >= before + u64::from(caches)
        });
        let now = held(caches);
        if now.iter().collect::<BTreeSet<_>>().len() >= 3 {
            return now;
        }
    }
}

#[test]
fn caches_keep_a_second_for_five_and_the_service_is_spread_over_them() {
    let alone = Alone::on_this_machine();
    let own = Own::up("t-dns");
    let testbed = &own.testbed;
    let plane = orders(30);
    network::add_address(testbed.layout(), AUTHORITY).unwrap();
    let server = testbed
        .enter(|| {
            let options = DnsOptions { seed: Some(42) };
            dns::start((AUTHORITY, DNS).into(), plane.clone(), &options)
        })
        .unwrap()
        .unwrap();

    // Without a cache the service refuses at once, as a Service without endpoints does.
    testbed
        .enter(|| {
            let started = Instant::now();
            let refused = ask_from(None, service(), &readers(), RecordType::A).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            assert!(started.elapsed() < Duration::from_secs(1));
        })
        .unwrap();

    coredns::up(testbed, Caches::Replicas(1)).unwrap();
    testbed
        .enter(|| one_cache_holds_five_seconds(&server))
        .unwrap();

    coredns::up(testbed, Caches::Replicas(4)).unwrap();
    assert_eq!(coredns::running(testbed), [0, 1, 2, 3]);
    testbed.enter(|| service_is_spread(&server)).unwrap();
    testbed.enter(names_outside_are_answered_at_once).unwrap();
    let pods = pods(&own);
    pods_see_the_service(&own, &server, &pods);

    coredns::up(testbed, Caches::NodeLocal { nodes: 3 }).unwrap();
    assert_eq!(coredns::running(testbed), [0, 1, 2]);
    node_local_sticks(&own, &server, &pods);

    coredns::down(testbed).unwrap();
    assert_eq!(coredns::running(testbed), [0_u8; 0]);
    let refused = testbed
        .enter(|| ask_from(None, service(), &readers(), RecordType::A).is_err())
        .unwrap();
    assert!(refused);
    // Pods do not wait either: a name's search list would take a minute of time-outs.
    let (told, took) = getent(&own, &pods[0].0, &readers());
    assert_eq!(told, "");
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(server);
    drop(own);
    alone.assert_nothing_left("t-dns");
}

/// For 11 s, every 50 ms: the name server is asked about every 5 s, and everybody gets the same meanwhile.
fn one_cache_holds_five_seconds(server: &dns::Server) {
    let (started, mut changes, mut last) = (Instant::now(), Vec::new(), None);
    while started.elapsed() < Duration::from_secs(11) {
        let told = ask(service(), &readers(), RecordType::A);
        assert!(told.answers.iter().all(|record| record.ttl <= 5), "{told}");
        let now = address(&told);
        // 30 readers: a fresh answer is the same as the one before once in 30 times, so the server is asked too.
        let asked = server.log()[&readers()].queries;
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

fn service_is_spread(server: &dns::Server) {
    let four = fresh(server, 4);
    let different: BTreeSet<_> = four.iter().collect();
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    let started = Instant::now();
    for _ in 0..200 {
        *counts.entry(reader(service())).or_default() += 1;
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
    let by_tcp = address(&ask_by_tcp(service(), &readers(), RecordType::A)).unwrap();
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
            let told = ask(service(), name, kind);
            assert_eq!(
                told.metadata.response_code,
                ResponseCode::NXDomain,
                "{name}"
            );
        }
    }
    assert!(started.elapsed() < Duration::from_secs(1));
    // A name that is there, without an address of this kind.
    let told = ask(service(), &cluster_endpoint("orders"), RecordType::AAAA);
    assert_eq!(told.metadata.response_code, ResponseCode::NoError);
    assert_eq!(address(&told), None);
}

/// Four pods, with their addresses.
fn pods(own: &Own) -> Vec<(String, Ipv4Addr)> {
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

fn inside(own: &Own, pod: &str, script: &str) -> String {
    let call = ["exec", pod, "--", "sh", "-c", script];
    own.testbed.kubectl(&call).unwrap()
}

/// The readers that so many questions of a pod get: each `nslookup` is a new conversation.
fn asked_by(own: &Own, pod: &str, times: u32) -> Vec<IpAddr> {
    let script = format!(
        "for i in $(seq {times}); do nslookup -type=a {}; done",
        readers()
    );
    let told = inside(own, pod, &script);
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

fn pods_see_the_service(own: &Own, server: &dns::Server, pods: &[(String, Ipv4Addr)]) {
    let pod = &pods[0].0;
    let config = inside(own, pod, "cat /etc/resolv.conf");
    assert!(
        config.contains(&format!("nameserver {CLUSTER_DNS}\n")),
        "{config}"
    );
    assert!(config.contains("default.svc.cluster.local svc.cluster.local cluster.local"));
    assert!(config.contains("ndots:5"), "{config}");
    let four: BTreeSet<_> = own
        .testbed
        .enter(|| fresh(server, 4))
        .unwrap()
        .into_iter()
        .collect();
    let seen: BTreeSet<_> = asked_by(own, pod, 40).into_iter().collect();
    assert_eq!(seen, four, "the pod sees the answers of all caches");
    // As an ordinary program asks: glibc with the pod's resolv.conf, in the pod's network.
    let writer = own
        .testbed
        .enter(|| address(&ask(service(), &cluster_endpoint("orders"), RecordType::A)).unwrap());
    let (told, took) = getent(own, pod, &cluster_endpoint("orders"));
    assert!(told.starts_with(&writer.unwrap().to_string()), "{told}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // A name that is searched for in all of the cluster's domains, and then as it is: eight questions.
    let (told, took) = getent(own, pod, "orders.example.org");
    assert_eq!(told, "");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

/// What glibc finds for a name with a pod's settings, and how long it takes.
fn getent(own: &Own, pod: &str, name: &str) -> (String, Duration) {
    let pid = own.testbed.container_pid("default", pod, "app").unwrap();
    // A copy: a file of another mount namespace cannot be bound.
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(format!("/proc/{pid}/root/etc/resolv.conf"), config.path()).unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && getent ahosts {name}",
        config.path().display()
    );
    let started = Instant::now();
    let told = Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["unshare", "--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let took = started.elapsed();
    assert_eq!(text(&told.stderr), "");
    (text(&told.stdout), took)
}

fn node_local_sticks(own: &Own, server: &dns::Server, pods: &[(String, Ipv4Addr)]) {
    let three = own.testbed.enter(|| fresh(server, 3)).unwrap();
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
        let told = own
            .testbed
            .enter(|| ask_from(Some(from), service(), &readers(), RecordType::A).unwrap());
        let told = address(&told.unwrap()).unwrap();
        assert_eq!(told, three[usize::from(node_of(from, 3))], "{from}");
        network::remove_address(layout, from).unwrap();
    }
}
