//! Evidence where it is hard: pods whose addresses are rewritten, and a pooler in between.
//!
//! That `ProcNet` counts as `ss` and the servers do, in 100 random worlds, is shown by
//! `cargo test -p dbbalance --features failpoints --test stand a_hundred_worlds -- --nocapture`.

use std::time::Duration;

use dbbalance_lab::stand::NODE_IP;
use serde_json::json;

use crate::app::App;
use crate::bed::{APP, Bed, CLUSTER, LIMIT, condition};
use crate::cases::Case;
use crate::pooler;
use crate::record::Pooled;
use crate::record::Run;

/// Pods behind the pooler.
const PODS: usize = 4;
const SIZE: usize = 5;
/// Watched while nothing must be done.
const QUIET: Duration = Duration::from_secs(30);

fn rule(bed: &Bed<'_>, verb: &str) {
    let rule = format!("-w -t nat {verb} INPUT -p tcp --dport 5432 -j SNAT --to-source {NODE_IP}");
    let mut command = bed.stand.command("iptables");
    let status = command.args(rule.split(' ')).status();
    assert!(status.is_ok_and(|s| s.success()), "iptables {rule}");
}

/// Plays a case with all connections masqueraded: the databases see one address. Pods are new, so that no connection is
/// older than the rule; what pods lost is then not told by address.
pub fn masqueraded(bed: &Bed<'_>, case: &Case, play: impl FnOnce() -> Run) -> Run {
    bed.no_policy();
    bed.start_state(&case.app);
    rule(bed, "-I");
    let run = play();
    rule(bed, "-D");
    run
}

/// Pods behind a pooler, and a reader that joins.
pub fn pooled(bed: &Bed<'_>) -> Pooled {
    bed.no_policy();
    bed.control
        .wait_idle(CLUSTER, LIMIT)
        .expect("an idle cluster");
    let status = bed.control.status().expect("status");
    let cluster = status.cluster(CLUSTER).expect("the cluster");
    let reader = cluster.instances.iter().find(|i| i.dns_reader);
    pooler::start(bed.stand, reader.expect("a reader").address);
    let app = App::readers("hikaricp", PODS, SIZE).with("DB_READER_HOST", &pooler::ADDRESS);
    bed.deploy(&app);
    bed.policy(&json!({
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
    bed.control.add_reader(CLUSTER).expect("a reader");
    bed.until("an open epoch", LIMIT, || {
        (bed.status()["targets"][0]["dueEpoch"].as_i64() >= Some(2)).then_some(())
    });
    bed.within(QUIET, || None::<()>);
    let status = bed.status();
    let recycles = bed
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
