//! Failovers in a row: how long connections stay on the wrong role, with the operator and without it.
//!
//! Each pod has a reader and a writer pool. What is on the wrong role the databases tell, five times a second: a writer
//! pool's connection on an instance that reads only, or a reader pool's on the writer.

use std::collections::BTreeMap;
use std::time::Duration;

use dbbalance_testbed::aurora::control::FleetCommand;
use dbbalance_testbed::aurora::event::{EventKind, FleetEvent};
use dbbalance_testbed::aurora::observe::{ConnectionRecord, Observation};
use dbbalance_testbed::aurora::script::FailoverOptions;
use serde_json::{Value, json};

use crate::app::App;
use crate::fixture::{APP, BenchFixture, CLUSTER, LIMIT, NAMESPACE, now};
use crate::names::ReaderName;
use crate::operator::condition;
use dbbalance_figures::results::Failover;
use dbbalance_testkit::plugin_program::find_plugin_program;
use dbbalance_testkit::sockets;

/// Pods: as many as two cores bear while real databases restart beside them.
pub const PODS: usize = 8;
/// Connections of each pool of a pod.
pub const SIZE: usize = 5;
/// `CoreDNS` keeps an answer so long, whatever its TTL (cache plugin, `MinimalDefaultTTL`).
const CACHE_MS: i64 = 5000;
/// Watched where nobody acts.
const NOTHING: Duration = Duration::from_mins(2);
/// Watched after the end: what is glued to the old node would show.
const AFTER: Duration = Duration::from_secs(6);

/// The app with both pools.
pub fn app(name: &'static str) -> App {
    App {
        writer_size: SIZE,
        ..App::readers(name, PODS, SIZE)
    }
    .with("RENEW_GRACE", &2)
}

/// The policy of a user with both pools.
fn spec(name: &str) -> Value {
    let recycle = if name == "hikaricp" {
        json!({"method": "HTTP", "http": {"port": 8080, "path": "/pool/recycle"}})
    } else {
        json!({"method": "Signal", "signal": {"name": "HUP", "container": "app", "process": 1}})
    };
    json!({
        "cluster": {"identifier": CLUSTER},
        "targets": [{
            "name": APP,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": APP},
            "pools": [
                {"endpoint": "Reader", "connectionsPerPod": SIZE},
                {"endpoint": "Writer", "connectionsPerPod": SIZE},
            ],
            "recycle": recycle
        }],
        "limits": {"cooldownSeconds": 0},
        "evidence": {"source": "ProcNet"}
    })
}

fn is_wrong(life: &ConnectionRecord) -> bool {
    (life.application.ends_with("/writer") && life.standby_last)
        || (life.application.ends_with("/reader") && !life.standby_last)
}

fn present(seen: &Observation) -> impl Iterator<Item = &ConnectionRecord> {
    let last = seen.samples.last().map_or(0, |s| s.at);
    seen.lives.iter().filter(move |l| l.last >= last)
}

/// Every pool full, and on the right side.
fn is_right(seen: &Observation) -> bool {
    is_full(seen) && !present(seen).any(is_wrong)
}

fn is_full(seen: &Observation) -> bool {
    let of = |pool: &str| {
        present(seen)
            .filter(|l| l.application.ends_with(pool))
            .count()
    };
    of("/reader") >= PODS * SIZE && of("/writer") >= PODS * SIZE
}

fn seen(fixture: &BenchFixture<'_>) -> Observation {
    fixture.sample();
    fixture.control.observation(CLUSTER).expect("samples")
}

fn flipped(events: &[FleetEvent]) -> i64 {
    let flips = events
        .iter()
        .filter(|e| e.kind == EventKind::Dns && e.what == "writer");
    flips.map(|e| e.at).max().expect("the record has moved")
}

