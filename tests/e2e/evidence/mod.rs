//! Evidence from real pods: what `ProcNet` reads, against `ss` in the pod's network and the servers' own view.

mod host;
mod reader;
mod server;
pub mod stray;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use dbbalance_core::evidence::{
    AddressOwner, Measured, PodMeasurement, Socket, UnreadableReason, attribute_connections,
    descriptions,
};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Topology};
use dbbalance_figures::quantile::quantile_of;
use dbbalance_testbed::image::PAUSE;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::config::Kubeconfig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

use dbbalance_testkit::suite::connect_client;
use dbbalance_testkit::workloads::{pod_uid, workload_object};
use dbbalance_testkit::{LIMIT, TestCase, TestSuite, wait_until};
use host::{Connection, Host};
use reader::{Reader, to_read};
use server::{PORT, Server};

const WORLDS: usize = 100;
const PODS: u32 = 3;
/// Connections of one pod that make a large table.
const LARGE: usize = 4000;
/// How long a world may take until both ends agree on it.
const SETTLED: Duration = Duration::from_secs(10);

/// A pod whose first container has no `cat`, and whose second holds one connection by a program of its own.
fn app(name: &str, replicas: u32, server: IpAddr) -> Value {
    let mut app = workload_object("Deployment", name, replicas);
    let containers = &mut app["spec"]["template"]["spec"]["containers"];
    let mut side = containers[0].take();
    side["name"] = json!("side");
    let hold = format!(
        "(while :; do sleep 100000 | nc {server} {PORT}; sleep 1; done) & exec /usr/local/bin/testapp"
    );
    side["command"] = json!(["sh", "-c", hold]);
    *containers = json!([{"name": "app", "image": PAUSE, "imagePullPolicy": "Never"}, side]);
    app
}

fn topology(servers: &[Server]) -> Topology {
    let member = |n: usize| MemberId {
        instance: InstanceId(format!("orders-{}", n + 1)),
        resource: ResourceId(format!("db-{n}")),
    };
    Topology {
        arn: "arn:aws:rds:eu-west-1:123456789012:cluster:orders".to_owned(),
        resource: ResourceId("cluster-A".to_owned()),
        writer: member(0),
        readers: (1..servers.len()).map(member).collect(),
    }
}

fn addresses(servers: &[Server]) -> BTreeMap<IpAddr, AddressOwner> {
    let known = |(n, server): (usize, &Server)| {
        let instance = InstanceId(format!("orders-{}", n + 1));
        let known = AddressOwner {
            instance,
            current: true,
            last_seen: None,
        };
        (server.address, known)
    };
    servers.iter().enumerate().map(known).collect()
}

fn sockets<'a>(measured: &'a Measured, uid: &str) -> &'a [Socket] {
    match &measured.pods[uid] {
        PodMeasurement::Read(reading) => &reading.sockets,
        PodMeasurement::Unreadable { why, .. } => panic!("{why:?}"),
    }
}

type Ends = BTreeSet<(SocketAddr, SocketAddr)>;

fn ends(sockets: &[Socket], open: bool) -> Ends {
    let wanted = sockets.iter().filter(|s| s.is_connection() == open);
    wanted.map(|s| (s.local, s.remote)).collect()
}

/// A generator of worlds: the same for the same seed (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }
}

