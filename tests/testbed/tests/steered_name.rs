//! A reader name that is led by a Service, on a real API server, by real `CoreDNS` with the Corefiles of EKS, kubeadm and
//! `NodeLocal` `DNSCache`: every answer follows a patch within the caches' bound, and the name leads to Aurora whenever
//! nobody leads it. No operator is there: the objects are patched by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::address::AUTHORITY;
use dbbalance_testbed::aurora::coredns::{self, SteeredDns};
use dbbalance_testbed::aurora::corefile::{Distribution, SteeredBlock};
use dbbalance_testbed::aurora::dns::{self, DnsOptions};
use dbbalance_testbed::aurora::inventory::{ControlPlane as _, reader_endpoint};
use dbbalance_testbed::aurora::steered_name::{
    alias_patch, alias_service, empty_slice, headless_service, service_host, slice_patch,
};
use dbbalance_testbed::kubernetes::{Testbed, network};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{RData, RecordType};
use serde_json::Value;
use support::dns::{ask_server, orders_cluster};
use support::{ExclusiveMachine, OwnTestbed, deploy_testapp, run_getent, wait_eventually};

const CLUSTER: &str = "orders";
const SERVICE: &str = "orders-ro";
/// Where pods are, and the Service whose name they look up.
const APP: &str = "default";
/// Where the Service and the slice are that a server block asks.
const SYSTEM: &str = "dbbalance-system";
/// The API server's watch, and the whole seconds in which `CoreDNS` counts.
const TOLERANCE: Duration = Duration::from_secs(1);
/// Watched after that: no later answer is an old one.
const AFTER: Duration = Duration::from_millis(500);

/// Where an answer leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Led {
    /// Through Aurora's reader endpoint, to any reader.
    Aurora,
    /// To this address alone.
    To(Ipv4Addr),
    /// There is no such name.
    Nowhere,
}

fn leads(answer: &Message) -> Led {
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
        (true, Some(_), None) => Led::Aurora,
        (false, Some(address), None) => Led::To(address),
        (false, None, None) if answer.metadata.response_code == ResponseCode::NXDomain => {
            Led::Nowhere
        }
        _ => panic!("neither Aurora's answer nor one address: {answer}"),
    }
}

struct Stage<'t> {
    testbed: &'t Testbed,
    caches: Vec<Ipv4Addr>,
    distribution: Distribution,
}