/// Recycles of each pod, by the operator's own count.
fn recycled(fixture: &BenchFixture<'_>) -> Vec<(String, u64)> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{APP}");
    let list = fixture
        .call(http::Method::GET, &path, &json!({}))
        .unwrap_or_default();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let count = |pod: &Value| {
        let meta = &pod["metadata"];
        let text = meta["annotations"]["dbbalance.io/recycles"].as_str();
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        (name, text.and_then(|t| t.parse().ok()).unwrap_or(0))
    };
    items.iter().map(count).collect()
}

/// Failed queries of all pods so far, by pool and kind.
fn failed(fixture: &BenchFixture<'_>) -> BTreeMap<String, u64> {
    let all = fixture.stats();
    let mut sums = BTreeMap::new();
    for (name, pool) in all
        .values()
        .filter_map(|s| s["pools"].as_object())
        .flatten()
    {
        for (kind, count) in pool["failed_by"].as_object().into_iter().flatten() {
            let sum: &mut u64 = sums.entry(format!("{name}: {kind}")).or_default();
            *sum += count.as_u64().unwrap_or_default();
        }
    }
    sums
}

/// What was added since.
fn since(before: &BTreeMap<String, u64>, now: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let was = |kind: &String| before.get(kind).copied().unwrap_or_default();
    let added = now
        .into_iter()
        .map(|(kind, n)| (kind.clone(), n.saturating_sub(was(&kind))));
    added.filter(|(_, n)| *n > 0).collect()
}

fn zombies(fixture: &BenchFixture<'_>, seen: &Observation) -> usize {
    let pods = fixture.pods();
    let of = |name: &str| sockets::count_zombies(fixture.testbed, NAMESPACE, name, None, seen);
    pods.iter().map(|pod| of(&pod.name)).sum()
}

/// Pods of this app, with the policy or without one, every pool full and on the right side.
fn prepare(fixture: &BenchFixture<'_>, app: &App, with_us: bool) {
    fixture
        .control
        .wait_idle(CLUSTER, LIMIT)
        .expect("an idle cluster");
    if !with_us {
        fixture.no_policy();
    }
    fixture.control.observe(CLUSTER).expect("an observer");
    fixture.serve(ReaderName::Endpoint);
    fixture.deploy(app);
    let told = fixture.status();
    if with_us && told["targets"][0]["reference"].is_null() {
        fixture.policy(&spec(app.name));
    }
    let ips: Vec<String> = fixture.pods().into_iter().map(|pod| pod.ip).collect();
    if fixture
        .within(LIMIT / 3, || is_right(&seen(fixture)).then_some(()))
        .is_none()
    {
        fixture.renew(&ips);
        fixture.until("pools on the right side", LIMIT, || {
            is_right(&seen(fixture)).then_some(())
        });
    }
    if with_us {
        rested(fixture);
    }
    fixture.control.observe(CLUSTER).expect("an observer");
    fixture.sample();
}

/// Waits until the policy says that nothing is on a wrong role or on no member, and that no run is in progress. How even the
/// readers are is another matter: where pods land as they start is chance, and nothing but an event moves them soon.
fn rested(fixture: &BenchFixture<'_>) {
    fixture.until("a policy at rest", LIMIT, || {
        let status = fixture.status();
        let is = |name: &str| condition(&status, name).0 == "True";
        let balance = &status["balance"][0];
        let misplaced = &balance["misplaced"];
        let none = |cause: &str| misplaced[cause].as_u64() == Some(0);
        let measured = !balance["measuredTime"].is_null();
        let right = measured && none("wrongRole") && none("noMember");
        (right && is("Fresh") && !is("Recycling")).then_some(())
    });
}

fn old_writer(fixture: &BenchFixture<'_>) -> (String, String) {
    let status = fixture.control.status().expect("status");
    let cluster = status.cluster(CLUSTER).expect("the cluster");
    let old = cluster.writer.clone().expect("a writer");
    let next = cluster
        .instances
        .iter()
        .find(|i| i.dns_reader && i.name != old);
    (old, next.expect("a reader").name.clone())
}