/// A hundred random worlds: connections open and close at either end, by IPv4 and by IPv4 in IPv6.
pub async fn a_hundred_worlds_are_counted_right(suite: &TestSuite) {
    let case = TestCase::new(suite, "ev-worlds").await;
    let servers = Server::start_all(suite, [201, 202, 203]).await;
    let pods = case
        .create_workload(app("web", PODS, servers[0].address))
        .await;
    let hosts: Vec<Host> = pods.iter().map(|p| Host::of(suite, p, "side")).collect();
    let (topology, addresses) = (topology(&servers), addresses(&servers));
    let mut reader = Reader::new(suite.client().await, to_read(&pods, None));
    let own = own_connections(&servers[0], &hosts).await;
    let mut held: Vec<Vec<Connection>> = hosts.iter().map(|_| Vec::new()).collect();
    let seed = 0x5eed_0000_0000_0001;
    let mut dice = Dice(seed);
    let (mut counted, mut mapped, mut closed) = (0, 0, 0);
    let mut took = Vec::new();
    let started = Instant::now();
    for world in 0..WORLDS {
        for (host, held) in hosts.iter().zip(&mut held) {
            change(&mut dice, host, held, &servers);
        }
        let mut wanted: Vec<(Ends, Ends)> = Vec::new();
        for (held, own) in held.iter().zip(&own) {
            let all = |open| held.iter().filter(move |c| c.is_open == open && c.counts());
            let mut open: Ends = all(true).map(Connection::ends).collect();
            open.insert(*own);
            mapped += all(true).filter(|c| c.is_mapped).count();
            wanted.push((open, all(false).map(Connection::ends).collect()));
        }
        wait_until("a settled world", SETTLED, async || {
            let settled = hosts.iter().zip(&wanted).all(|(host, (open, gone))| {
                let served: Ends = servers.iter().flat_map(|s| s.of(host.address)).collect();
                let told = host.ss();
                served == *open && told.open == *open && told.closed == *gone
            });
            settled.then_some(())
        })
        .await;
        let began = Instant::now();
        let measured = reader.measure().await;
        took.push(began.elapsed());
        let uids: Vec<String> = pods.iter().map(pod_uid).collect();
        let counted_pods = uids.iter().map(String::as_str);
        let found = attribute_connections(counted_pods, &measured, &addresses, &topology);
        assert_eq!(found.verdict.reason(), None, "{:?}", found.verdict);
        for ((host, uid), (open, gone)) in hosts.iter().zip(&uids).zip(&wanted) {
            let sockets = sockets(&measured, uid);
            let of = format!("world {world}, seed {seed:x}, {uid}");
            assert_eq!(ends(sockets, true), *open, "{of}");
            assert_eq!(ends(sockets, false), *gone, "{of}");
            for (n, server) in servers.iter().enumerate() {
                let instance = InstanceId(format!("orders-{}", n + 1));
                let held = usize::try_from(found.pods[uid].connections_to(&instance)).unwrap();
                assert_eq!(held, server.of(host.address).count(), "{of} {instance}");
            }
            counted += open.len();
            closed += gone.len();
        }
    }
    let took: Vec<f64> = took.iter().map(Duration::as_secs_f64).collect();
    let median_ms = quantile_of(took.clone(), 0.5).unwrap() * 1000.0;
    let p95_ms = quantile_of(took, 0.95).unwrap() * 1000.0;
    println!(
        "ProcNet: {WORLDS} random worlds of {PODS} pods, {counted} connections counted ({mapped} of them IPv4 in IPv6), {closed} that \
         the server had closed: the same by ProcNet, ss and the servers in every world; a round of {PODS} reads took {median_ms:.0} ms median, {p95_ms:.0} ms p95; all in {} s",
        started.elapsed().as_secs(),
    );
    assert!(counted > 10 * WORLDS && mapped > WORLDS && closed > WORLDS);
    let first = pod_uid(&pods[0]);
    let large = a_large_table_is_read_whole(&hosts[0], &servers[1], &mut reader, &first);
    Box::pin(large).await;
}

/// Many times what one message of the connection holds.
async fn a_large_table_is_read_whole(host: &Host, server: &Server, reader: &mut Reader, uid: &str) {
    let before = ends(sockets(&reader.measure().await, uid), true).len();
    // Both ends of each are files of this process.
    let files = 4 * LARGE as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(files), hard.max(files)).unwrap();
    let wanted = vec![(SocketAddr::new(server.address, PORT), true); LARGE];
    let many = host.connect(&wanted);
    wait_until("a large table", LIMIT, async || {
        (host.ss().open.len() == before + LARGE).then_some(())
    })
    .await;
    for _ in 0..3 {
        let began = Instant::now();
        let found = ends(sockets(&reader.measure().await, uid), true);
        assert_eq!(found.len(), before + LARGE);
        assert!(many.iter().all(|c| found.contains(&c.ends())));
        println!(
            "ProcNet: {} connections of one pod, all found, in {} ms",
            found.len(),
            began.elapsed().as_millis()
        );
    }
}

