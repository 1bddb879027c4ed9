//! The resolver against a DNS server on loopback, over real UDP: what arrives there, and what is made of its answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dbbalance::aurora::access::SourceKey;
use dbbalance::aurora::dns::resolver::Resolver;
use dbbalance::aurora::dns::{IpFamily, LookupAnswer, LookupError, Resolve};
use dbbalance::aurora::{ClusterKey, DnsConfig, DnsWatch, NoStats};
use dbbalance_api::status::Trigger;
use dbbalance_core::dns::agreement::{AwaitedChange, ExpectedAnswers, check_agreement};
use dbbalance_core::topology::{
    ClusterId, ClusterView, Endpoints, InstanceId, MemberFacts, MemberId, ResourceId, Topology,
};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use jiff::{SignedDuration, Timestamp};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// What the server says to one question.
#[derive(Clone, Debug)]
enum Say {
    /// A CNAME with TTL 1 to an instance, and its address with TTL 5, as Aurora does.
    Instance(&'static str),
    /// Addresses alone.
    Addresses(&'static [[u8; 4]]),
    NoSuchName,
    ServFail,
    Nothing,
}

/// An authoritative server by script: for each name a row of answers, the last one for ever.
#[derive(Clone, Default)]
struct Server {
    rows: Arc<Mutex<BTreeMap<String, Vec<Say>>>>,
    /// What arrived: from which port, which name.
    asked: Arc<Mutex<Vec<(u16, String)>>>,
}

const WRITER: &str = "orders.cluster-x.test-db.example.";
const READER: &str = "orders.cluster-ro-x.test-db.example.";

fn address(instance: &str) -> [u8; 4] {
    [10, 0, 0, instance.bytes().last().unwrap()]
}

impl Server {
    async fn start(&self) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let question = Message::from_vec(&buffer[..length]).unwrap();
                if let Some(answer) = server.answer(&question, from.port()) {
                    let bytes = answer.to_vec().unwrap();
                    socket.send_to(&bytes, from).await.unwrap();
                }
            }
        });
        at
    }

    fn set(&self, name: &str, row: &[Say]) {
        self.rows.lock().unwrap().insert(name.into(), row.to_vec());
    }

    fn asked(&self) -> Vec<(u16, String)> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, question: &Message, port: u16) -> Option<Message> {
        let query = question.queries[0].clone();
        let name = query.name().to_string();
        self.asked.lock().unwrap().push((port, name.clone()));
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.add_query(query.clone());
        if query.query_type() == RecordType::AAAA {
            return Some(answer);
        }
        let say = {
            let mut rows = self.rows.lock().unwrap();
            let row = rows.entry(name).or_insert_with(|| vec![Say::NoSuchName]);
            if row.len() > 1 {
                row.remove(0)
            } else {
                row[0].clone()
            }
        };
        let record = |name: &Name, ttl, data| Record::from_rdata(name.clone(), ttl, data);
        match say {
            Say::Instance(instance) => {
                let target = Name::from_utf8(format!("{instance}.x.test-db.example.")).unwrap();
                answer.add_answer(record(query.name(), 1, RData::CNAME(CNAME(target.clone()))));
                answer.add_answer(record(&target, 5, RData::A(A(address(instance).into()))));
            }
            Say::Addresses(all) => {
                for a in all {
                    answer.add_answer(record(query.name(), 5, RData::A(A((*a).into()))));
                }
            }
            Say::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
            Say::ServFail => answer.metadata.response_code = ResponseCode::ServFail,
            Say::Nothing => return None,
        }
        Some(answer)
    }
}

async fn ask(server: &Server, name: &str) -> Result<LookupAnswer, LookupError> {
    let at = server.start().await;
    let resolver = Resolver::new(&[at]).unwrap();
    resolver.resolve(name, IpFamily::V4).await
}

#[tokio::test]
async fn an_endpoint_is_an_alias_of_an_instance_with_the_shorter_ttl() {
    let server = Server::default();
    server.set(READER, &[Say::Instance("orders-2")]);
    let answer = ask(&server, READER.trim_end_matches('.')).await.unwrap();
    assert_eq!(answer.addresses, [IpAddr::from(address("orders-2"))]);
    assert_eq!(answer.aliases, ["orders-2.x.test-db.example."]);
    assert_eq!(answer.ttl, 1);
}

#[tokio::test]
async fn several_addresses_keep_their_order() {
    let server = Server::default();
    server.set(READER, &[Say::Addresses(&[[10, 0, 0, 9], [10, 0, 0, 3]])]);
    let answer = ask(&server, READER).await.unwrap();
    let order: Vec<String> = answer.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["10.0.0.9", "10.0.0.3"]);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let server = Server::default();
    assert_eq!(ask(&server, READER).await, Err(LookupError::NoSuchName));
    server.set(READER, &[Say::Addresses(&[])]);
    assert_eq!(ask(&server, READER).await, Err(LookupError::NoAddress));
    server.set(READER, &[Say::ServFail]);
    assert_eq!(ask(&server, READER).await, Err(LookupError::Refused));
}

