//! Evidence where it is hard: pods whose addresses are rewritten, and a pooler in between.
//!
//! That `ProcNet` counts as `ss` and the servers do, in 100 random worlds, is shown by
//! `cargo test -p dbbalance --features failpoints --test e2e a_hundred_worlds -- --nocapture`.

use std::time::Duration;

use dbbalance_testbed::kubernetes::NODE_IP;
use serde_json::json;

use crate::app::App;
use crate::cases::Case;
use crate::fixture::{APP, BenchFixture, CLUSTER, LIMIT};
use crate::names::ReaderName;
use crate::operator::condition;
use crate::play;
use dbbalance_figures::results::{Pooled, Run};
use dbbalance_testkit::pgbouncer;

/// Pods behind the pooler.
const PODS: usize = 4;
const SIZE: usize = 5;
/// Watched while nothing must be done.
const QUIET: Duration = Duration::from_secs(30);

/// The rule that rewrites addresses, while it lives.
struct Masquerade<'b, 's>(&'b BenchFixture<'s>);

impl<'b, 's> Masquerade<'b, 's> {
    fn begin(fixture: &'b BenchFixture<'s>) -> Self {
        assert!(rule(fixture, "-I"), "the rule that masquerades");
        Self(fixture)
    }
}

impl Drop for Masquerade<'_, '_> {
    fn drop(&mut self) {
        if !rule(self.0, "-D") {
            eprintln!("pods stay masqueraded: what is measured after this is, too");
        }
    }
}

fn rule(fixture: &BenchFixture<'_>, verb: &str) -> bool {
    let rule = format!("-w -t nat {verb} INPUT -p tcp --dport 5432 -j SNAT --to-source {NODE_IP}");
    let mut command = fixture.testbed.command("iptables");
    let status = command.args(rule.split(' ')).status();
    status.is_ok_and(|s| s.success())
}

/// Plays a case with all connections masqueraded: the databases see one address. All pools are renewed under the
/// rule first, as connections that are older keep their address: so the start is as even as DNS makes it. What pods
/// lost is then not told by address.
pub fn masqueraded(fixture: &BenchFixture<'_>, case: &Case) -> Run {
    fixture.no_policy();
    fixture.start_state(&case.app, case.name_of_readers);
    let ips: Vec<String> = fixture.pods().into_iter().map(|pod| pod.ip).collect();
    let _masquerade = Masquerade::begin(fixture);
    fixture.renew(&ips);
    fixture.until("masqueraded connections alone", LIMIT, || {
        let sample = fixture.sample();
        let clients = sample
            .instances
            .values()
            .flatten()
            .map(|seen| &seen.clients);
        let mut readers = clients.flat_map(|clients| clients.keys());
        let held: usize = fixture
            .readers()
            .iter()
            .filter_map(|name| sample.connections(name))
            .sum();
        let all = readers.all(|client| client == NODE_IP);
        (all && held == case.app.pods * case.app.size).then_some(())
    });
    play::play_from_here(fixture, case)
}

/// Pods behind a pooler, and a reader that joins.
pub fn pooled(fixture: &BenchFixture<'_>) -> Pooled {
    fixture.no_policy();
    fixture.serve(ReaderName::Endpoint);
    fixture
        .control
        .wait_idle(CLUSTER, LIMIT)
        .expect("an idle cluster");
    let status = fixture.control.status().expect("status");
    let cluster = status.cluster(CLUSTER).expect("the cluster");
    let reader = cluster.instances.iter().find(|i| i.dns_reader);
    pgbouncer::start_pgbouncer(fixture.testbed, reader.expect("a reader").address);
    let app = App::readers("hikaricp", PODS, SIZE).with("DB_READER_HOST", &pgbouncer::ADDRESS);
    fixture.deploy(&app);
    fixture.policy(&json!({
        "cluster": {"identifier": CLUSTER},
        "targets": [{
            "name": APP,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "pools": [{"endpoint": "Reader", "connectionsPerPod": SIZE}],
            "recycle": {"method": "HTTP", "http": {"port": 8080, "path": "/pool/recycle"}}
        }],
        "triggers": {"readerAdded": {"settleSeconds": 5}},
        "limits": {"cooldownSeconds": 0},
        "evidence": {"source": "ProcNet"}
    }));
    fixture.control.add_reader(CLUSTER).expect("a reader");
    fixture.until("an open epoch", LIMIT, || {
        (fixture.status()["targets"][0]["dueEpoch"].as_i64() >= Some(2)).then_some(())
    });
    fixture.within(QUIET, || None::<()>);
    let status = fixture.status();
    let recycles = fixture
        .stats()
        .values()
        .filter_map(|s| s["recycles"].as_u64())
        .sum();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let balanced = conditions.iter().find(|c| c["type"] == "Balanced");
    let words =
        |v: Option<&serde_json::Value>| v.and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    Pooled {
        pods: PODS,
        balanced: condition(&status, "Balanced"),
        message: words(balanced.map(|c| &c["message"])),
        waits_for: words(Some(&status["plan"][0]["waitingFor"])),
        recycles,
        seconds: QUIET.as_secs(),
    }
}