/// The connection that a program in each pod has made by itself.
async fn own_connections(server: &Server, hosts: &[Host]) -> Vec<(SocketAddr, SocketAddr)> {
    let mut own = Vec::new();
    for host in hosts {
        let found = wait_until("the pod's own connection", LIMIT, async || {
            server.of(host.address).next()
        });
        own.push(found.await);
    }
    own
}

/// Opens some connections, closes some, and lets servers close some.
fn change(dice: &mut Dice, host: &Host, held: &mut Vec<Connection>, servers: &[Server]) {
    for _ in 0..dice.below(1 + held.len() / 2) {
        held.swap_remove(dice.below(held.len()));
    }
    for _ in 0..dice.below(3) {
        if held.is_empty() {
            break;
        }
        let place = dice.below(held.len());
        let connection = &mut held[place];
        if let Some(server) = servers.iter().find(|s| s.address == connection.remote.ip())
            && connection.counts()
            && connection.is_open
        {
            server.close(connection.local);
            connection.is_open = false;
        }
    }
    let wanted: Vec<(SocketAddr, bool)> = (0..dice.below(7))
        .map(|_| {
            let server = &servers[dice.below(servers.len())];
            // Now and then another service of the same host, which is none of ours.
            let port = if dice.below(6) == 0 { PORT + 1 } else { PORT };
            (SocketAddr::new(server.address, port), dice.below(2) == 0)
        })
        .collect();
    held.extend(host.connect(&wanted));
}

/// Each pod that cannot be read tells why, in a word and with what to do.
pub async fn pods_that_cannot_be_read_say_why(suite: &TestSuite) {
    let case = TestCase::new(suite, "ev-unread").await;
    let mut bare = workload_object("Deployment", "bare", 1);
    bare["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "app", "image": PAUSE, "imagePullPolicy": "Never"}]);
    let mut host = workload_object("Deployment", "host", 1);
    host["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    host["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "PORT", "value": "18080"}]);
    let (bare, host, web) = futures::join!(
        case.create_workload(bare),
        case.create_workload(host),
        case.create_deployment("web", 1)
    );
    let client = suite.client().await;
    let why = async |client: &Client, pods: &[Pod], named: Option<&str>| {
        let measured = Reader::new(client.clone(), to_read(pods, named))
            .measure()
            .await;
        match &measured.pods[&pod_uid(&pods[0])] {
            PodMeasurement::Unreadable { why, .. } => (why.reason, why.message.clone()),
            PodMeasurement::Read(reading) => panic!("{reading:?}"),
        }
    };
    let (reason, message) = why(&client, &bare, None).await;
    assert_eq!(reason, UnreadableReason::NoReader, "{message}");
    assert!(message.contains("targets[].evidenceContainer"), "{message}");
    println!("no cat: {message}");
    let (reason, message) = why(&client, &host, None).await;
    assert_eq!(reason, UnreadableReason::HostNetwork, "{message}");
    let (reason, _) = why(&client, &web, Some("none")).await;
    assert_eq!(reason, UnreadableReason::NoSuchContainer);
    let mut config = Kubeconfig::read_from(suite.testbed.kubeconfig()).unwrap();
    for user in &mut config.auth_infos {
        let info = user.auth_info.as_mut().unwrap();
        info.impersonate = Some("system:serviceaccount:ev-unread:default".to_owned());
    }
    let (reason, message) = why(&connect_client(config).await, &web, None).await;
    assert_eq!(reason, UnreadableReason::NotGranted, "{message}");
    assert!(message.contains("evidence.namespaces"), "{message}");
    println!("no right: {message}");
    let gone = to_read(&web, None);
    case.api::<Pod>()
        .delete(
            &gone[0].name,
            &kube::api::DeleteParams::default().grace_period(0),
        )
        .await
        .unwrap();
    let (reason, message) = wait_until("a pod that is gone", LIMIT, async || {
        let (reason, message) = match Reader::new(client.clone(), gone.clone())
            .measure()
            .await
            .pods
            .remove(&gone[0].uid)
        {
            Some(PodMeasurement::Unreadable { why, .. }) => (why.reason, why.message),
            _ => return None,
        };
        (reason != UnreadableReason::NotRunning).then_some((reason, message))
    })
    .await;
    assert_eq!(reason, UnreadableReason::Gone, "{message}");
}

