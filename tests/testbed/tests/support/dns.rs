//! Asking a name server one question, by a message that is looked at whole.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use dbbalance_testbed::aurora::inventory::{ControlPlane as _, NewCluster, NewInstance};
use dbbalance_testbed::aurora::static_control_plane::StaticControlPlane;
use hickory_resolver::proto::op::{Edns, Message, Query};
use hickory_resolver::proto::rr::{Name, RData, RecordType};

const LIMIT: Duration = Duration::from_secs(5);

/// A cluster `orders` with `orders-1`, its writer, and so many readers.
pub fn orders_cluster(readers: u8) -> Arc<StaticControlPlane> {
    let plane = StaticControlPlane::new();
    let engine = String::from("aurora-postgresql");
    let new = NewCluster {
        identifier: "orders".into(),
        engine: engine.clone(),
    };
    plane.create_cluster(&new).unwrap();
    for number in 1..=readers + 1 {
        let new = NewInstance {
            identifier: format!("orders-{number}"),
            cluster: Some("orders".into()),
            class: "db.r6g.large".into(),
            engine: engine.clone(),
            tier: 1,
        };
        plane.create_instance(&new).unwrap();
    }
    Arc::new(plane)
}

fn dns_question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    // As resolvers do.
    message.edns = Some(Edns::new());
    let name = Name::from_ascii(format!("{name}.")).unwrap();
    message.add_query(Query::query(name, kind));
    message
}

/// By UDP from a new socket, bound to `source` if there is one.
pub fn ask_from(
    source: Option<Ipv4Addr>,
    server: impl Into<SocketAddr>,
    name: &str,
    kind: RecordType,
) -> std::io::Result<Message> {
    let question = dns_question(name, kind);
    let socket = UdpSocket::bind((source.unwrap_or(Ipv4Addr::UNSPECIFIED), 0))?;
    socket.set_read_timeout(Some(LIMIT))?;
    // Connected: an answer from another address than the one that was asked does not count.
    socket.connect(server.into())?;
    socket.send(&question.to_vec().unwrap())?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer)?;
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    Ok(answer)
}

/// By UDP from a new socket.
pub fn ask_server(server: impl Into<SocketAddr>, name: &str, kind: RecordType) -> Message {
    ask_from(None, server, name, kind).unwrap()
}

/// By TCP.
pub fn ask_by_tcp(server: impl Into<SocketAddr>, name: &str, kind: RecordType) -> Message {
    let question = dns_question(name, kind).to_vec().unwrap();
    let mut stream = TcpStream::connect_timeout(&server.into(), LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let length = u16::try_from(question.len()).unwrap().to_be_bytes();
    stream
        .write_all(&[&length[..], &question].concat())
        .unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    Message::from_vec(&answer).unwrap()
}

/// The answer's records in short: `CNAME orders-2 1`, `A 198.18.0.35 5`.
pub fn record_texts(message: &Message) -> Vec<String> {
    let records = message.answers.iter();
    records
        .map(|record| {
            let data = match &record.data {
                RData::CNAME(name) => {
                    let name = name.0.to_string();
                    format!("CNAME {}", name.split('.').next().unwrap())
                }
                RData::A(address) => format!("A {}", address.0),
                other => other.to_string(),
            };
            format!("{data} {}", record.ttl)
        })
        .collect()
}

/// The address in an answer.
pub fn first_address(message: &Message) -> Option<IpAddr> {
    message
        .answers
        .iter()
        .find_map(|record| match &record.data {
            RData::A(address) => Some(address.0.into()),
            _ => None,
        })
}
