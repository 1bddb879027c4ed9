//! A reader name that a test leads by hand: its objects, and where the caches say that it leads.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::coredns::{self, SteeredDns};
use dbbalance_testbed::aurora::corefile::{Distribution, SteeredBlock};
use dbbalance_testbed::aurora::inventory::reader_endpoint;
use dbbalance_testbed::kubernetes::Testbed;
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};
use serde_json::Value;

use super::dns::ask_server;
use super::wait_eventually;

pub const CLUSTER: &str = "orders";
/// The Service, of both ways.
pub const SERVICE: &str = "orders-ro";
/// Where pods are, and the Service whose name they look up.
pub const APP: &str = "default";
/// Where the Service and the slice are that a server block asks.
pub const SYSTEM: &str = "dbbalance-system";
/// The API server's watch, and the whole seconds in which `CoreDNS` counts.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Watched after that: no later answer is an old one.
const AFTER: Duration = Duration::from_millis(500);

/// Where an answer leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteeredAnswer {
    /// Through Aurora's reader endpoint, to any reader.
    Aurora,
    /// To this address alone.
    To(Ipv4Addr),
    /// There is no such name.
    Nowhere,
}

fn leads(answer: &Message) -> SteeredAnswer {
    let aurora = format!("{}.", reader_endpoint(CLUSTER));
    let records = &answer.answers;
    let is_alias = records
        .iter()
        .any(|record| record.name.to_string() == aurora && matches!(record.data, RData::CNAME(_)));
    let mut addresses = records.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    });
    match (is_alias, addresses.next(), addresses.next()) {
        (true, Some(_), None) => SteeredAnswer::Aurora,
        (false, Some(address), None) => SteeredAnswer::To(address),
        (false, None, None) if answer.metadata.response_code == ResponseCode::NXDomain => {
            SteeredAnswer::Nowhere
        }
        _ => panic!("neither Aurora's answer nor one address: {answer}"),
    }
}

/// The name servers of a distribution, and the objects that lead names.
pub struct SteeredStage<'t> {
    pub testbed: &'t Testbed,
    pub distribution: Distribution,
    caches: Vec<Ipv4Addr>,
}

impl<'t> SteeredStage<'t> {
    /// Starts the name servers; with the server block, Aurora's own name is led by the slice.
    pub fn start(testbed: &'t Testbed, distribution: Distribution, has_block: bool) -> Self {
        let block = SteeredBlock {
            cluster: CLUSTER.to_owned(),
            namespace: SYSTEM.to_owned(),
            service: SERVICE.to_owned(),
        };
        let dns = SteeredDns {
            distribution,
            blocks: if has_block { vec![block] } else { Vec::new() },
        };
        coredns::start_steered_caches(testbed, &dns).unwrap();
        Self {
            testbed,
            distribution,
            caches: dns.caches(),
        }
    }

    fn kubectl(&self, namespace: &str, arguments: &[&str]) {
        let call = [&["-n", namespace], arguments].concat();
        self.testbed.kubectl(&call).unwrap();
    }

    pub fn create(&self, namespace: &str, object: &Value) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        self.kubectl(namespace, &["create", "-f", file.path().to_str().unwrap()]);
    }

    pub fn patch(&self, namespace: &str, kind: &str, patch: &Value) {
        let patch = patch.to_string();
        let call = ["patch", kind, SERVICE, "--type=merge", "-p", &patch];
        self.kubectl(namespace, &call);
    }

    pub fn delete(&self, namespace: &str, kind: &str) {
        self.kubectl(namespace, &["delete", kind, SERVICE]);
    }

    /// Asks every cache once, each over a new socket.
    pub fn looks(&self, name: &str) -> Vec<SteeredAnswer> {
        let ask = |cache: &Ipv4Addr| leads(&ask_server((*cache, 53), name, RecordType::A));
        self.testbed
            .enter(|| self.caches.iter().map(ask).collect())
            .unwrap()
    }

    /// Asks until every cache leads there.
    pub fn await_led(&self, name: &str, wanted: SteeredAnswer) {
        wait_eventually(&format!("{name} leads to {wanted:?}"), || {
            self.looks(name).iter().all(|led| *led == wanted)
        });
    }

    /// Makes a change while the name is asked all the time, so that every cache holds the answer before it, and asserts
    /// that within `bound` all answers lead where they should, and go on doing so.
    pub fn follows(
        &self,
        name: &str,
        wanted: SteeredAnswer,
        bound: Duration,
        what: &str,
        change: impl FnOnce(),
    ) {
        self.looks(name);
        change();
        let changed = Instant::now();
        let mut followed = None;
        while changed.elapsed() < bound + TOLERANCE + AFTER {
            let asked = changed.elapsed();
            let is_there = self.looks(name).iter().all(|led| *led == wanted);
            followed = if is_there {
                followed.or(Some(asked))
            } else {
                None
            };
            std::thread::sleep(Duration::from_millis(20));
        }
        let followed = followed.unwrap_or_else(|| panic!("{what}: does not lead to {wanted:?}"));
        println!(
            "{}: {what}: all caches after {:.2} s",
            self.distribution.name(),
            followed.as_secs_f64()
        );
        assert!(
            followed <= bound + TOLERANCE,
            "{what}: {followed:?}, more than {bound:?}"
        );
    }
}
