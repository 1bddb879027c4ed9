//! Servers of the testbed: they accept, tell who is connected, and close on demand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use dbbalance_testkit::TestSuite;

/// The database's port; the next one is another service of the same host.
pub const PORT: u16 = 5432;

type Peers = Arc<Mutex<BTreeMap<SocketAddr, CancellationToken>>>;

/// One address of the testbed's network with a listener.
pub struct Server {
    pub address: IpAddr,
    peers: Peers,
}

impl Server {
    /// Servers at these hosts of 198.18.0.0/24.
    pub async fn start_all<const N: usize>(suite: &TestSuite, hosts: [u8; N]) -> Vec<Self> {
        let mut servers = Vec::new();
        for host in hosts {
            servers.push(Self::start(suite, host).await);
        }
        servers
    }

    async fn start(suite: &TestSuite, host: u8) -> Self {
        let address = IpAddr::from([198, 18, 0, host]);
        output(suite.testbed.command("ip").args([
            "addr",
            "add",
            &format!("{address}/32"),
            "dev",
            "lo",
        ]));
        let peers = Peers::default();
        let ours = TcpListener::bind((address, PORT)).await.unwrap();
        tokio::spawn(serve(ours, Arc::clone(&peers)));
        let other = TcpListener::bind((address, PORT + 1)).await.unwrap();
        tokio::spawn(serve(other, Peers::default()));
        Self { address, peers }
    }

    /// The connections from that address, as this server sees them: the client's end, then its own.
    pub fn of(&self, client: IpAddr) -> impl Iterator<Item = (SocketAddr, SocketAddr)> {
        let peers: Vec<SocketAddr> = self.peers.lock().unwrap().keys().copied().collect();
        let own = SocketAddr::new(self.address, PORT);
        peers
            .into_iter()
            .filter(move |p| p.ip() == client)
            .map(move |p| (p, own))
    }

    /// Closes one connection from this end.
    pub fn close(&self, client: SocketAddr) {
        self.peers.lock().unwrap()[&client].cancel();
    }
}

async fn serve(listener: TcpListener, peers: Peers) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        let closed = CancellationToken::new();
        peers.lock().unwrap().insert(peer, closed.clone());
        let peers = Arc::clone(&peers);
        tokio::spawn(async move {
            let mut buffer = [0; 64];
            let over = async { while matches!(stream.read(&mut buffer).await, Ok(1..)) {} };
            closed.run_until_cancelled(over).await;
            drop(stream);
            peers.lock().unwrap().remove(&peer);
        });
    }
}

/// A rule of the testbed's packet filter, while the value lives.
pub struct Rule<'a> {
    suite: &'a TestSuite,
    rule: Vec<String>,
}

impl<'a> Rule<'a> {
    /// `table CHAIN rule…`
    pub fn add(suite: &'a TestSuite, rule: &str) -> Self {
        let rule = Self {
            suite,
            rule: rule.split(' ').map(str::to_owned).collect(),
        };
        rule.call("-I");
        rule
    }

    fn call(&self, verb: &str) {
        output(
            self.suite
                .testbed
                .command("iptables")
                .args(["-w", "-t", &self.rule[0], verb])
                .args(&self.rule[1..]),
        );
    }
}

impl Drop for Rule<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.call("-D");
        }
    }
}

/// What a program says; it must end well.
pub fn output(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {said}");
    String::from_utf8(out.stdout).unwrap()
}