#[tokio::test]
async fn a_server_that_is_silent_costs_two_seconds() {
    let server = Server::default();
    server.set(READER, &[Say::Nothing]);
    let began = Instant::now();
    assert_eq!(ask(&server, READER).await, Err(LookupError::Unanswered));
    assert!(began.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn each_look_arrives_at_the_server_from_a_socket_of_its_own_under_the_whole_name() {
    let server = Server::default();
    server.set(READER, &[Say::Instance("orders-2")]);
    let resolver = Resolver::new(&[server.start().await]).unwrap();
    for _ in 0..40 {
        resolver.resolve(READER, IpFamily::V4).await.unwrap();
    }
    let missing = resolver.resolve("orders.nowhere", IpFamily::V4).await;
    assert_eq!(missing, Err(LookupError::NoSuchName));
    let asked = server.asked();
    assert_eq!(asked.len(), 41, "no cache, and no search domains");
    let ports: HashSet<u16> = asked.iter().map(|(port, _)| *port).collect();
    assert!(ports.len() >= 39, "{} sockets for 41 looks", ports.len());
}

fn member(name: &str) -> MemberId {
    MemberId {
        instance: InstanceId(name.into()),
        resource: ResourceId(format!("db-{name}")),
    }
}

fn view(writer: &str, readers: &[&str]) -> ClusterView {
    let topology = Topology {
        arn: "arn:orders".into(),
        resource: ResourceId("cluster-1".into()),
        writer: member(writer),
        readers: readers.iter().map(|r| member(r)).collect(),
    };
    let facts = topology.members().map(|(m, _)| {
        let endpoint = format!("{}.x.test-db.example", m.instance);
        let facts = MemberFacts {
            class: None,
            endpoint: Some(endpoint),
            serverless: None,
            is_available: true,
        };
        (m.instance.clone(), facts)
    });
    ClusterView {
        facts: facts.collect(),
        leaving: std::collections::BTreeSet::new(),
        topology,
        engine: "aurora-postgresql".into(),
        endpoints: Endpoints {
            writer: Some(WRITER.trim_end_matches('.').into()),
            reader: Some(READER.trim_end_matches('.').into()),
            port: Some(5432),
        },
    }
}

fn key(cluster: &str) -> ClusterKey {
    ClusterKey {
        source: SourceKey {
            role: None,
            region: "eu-west-1".into(),
        },
        cluster: ClusterId(cluster.into()),
    }
}

async fn watch(server: &Server, lookups_per_second: u32) -> DnsWatch {
    let config = DnsConfig {
        resolver: Arc::new(Resolver::new(&[server.start().await]).unwrap()),
        lookups_per_second,
        clock: Arc::new(Timestamp::now),
        stats: Arc::new(NoStats),
    };
    DnsWatch::new(config, CancellationToken::new())
}

fn orders(server: &Server) {
    server.set(WRITER, &[Say::Instance("orders-1")]);
    server.set(READER, &[Say::Instance("orders-2")]);
    for n in ["orders-1", "orders-2"] {
        server.set(&format!("{n}.x.test-db.example."), &[Say::Instance(n)]);
    }
}

#[tokio::test]
async fn ten_clusters_in_need_ask_no_more_than_the_bound() {
    let server = Server::default();
    orders(&server);
    let dns = watch(&server, 50).await;
    for n in 0..10 {
        let key = key(&format!("c{n}"));
        let mut view = view("orders-1", &["orders-2"]);
        view.topology.arn = format!("arn:c{n}");
        dns.watch(&key, &view);
        dns.boost_until(&key, Timestamp::now() + SignedDuration::from_secs(60));
    }
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (seconds, asked) = (began.elapsed().as_secs_f64(), server.asked().len());
    #[allow(clippy::cast_precision_loss)] // a few hundred
    let rate = asked as f64 / seconds;
    println!("{asked} look-ups in {seconds:.2} s: {rate:.1}/s of 50/s allowed");
    assert!(rate <= 51.0, "{rate}/s");
    assert!(rate >= 25.0, "{rate}/s");
}

#[tokio::test]
async fn a_failover_with_flicker_opens_only_when_dns_agrees() {
    let server = Server::default();
    orders(&server);
    let old = Say::Instance("orders-1");
    let new = Say::Instance("orders-2");
    // Old; new for half a second; old again for half a second; then new.
    let flicker = [
        vec![old.clone(); 3],
        vec![new.clone(); 4],
        vec![old; 4],
        vec![new],
    ];
    let flicker = flicker.concat();
    let old_looks = 11;
    server.set(WRITER, &flicker);
    let dns = watch(&server, 50).await;
    let after = view("orders-2", &["orders-1"]);
    let since = Timestamp::now();
    dns.watch(&key("orders"), &after);
    dns.boost_until(&key("orders"), since + SignedDuration::from_secs(60));
    let awaited = AwaitedChange {
        triggers: &[Trigger::Failover],
        added: &BTreeSet::new(),
        has_reader_pools: false,
        expected: ExpectedAnswers {
            topology: &after.topology,
            former: &BTreeSet::new(),
            leaving: &BTreeSet::new(),
            hold: None,
            since,
            after: None,
            leaving: &BTreeSet::new(),
        },
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut said = BTreeSet::new();
    loop {
        let seen = dns.view(&key("orders"));
        match check_agreement(awaited, &seen, Timestamp::now()) {
            Ok(()) => {
                assert!(
                    seen.writer.len() >= old_looks + 8,
                    "{} looks",
                    seen.writer.len()
                );
                break;
            }
            Err(waiting) => said.insert(waiting.message),
        };
        assert!(Instant::now() < deadline, "{said:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        said.contains(
            "the cluster endpoint must lead to orders-2; last answered: orders-1, orders-2"
        ),
        "{said:?}"
    );
    let book = &dns.view(&key("orders")).book;
    let known = book.record_of(address("orders-1").into()).unwrap();
    assert_eq!(
        (known.instance.0.as_str(), known.current),
        ("orders-1", true)
    );
}
