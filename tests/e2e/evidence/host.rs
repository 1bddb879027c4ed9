//! A pod's network from within: sockets in it, and what `ss` says of them.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;

use k8s_openapi::api::core::v1::Pod;
use nix::sched::{CloneFlags, setns};

use super::Ends;
use super::server::{PORT, output};
use dbbalance_testkit::TestSuite;

/// The network namespace of a pod.
pub struct Host {
    pub address: IpAddr,
    netns: String,
}

/// A connection out of a pod.
pub struct Connection {
    stream: TcpStream,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Made by an IPv6 socket.
    pub is_mapped: bool,
    /// The server has not closed it.
    pub is_open: bool,
}

impl Connection {
    /// Whether it leads to the database's port.
    pub fn counts(&self) -> bool {
        self.remote.port() == PORT
    }

    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.local, self.remote)
    }

    pub fn write(&mut self) {
        self.stream.write_all(b"?").unwrap();
    }
}

/// What `ss` says of sockets to the database's port.
pub struct Seen {
    pub open: Ends,
    /// Closed by the server, and still held.
    pub closed: Ends,
}

impl Host {
    pub fn of(suite: &TestSuite, pod: &Pod, container: &str) -> Self {
        let (namespace, name) = (
            pod.metadata.namespace.as_ref().unwrap(),
            pod.metadata.name.as_ref().unwrap(),
        );
        let pid = suite
            .testbed
            .container_pid(namespace, name, container)
            .unwrap();
        let address = pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()).unwrap();
        Self {
            address: address.parse().unwrap(),
            netns: format!("/proc/{pid}/ns/net"),
        }
    }

    /// Opens connections, each by an IPv4 socket or, if so said, by an IPv6 one.
    pub fn connect(&self, wanted: &[(SocketAddr, bool)]) -> Vec<Connection> {
        let work = || {
            let namespace = File::open(&self.netns).unwrap();
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            wanted
                .iter()
                .map(|(to, mapped)| open(*to, *mapped))
                .collect()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    pub fn ss(&self) -> Seen {
        let net = format!("--net={}", self.netns);
        let text = output(Command::new("nsenter").args([&net, "--", "ss", "-Htan"]));
        let mut seen = Seen {
            open: Ends::new(),
            closed: Ends::new(),
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let set = match words[0] {
                "ESTAB" => &mut seen.open,
                "CLOSE-WAIT" => &mut seen.closed,
                _ => continue,
            };
            let (local, remote) = (end(words[3]), end(words[4]));
            if remote.port() == PORT {
                set.insert((local, remote));
            }
        }
        seen
    }
}

fn open(to: SocketAddr, is_mapped: bool) -> Connection {
    let through = match to.ip() {
        IpAddr::V4(v4) if is_mapped => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
        _ => to,
    };
    let stream = TcpStream::connect(through).unwrap();
    let local = stream.local_addr().unwrap();
    assert_eq!(local.is_ipv6(), is_mapped);
    Connection {
        stream,
        local: canonical(local),
        remote: to,
        is_mapped,
        is_open: true,
    }
}

fn end(text: &str) -> SocketAddr {
    canonical(text.parse().unwrap())
}

fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}