/// What `kubectl dbbalance connections` says of a pod with half-open sockets.
fn evidence(fixture: &BenchFixture<'_>) -> Option<String> {
    let mut command = std::process::Command::new(find_plugin_program());
    command.args(["connections", CLUSTER, "-n", NAMESPACE, "--kubeconfig"]);
    let said = command.arg(fixture.testbed.kubeconfig()).output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find(|l| l.contains("get no answer"))?;
    Some(line.trim().to_owned())
}

/// Plays one failover.
pub fn play(
    fixture: &BenchFixture<'_>,
    app: &App,
    flicker: bool,
    half_open: bool,
    with_us: bool,
) -> Failover {
    prepare(fixture, app, with_us);
    let (failures, counts) = (failed(fixture), recycled(fixture));
    let (old, next) = old_writer(fixture);
    let start = now();
    if half_open {
        let order = FleetCommand::Partition { name: old.clone() };
        fixture.control.send(&order).expect("a partition");
    }
    let options = FailoverOptions {
        flicker,
        ..FailoverOptions::default()
    };
    fixture
        .control
        .failover(CLUSTER, Some(&next), options)
        .expect("a failover");
    let (mut most, mut line, mut swept) = (0, None, None);
    if half_open {
        most = fixture.until("zombies", LIMIT, || {
            Some(zombies(fixture, &seen(fixture))).filter(|n| *n > 0)
        });
        fixture.within(LIMIT, || {
            line = line.take().or_else(|| evidence(fixture));
            let left = zombies(fixture, &seen(fixture));
            most = most.max(left);
            (left == 0 && is_idle(fixture)).then_some(())
        });
        swept = Some(now());
        fixture
            .control
            .send(&FleetCommand::Heal { name: old })
            .expect("a heal");
    }
    fixture
        .control
        .wait_idle(CLUSTER, LIMIT)
        .expect("an idle cluster");
    if with_us {
        fixture.within(LIMIT, || is_right(&seen(fixture)).then_some(()));
        rested(fixture);
        fixture.within(AFTER, || None::<()>);
    } else {
        fixture.within(NOTHING, || None::<()>);
    }
    // One that comes or goes between a sample and the look at a pod is none.
    let left = (0..3)
        .map(|_| zombies(fixture, &seen(fixture)))
        .min()
        .unwrap_or(0);
    let seen = seen(fixture);
    let flip = flipped(&fixture.control.events(start).expect("events"));
    let last = seen.lives.iter().filter(|l| is_wrong(l)).map(|l| l.last);
    let last = last.max().unwrap_or(flip);
    let after = recycled(fixture);
    let failed_by = since(&failures, failed(fixture));
    let was = |name: &str| counts.iter().find(|c| c.0 == name).map_or(0, |c| c.1);
    let moved: Vec<u64> = after.iter().map(|(name, n)| n - was(name)).collect();
    Failover {
        pods: PODS,
        per_pool: SIZE,
        flicker,
        half_open,
        with_us,
        pods_touched: moved.iter().filter(|n| **n > 0).count(),
        recycles: moved.iter().sum(),
        seconds_from_flip: seconds(last - flip),
        seconds_from_last_cache: seconds(last - flip - CACHE_MS),
        wrong_at_end: present(&seen).filter(|l| is_wrong(l)).count(),
        connections_at_end: present(&seen).count(),
        back: is_full(&seen),
        zombies: left,
        most_zombies: most,
        seconds_to_swept: swept.map(|at| seconds(at - flip)),
        evidence: line,
        failed_queries: failed_by.values().sum(),
        failed_by,
    }
}

fn is_idle(fixture: &BenchFixture<'_>) -> bool {
    let status = fixture.control.status().expect("status");
    status.cluster(CLUSTER).is_some_and(|c| c.busy.is_empty())
}

#[allow(clippy::cast_precision_loss)] // minutes
fn seconds(ms: i64) -> f64 {
    (ms as f64 / 100.0).round() / 10.0
}