/// A server that has fallen silent is a suspect; an address that is rewritten on the way hides nothing.
pub async fn a_silent_server_and_a_masqueraded_pod_are_seen_through(suite: &TestSuite) {
    let case = TestCase::new(suite, "ev-silent").await;
    let servers = Server::start_all(suite, [205, 206]).await;
    let pods = case
        .create_workload(app("web", 1, servers[0].address))
        .await;
    let host = Host::of(suite, &pods[0], "side");
    let own = own_connections(&servers[0], std::slice::from_ref(&host)).await;
    let mut reader = Reader::new(suite.client().await, to_read(&pods, Some("side")));
    let to = |server: &Server| (SocketAddr::new(server.address, PORT), false);
    let mut two = host.connect(&[to(&servers[0]), to(&servers[1])]);
    wait_until("both ends", SETTLED, async || {
        let served = servers.iter().map(|s| s.of(host.address).count());
        (served.sum::<usize>() == 3).then_some(())
    })
    .await;
    let silence = server::Rule::add(
        suite,
        &format!(
            "filter INPUT -s {} -d {} -p tcp --dport {PORT} -j DROP",
            host.address, servers[1].address
        ),
    );
    let before = sockets(&reader.measure().await, &pod_uid(&pods[0])).to_vec();
    two[1].write();
    let (topology, addresses) = (topology(&servers), addresses(&servers));
    let line = wait_until("a suspect", Duration::from_secs(20), async || {
        let measured = reader.measure().await;
        let found = attribute_connections([&*pod_uid(&pods[0])], &measured, &addresses, &topology);
        let pod = &found.pods[&pod_uid(&pods[0])];
        assert!(pod.suspects() <= 1, "only the one that is silent: {pod:?}");
        (pod.suspects() == 1).then(|| descriptions::describe_holdings(pod, &topology).remove(1))
    })
    .await;
    println!("half-open: {line}");
    assert!(
        line.starts_with(&format!(
            "1 of 3 connections on orders-2 (reader), local port {}; retransmitting for ",
            two[1].local.port()
        )),
        "{line}"
    );
    drop(silence);
    // From here on the servers see the node's address only.
    let _rule = server::Rule::add(
        suite,
        &format!(
            "nat INPUT -s {} -p tcp --dport {PORT} -j SNAT --to-source {}",
            host.address,
            dbbalance_testbed::kubernetes::NODE_IP
        ),
    );
    two.clear();
    let masked = host.connect(&[to(&servers[0]), to(&servers[1]), to(&servers[1])]);
    let node: IpAddr = dbbalance_testbed::kubernetes::NODE_IP.parse().unwrap();
    wait_until("masqueraded connections", SETTLED, async || {
        let seen: usize = servers.iter().map(|s| s.of(node).count()).sum();
        let real: usize = servers.iter().map(|s| s.of(host.address).count()).sum();
        (seen == 3 && real == 1).then_some(())
    })
    .await;
    let measured = reader.measure().await;
    let after = sockets(&measured, &pod_uid(&pods[0]));
    let mut wanted: Ends = masked.iter().map(Connection::ends).collect();
    wanted.extend(own);
    assert_eq!(ends(after, true), wanted);
    let fresh = dbbalance_core::evidence::fresh_sockets(&before, after);
    assert_eq!(fresh.len(), 3, "new by their ports: {fresh:?}");
}