impl Stage<'_> {
    fn kubectl(&self, namespace: &str, arguments: &[&str]) {
        let call = [&["-n", namespace], arguments].concat();
        self.testbed.kubectl(&call).unwrap();
    }

    fn create(&self, namespace: &str, object: &Value) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), object.to_string()).unwrap();
        self.kubectl(namespace, &["create", "-f", file.path().to_str().unwrap()]);
    }

    fn patch(&self, namespace: &str, kind: &str, patch: &Value) {
        let patch = patch.to_string();
        let call = ["patch", kind, SERVICE, "--type=merge", "-p", &patch];
        self.kubectl(namespace, &call);
    }

    fn delete(&self, namespace: &str, kind: &str) {
        self.kubectl(namespace, &["delete", kind, SERVICE]);
    }

    /// Asks every cache once, each over a new socket.
    fn looks(&self, name: &str) -> Vec<Led> {
        let ask = |cache: &Ipv4Addr| leads(&ask_server((*cache, 53), name, RecordType::A));
        self.testbed
            .enter(|| self.caches.iter().map(ask).collect())
            .unwrap()
    }

    /// Asks until every cache leads there.
    fn await_led(&self, name: &str, wanted: Led) {
        wait_eventually(&format!("{name} leads to {wanted:?}"), || {
            self.looks(name).iter().all(|led| *led == wanted)
        });
    }

    /// Makes a change while the name is asked all the time, so that every cache holds the answer before it, and asserts
    /// that within `bound` all answers lead where they should, and go on doing so.
    fn follows(&self, name: &str, wanted: Led, bound: Duration, what: &str, change: impl FnOnce()) {
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

    /// The Service's own name: an alias that is flipped.
    fn alias_is_flipped(&self, pod: &str, reader: (&str, Ipv4Addr)) {
        let (name, bound) = (
            service_host(SERVICE, APP),
            self.distribution.service_bound(),
        );
        self.create(APP, &alias_service(SERVICE, CLUSTER));
        self.await_led(&name, Led::Aurora);
        let to = Led::To(reader.1);
        self.follows(&name, to, bound, "alias narrowed", || {
            self.patch(APP, "service", &alias_patch(CLUSTER, Some(reader.0)));
        });
        // By the short name, as an app writes it, with a pod's search list.
        let (told, _) = run_getent(self.testbed, pod, SERVICE);
        assert!(told.starts_with(&reader.1.to_string()), "{told}");
        self.follows(&name, Led::Aurora, bound, "alias widened", || {
            self.patch(APP, "service", &alias_patch(CLUSTER, None));
        });
        self.delete(APP, "service");
        self.await_led(&name, Led::Nowhere);
    }

    /// Aurora's own name, by the server block.
    fn slice_leads_and_falls_back(&self, pod: &str, reader: Ipv4Addr) {
        let (name, now) = (reader_endpoint(CLUSTER), Duration::ZERO);
        let to = Led::To(reader);
        self.await_led(&name, Led::Aurora);
        self.follows(&name, Led::Aurora, now, "an empty slice is made", || {
            self.create(SYSTEM, &headless_service(SERVICE));
            self.create(SYSTEM, &empty_slice(SERVICE));
        });
        let fill = || self.patch(SYSTEM, "endpointslice", &slice_patch(Some(reader)));
        self.follows(&name, to, now, "slice filled", fill);
        let (told, _) = run_getent(self.testbed, pod, &name);
        assert!(told.starts_with(&reader.to_string()), "{told}");
        self.follows(&name, Led::Aurora, now, "slice emptied", || {
            self.patch(SYSTEM, "endpointslice", &slice_patch(None));
        });
        self.follows(&name, to, now, "slice filled again", fill);
        self.follows(&name, Led::Aurora, now, "Service deleted", || {
            self.delete(SYSTEM, "service");
        });
        self.follows(&name, to, now, "Service made again", || {
            self.create(SYSTEM, &headless_service(SERVICE));
        });
        self.follows(&name, Led::Aurora, now, "slice deleted", || {
            self.delete(SYSTEM, "endpointslice");
        });
        self.delete(SYSTEM, "service");
    }

    /// Without the server block, or with one that somebody has reverted, Aurora's name leads to Aurora whatever the
    /// slice says.
    fn name_without_block_is_not_led(&self, reader: Ipv4Addr) {
        self.create(SYSTEM, &headless_service(SERVICE));
        self.create(SYSTEM, &empty_slice(SERVICE));
        self.patch(SYSTEM, "endpointslice", &slice_patch(Some(reader)));
        let service = service_host(SERVICE, SYSTEM);
        self.await_led(&service, Led::To(reader));
        let looks = self.looks(&reader_endpoint(CLUSTER));
        assert!(looks.iter().all(|led| *led == Led::Aurora), "{looks:?}");
    }
}

#[test]
fn a_name_follows_its_service_and_leads_to_aurora_when_nobody_leads_it() {
    let alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed::up("t-steered");
    let testbed = &own.testbed;
    let plane = orders_cluster(3);
    network::add_address(testbed.layout(), AUTHORITY).unwrap();
    let server = testbed
        .enter(|| {
            let options = DnsOptions { seed: Some(7) };
            dns::start_dns((AUTHORITY, 53).into(), plane.clone(), &options)
        })
        .unwrap()
        .unwrap();
    testbed.kubectl(&["create", "namespace", SYSTEM]).unwrap();
    let pod = &deploy_testapp(testbed, 1)[0];
    let reader = ("orders-3", plane.dns_zone().instances["orders-3"]);
    for distribution in Distribution::ALL {
        let dns = SteeredDns {
            distribution,
            blocks: vec![SteeredBlock {
                cluster: CLUSTER.to_owned(),
                namespace: SYSTEM.to_owned(),
                service: SERVICE.to_owned(),
            }],
        };
        coredns::start_steered_caches(testbed, &dns).unwrap();
        let stage = Stage {
            testbed,
            caches: dns.caches(),
            distribution,
        };
        stage.alias_is_flipped(pod, reader);
        stage.slice_leads_and_falls_back(pod, reader.1);
    }
    let dns = SteeredDns {
        distribution: Distribution::Eks,
        blocks: Vec::new(),
    };
    coredns::start_steered_caches(testbed, &dns).unwrap();
    let stage = Stage {
        testbed,
        caches: dns.caches(),
        distribution: dns.distribution,
    };
    stage.name_without_block_is_not_led(reader.1);
    coredns::stop_caches(testbed).unwrap();
    drop(server);
    drop(own);
    alone.assert_nothing_left("t-steered");
}
