//! A cluster of the testbed's Aurora for one test, in a testbed that all tests of a run share.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::address::PORT;
use dbbalance_testbed::aurora::status::{ClusterStatus, InstanceStatus};
use dbbalance_testbed::aurora::{AuroraClusterSpec, AuroraControl, FleetCommand, daemon};
use dbbalance_testbed::kubernetes::Testbed;
use postgres::{Client, NoTls};

use super::{ExclusiveMachine, OwnTestbed};

pub const NAME: &str = "t-aurora";

/// The testbed of all tests that run now: the last one takes it away, and looks that nothing is left.
pub struct SharedTestbed {
    own: Option<OwnTestbed>,
    alone: ExclusiveMachine,
}

static SHARED: Mutex<Weak<SharedTestbed>> = Mutex::new(Weak::new());

impl SharedTestbed {
    fn testbed() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap();
        if let Some(there) = shared.upgrade() {
            return there;
        }
        // The program that the library finds beside the tests is the one that Cargo built for them.
        assert!(Path::new(env!("CARGO_BIN_EXE_testbed")).is_file());
        let alone = ExclusiveMachine::on_this_machine();
        let new = Arc::new(Self {
            own: Some(OwnTestbed::up(NAME)),
            alone,
        });
        *shared = Arc::downgrade(&new);
        new
    }
}

impl Drop for SharedTestbed {
    fn drop(&mut self) {
        drop(self.own.take());
        if !std::thread::panicking() {
            self.alone.assert_nothing_left(NAME);
        }
    }
}

/// A cluster of one test.
pub struct AuroraFixture {
    shared: Arc<SharedTestbed>,
    cluster: &'static str,
    pub control: AuroraControl,
    pub took: Duration,
}

impl AuroraFixture {
    pub fn up(cluster: &'static str, readers: u8) -> Self {
        let shared = SharedTestbed::testbed();
        let up = AuroraClusterSpec {
            cluster: cluster.to_owned(),
            readers,
            profile: "quick".to_owned(),
            max_connections: 100,
        };
        let testbed = &shared.own.as_ref().unwrap().testbed;
        // Two programs must not start at once; their clusters may.
        let control = {
            let _one = SHARED.lock().unwrap();
            daemon::start_daemon(testbed, "quick").unwrap()
        };
        let started = Instant::now();
        daemon::create_cluster(testbed, &up).unwrap();
        Self {
            took: started.elapsed(),
            control,
            cluster,
            shared,
        }
    }

    pub fn testbed(&self) -> &Testbed {
        &self.shared.own.as_ref().unwrap().testbed
    }

    pub fn status(&self) -> ClusterStatus {
        let status = self.control.status().unwrap();
        status.cluster(self.cluster).unwrap().clone()
    }

    pub fn instance(&self, number: u32) -> InstanceStatus {
        let name = self.name(number);
        let found = self.status().instances.into_iter();
        found.into_iter().find(|row| row.name == name).unwrap()
    }

    pub fn name(&self, number: u32) -> String {
        format!("{}-{number}", self.cluster)
    }

    /// An application's session, by address as a pool holds it.
    pub fn session(&self, address: Ipv4Addr) -> Result<Client, postgres::Error> {
        self.testbed()
            .enter(|| {
                postgres::Config::new()
                    .host(&address.to_string())
                    .port(PORT)
                    .user("app")
                    .dbname("app")
                    .connect_timeout(Duration::from_secs(5))
                    .connect(NoTls)
            })
            .unwrap()
    }

    /// A bare connection, on which every packet can be accounted for.
    pub fn socket(&self, address: Ipv4Addr, patience: Duration) -> std::io::Result<TcpStream> {
        let to = SocketAddr::from((address, PORT));
        self.testbed()
            .enter(|| TcpStream::connect_timeout(&to, patience))
            .unwrap()
    }

    pub fn order(&self, order: &FleetCommand) {
        self.control.send(order).unwrap();
    }

    pub fn idle(&self) {
        self.control
            .wait_idle(self.cluster, Duration::from_mins(1))
            .unwrap();
    }
}

impl Drop for AuroraFixture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for event in self.control.events(0).unwrap_or_default() {
                if event.cluster == self.cluster {
                    eprintln!("{event:?}");
                }
            }
            let log = self.testbed().layout().path("aurora");
            for number in 1..=2 {
                let file = log.join(self.name(number)).join("log");
                let text = std::fs::read_to_string(file).unwrap_or_default();
                eprintln!("{}:\n{text}", self.name(number));
            }
        }
        let _ = self.control.send(&FleetCommand::Down {
            cluster: self.cluster.to_owned(),
        });
    }
}

pub fn backend_pid(client: &mut Client) -> Result<i32, postgres::Error> {
    Ok(client.query_one("SELECT pg_backend_pid()", &[])?.get(0))
}

pub fn write_row(client: &mut Client) -> Result<u64, postgres::Error> {
    client.execute("INSERT INTO load (pod) VALUES ('test')", &[])
}

/// The question whether the server speaks TLS, which PostgreSQL answers with one byte before any login.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

pub fn send_ssl_request(socket: &mut TcpStream) {
    socket.write_all(&SSL_REQUEST).unwrap();
}

pub fn read_byte(socket: &mut TcpStream, patience: Duration) -> std::io::Result<u8> {
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut byte = [0];
    socket.read_exact(&mut byte)?;
    Ok(byte[0])
}
