//! The cases: what is done when a third reader joins, by whom, and how often it is tried.
//!
//! Values only; [`crate::play`] plays them. The order is that of playing: cases with the same pods are together, as pods
//! are started anew only for another app.

use std::time::Duration;

use dbbalance_testbed::aurora::corefile::Distribution;
use serde_json::{Value, json};

use crate::app::App;
use crate::fixture::{APP, CLUSTER};
use crate::names::ReaderName;

/// Pods of every case, where nothing says another number.
pub const PODS: usize = 20;
/// Connections of each.
const SIZE: usize = 10;
/// Seconds for which nothing is done where nothing is done.
const STICKY: u64 = 300;
/// Runs of a narrowed name with another Corefile, or with pods that keep addresses.
const VARIED: usize = 3;

/// Who does what.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Nobody, nothing, for so many seconds.
    Nothing(u64),
    /// A person restarts the Deployment when the new reader serves.
    Restart,
    /// The operator follows a policy with this spec, for at most so many seconds.
    Policy(Value, u64),
}

/// One case with one app.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name in keys and tables.
    pub name: &'static str,
    /// The pods.
    pub app: App,
    /// What is done.
    pub deed: Deed,
    /// Seconds from `available` until DNS leads to the new reader; none: the timeline's.
    pub dns_delay: Option<f64>,
    /// What the pods look up.
    pub name_of_readers: ReaderName,
    /// How long nothing happens between the even start and the change.
    pub rest: Duration,
    /// How often.
    pub runs: usize,
}

/// All of them, with so many pods. `runs` is how often the operator's own is played; the others three fifths as often.
pub fn all(pods: usize, runs: usize, short: bool) -> Vec<Case> {
    let fewer = (runs * 3).div_ceil(5);
    let sticky = if short { 60 } else { STICKY };
    let mut cases = Vec::new();
    for name in ["hikaricp", "activerecord"] {
        let app = App::readers(name, pods, SIZE);
        let case = |name, deed, dns_delay, runs| Case {
            name,
            app: app.clone(),
            deed,
            dns_delay,
            name_of_readers: ReaderName::Endpoint,
            rest: Duration::ZERO,
            runs,
        };
        let hook = if name == "hikaricp" { http() } else { hangup() };
        let steered = if name == "hikaricp" { "http" } else { "signal" };
        let blind = if name == "hikaricp" {
            "http-blind"
        } else {
            "signal-blind"
        };
        cases.push(case("nothing", Deed::Nothing(sticky), None, 1));
        cases.push(case(
            steered,
            Deed::Policy(spec(&hook, true, None), 240),
            None,
            runs,
        ));
        cases.push(case(
            blind,
            Deed::Policy(spec(&hook, false, None), 180),
            None,
            fewer,
        ));
        if name == "hikaricp" {
            let late = Some(20.0);
            cases.push(case(
                "gate-on",
                Deed::Policy(spec(&hook, true, None), 300),
                late,
                fewer,
            ));
            let off = json!({"onTimeout": "Proceed", "timeoutSeconds": 0});
            cases.push(case(
                "gate-off",
                Deed::Policy(spec(&hook, true, Some(off)), 300),
                late,
                fewer,
            ));
        }
        cases.push(case(
            "evict",
            Deed::Policy(spec(&json!({"method": "Evict"}), true, None), 300),
            None,
            fewer,
        ));
        cases.push(case(
            "restart",
            Deed::Restart,
            None,
            if name == "hikaricp" { runs } else { fewer },
        ));
    }
    let slow = App::readers("hikaricp", pods, SIZE).with("JVM_DNS_TTL", "60");
    let deed = Deed::Policy(spec(&http(), true, None), 420);
    cases.push(Case {
        name: "jvm-cache-60",
        app: slow,
        deed,
        dns_delay: None,
        name_of_readers: ReaderName::Endpoint,
        rest: Duration::ZERO,
        runs: fewer,
    });
    cases.extend(narrowed(pods, runs));
    cases
}

/// Cases behind the name servers of a distribution: by Aurora's own endpoint, and by a name that the operator narrows. Way
/// A is a Service of type `ExternalName`, way B a server block of `CoreDNS`.
fn narrowed(pods: usize, runs: usize) -> Vec<Case> {
    let eks = Distribution::Eks;
    let (endpoint, a, b) = (
        ReaderName::EndpointIn(eks),
        ReaderName::Service(eks),
        ReaderName::Slice(eks),
    );
    let evict = json!({"method": "Evict"});
    let (hikaricp, activerecord) = (
        App::readers("hikaricp", pods, SIZE),
        App::readers("activerecord", pods, SIZE),
    );
    let mut cases = vec![
        steered("eks-http", &hikaricp, endpoint, &http(), runs),
        steered("eks-evict", &hikaricp, endpoint, &evict, runs),
        steered("narrowed-b-http", &hikaricp, b, &http(), runs),
        steered("narrowed-b-evict", &hikaricp, b, &evict, runs),
        steered("narrowed-a-http", &hikaricp, a, &http(), runs),
        steered("narrowed-a-evict", &hikaricp, a, &evict, runs),
        steered("eks-signal", &activerecord, endpoint, &hangup(), runs),
        steered("eks-evict", &activerecord, endpoint, &evict, runs),
        steered("narrowed-b-signal", &activerecord, b, &hangup(), runs),
        steered("narrowed-b-evict", &activerecord, b, &evict, runs),
        steered("narrowed-a-signal", &activerecord, a, &hangup(), runs),
        steered("narrowed-a-evict", &activerecord, a, &evict, runs),
    ];
    let runs = runs.min(VARIED);
    let (kubeadm, node_local) = (Distribution::Kubeadm, Distribution::NodeLocal);
    for (name, reader) in [
        ("narrowed-b-http-kubeadm", ReaderName::Slice(kubeadm)),
        ("narrowed-b-http-nodelocal", ReaderName::Slice(node_local)),
        ("narrowed-a-http-kubeadm", ReaderName::Service(kubeadm)),
        ("narrowed-a-http-nodelocal", ReaderName::Service(node_local)),
    ] {
        cases.push(steered(name, &hikaricp, reader, &http(), runs));
    }
    // A JVM that keeps addresses: its pods have just looked the name up, or so long ago that they look again.
    for (name, ttl, rest) in [
        ("narrowed-a-http-jvm-30-new", 30, 0),
        ("narrowed-a-http-jvm-30-old", 30, 31),
        ("narrowed-a-http-jvm-60-new", 60, 0),
        ("narrowed-a-http-jvm-60-old", 60, 61),
    ] {
        let app = hikaricp.clone().with("JVM_DNS_TTL", &ttl);
        cases.push(Case {
            rest: Duration::from_secs(rest),
            ..steered(name, &app, a, &http(), runs)
        });
    }
    cases
}

/// The operator follows a policy with evidence, which narrows the name if it can be narrowed.
fn steered(
    name: &'static str,
    app: &App,
    reader: ReaderName,
    recycle: &Value,
    runs: usize,
) -> Case {
    let dns = reader
        .steering()
        .map(|steering| json!({"steering": steering}));
    let app = if matches!(reader, ReaderName::Service(_)) {
        app.clone().with("DB_READER_HOST", &reader.host())
    } else {
        app.clone()
    };
    Case {
        name,
        app,
        deed: Deed::Policy(spec(recycle, true, dns), 300),
        dns_delay: None,
        name_of_readers: reader,
        rest: Duration::ZERO,
        runs,
    }
}

fn http() -> Value {
    json!({"method": "HTTP", "http": {"port": 8080, "path": "/pool/recycle"}})
}

fn hangup() -> Value {
    json!({"method": "Signal", "signal": {"name": "HUP", "container": "app", "process": 1}})
}

/// A policy as its user would write it; but nobody waits for a cool-down between runs of a bench.
fn spec(recycle: &Value, evidence: bool, dns: Option<Value>) -> Value {
    let mut spec = json!({
        "cluster": {"identifier": CLUSTER},
        "targets": [{
            "name": APP,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "pools": [{"endpoint": "Reader", "connectionsPerPod": SIZE}],
            "recycle": recycle
        }],
        "triggers": {"readerAdded": {"settleSeconds": 5}},
        "limits": {"cooldownSeconds": 0},
        "evidence": {"source": if evidence { "ProcNet" } else { "None" }}
    });
    if let Some(dns) = dns {
        spec["dns"] = dns;
    }
    spec
}
