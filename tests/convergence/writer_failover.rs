//! The writer goes: pools of readers and of the writer in each pod, renewed by a signal.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use dbbalance_api::conditions::ConditionType::Balanced;
use dbbalance_testbed::aurora::control::{AuroraControl, FleetCommand};
use dbbalance_testbed::aurora::event::{EventKind, FleetEvent, now_millis};
use dbbalance_testbed::aurora::observe::Observation;
use dbbalance_testbed::aurora::script::FailoverOptions;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::fixture::{BANK, CONVERGED, ConvergenceFixture, policy, since};
use crate::reader_changes::is_at_rest;
use dbbalance_testkit::database_view::{is_wrong, present, sees};
use dbbalance_testkit::plugin_program::find_plugin_program;
use dbbalance_testkit::policies::{current_epoch, has_condition, signal_recycle};
use dbbalance_testkit::sockets;
use dbbalance_testkit::{LIMIT, TestCase, wait_until};

/// Connections of each pool of a pod.
const POOL: usize = 5;
const PODS: usize = 6;
/// How long a state must last once the records are where they will stay: longer than the caches keep an answer.
const LASTS: Duration = Duration::from_secs(6);

fn bank_policy(name: &str) -> Value {
    let pools = json!([
        {"endpoint": "Reader", "connectionsPerPod": POOL},
        {"endpoint": "Writer", "connectionsPerPod": POOL},
    ]);
    policy(name, &BANK, "app", &pools, &signal_recycle())
}

fn writer(control: &AuroraControl) -> String {
    let status = control.status().unwrap();
    status
        .cluster(BANK.cluster)
        .unwrap()
        .writer
        .clone()
        .unwrap()
}

fn another(control: &AuroraControl) -> String {
    let status = control.status().unwrap();
    let cluster = status.cluster(BANK.cluster).unwrap();
    let mut readers = cluster.instances.iter().filter(|i| i.dns_reader);
    readers.next().unwrap().name.clone()
}

/// Every pool full, and on the right side.
fn is_right(seen: &Observation) -> bool {
    let held = present(seen).collect::<Vec<_>>();
    let of = |pool: &str| {
        held.iter()
            .filter(|l| l.application.ends_with(pool))
            .count()
    };
    // ActiveRecord opens a connection again when a thread asks for one: all of them ask all the time.
    of("/reader") == PODS * POOL
        && of("/writer") == PODS * POOL
        && !held.iter().any(|l| is_wrong(l))
}

/// When the name server last moved the writer's record.
fn flipped(events: &[FleetEvent]) -> i64 {
    let mut flips = events
        .iter()
        .filter(|e| e.kind == EventKind::Dns && e.what == "writer");
    flips.next_back().unwrap().at
}

pub async fn a_flickering_failover_leaves_nothing_behind(fixture: &ConvergenceFixture) {
    let case = fixture.case(&BANK).await;
    let _operator = fixture.operator(&case, "flicker").await;
    case.create_with_baseline(bank_policy("flicker")).await;
    let control = fixture.control();
    control.observe(BANK.cluster).unwrap();
    sees(&control, BANK.cluster, "full pools", LIMIT, is_right).await;
    let (recycled, before) = (case.recycle_counts("app").await, case.queries("app").await);
    let (old, new, start) = (writer(&control), another(&control), now_millis());
    let options = FailoverOptions {
        flicker: true,
        ..FailoverOptions::default()
    };
    control.failover(BANK.cluster, Some(&new), options).unwrap();
    control.wait_idle(BANK.cluster, LIMIT).unwrap();
    case.wait_policy_within("flicker", "the failover's end", CONVERGED, |p| {
        current_epoch(p) >= 2 && has_condition(p, Balanced, "True", "") && is_at_rest(p)
    })
    .await;
    sees(
        &control,
        BANK.cluster,
        "pools on the right side",
        LIMIT,
        is_right,
    )
    .await;
    let writes = case.queries("app").await.writes;
    // A pod that was glued to the old node would show by now.
    tokio::time::sleep(LASTS).await;
    let seen = sees(
        &control,
        BANK.cluster,
        "pools that stay so",
        LIMIT,
        is_right,
    )
    .await;
    let after = case.queries("app").await;
    assert!(after.writes > writes, "writes go on");
    let glued = present(&seen).filter(|l| l.instance == old && l.application.ends_with("/writer"));
    assert_eq!(glued.count(), 0, "glued to {old}");
    let flip = flipped(&control.events(start).unwrap());
    let wrong = seen.lives.iter().filter(|l| is_wrong(l));
    let last = wrong.map(|l| l.last).max().unwrap_or(flip);
    let moved = since(&recycled, &case.recycle_counts("app").await);
    println!(
        "failover with flicker, 6 pods of ActiveRecord by HUP: the last connection on the wrong role was seen {:.1} s after the writer's \
         record came to rest (caches keep 5 s); {} pods, {} recycles, {} queries failed",
        seconds(last - flip),
        moved.iter().filter(|n| **n > 0).count(),
        moved.iter().sum::<u64>(),
        after.failed - before.failed,
    );
    assert!(moved.iter().all(|n| *n <= 3), "{moved:?}");
    case.delete_policy("flicker").await;
}

fn seconds(ms: i64) -> f64 {
    f64::from(i32::try_from(ms).unwrap()) / 1000.0
}

/// Sockets that pods hold to an address and the databases know nothing of.
async fn zombies(
    fixture: &ConvergenceFixture,
    case: &TestCase<'_>,
    to: IpAddr,
    control: &AuroraControl,
) -> usize {
    let pods = case.pods("app").await;
    let seen = control.observation(BANK.cluster).unwrap();
    let of = |pod: &Pod| {
        sockets::count_zombies(
            &fixture.suite.testbed,
            &case.name,
            &pod.name_any(),
            Some(to),
            &seen,
        )
    };
    pods.iter().map(of).sum()
}

/// What `kubectl dbbalance connections` says of pods with half-open sockets.
fn told_by_plugin(
    fixture: &ConvergenceFixture,
    case: &TestCase<'_>,
    policy: &str,
) -> Option<String> {
    let mut command = Command::new(find_plugin_program());
    command.args(["connections", policy, "-n", &case.name]);
    command
        .arg("--kubeconfig")
        .arg(fixture.suite.testbed.kubeconfig());
    let said = command.output().ok()?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = text.lines().find(|l| l.contains("get no answer"));
    line.map(|l| l.trim().to_owned())
}

pub async fn zombies_of_a_half_open_writer_are_swept(fixture: &ConvergenceFixture) {
    let case = fixture.case(&BANK).await;
    let operator = fixture.operator(&case, "zombies").await;
    case.create_with_baseline(bank_policy("zombies")).await;
    let control = fixture.control();
    control.observe(BANK.cluster).unwrap();
    sees(&control, BANK.cluster, "full pools", LIMIT, is_right).await;
    let recycled = case.recycle_counts("app").await;
    let (old, new, start) = (writer(&control), another(&control), now_millis());
    let status = control.status().unwrap();
    let cluster = status.cluster(BANK.cluster).unwrap();
    let address = cluster
        .instances
        .iter()
        .find(|i| i.name == old)
        .unwrap()
        .address;
    let address = IpAddr::V4(address);
    control
        .send(&FleetCommand::Partition { name: old.clone() })
        .unwrap();
    control
        .failover(BANK.cluster, Some(&new), FailoverOptions::default())
        .unwrap();
    let most = wait_until("zombies", LIMIT, async || {
        let found = zombies(fixture, &case, address, &control).await;
        (found > 0).then_some(found)
    })
    .await;
    // The sweep does not wait for who looks: the line is there for seconds.
    let mut plugin = None;
    wait_until("a swept old writer", CONVERGED, async || {
        plugin = plugin
            .take()
            .or_else(|| told_by_plugin(fixture, &case, "zombies"));
        (zombies(fixture, &case, address, &control).await == 0).then_some(())
    })
    .await;
    let swept = now_millis();
    control
        .send(&FleetCommand::Heal { name: old.clone() })
        .unwrap();
    case.wait_policy_within("zombies", "back to normal", CONVERGED, |p| {
        current_epoch(p) >= 2 && has_condition(p, Balanced, "True", "") && is_at_rest(p)
    })
    .await;
    sees(
        &control,
        BANK.cluster,
        "pools on the right side",
        CONVERGED,
        is_right,
    )
    .await;
    let writes = case.queries("app").await.writes;
    wait_until("writes", LIMIT, async || {
        (case.queries("app").await.writes > writes).then_some(())
    })
    .await;
    let moved = since(&recycled, &case.recycle_counts("app").await);
    let flip = flipped(&control.events(start).unwrap());
    println!(
        "half-open {old}: {most} zombies, the last gone {:.1} s after the writer's record had moved; {} recycles\n  kubectl dbbalance \
         connections said: {}",
        seconds(swept - flip),
        moved.iter().sum::<u64>(),
        plugin.as_deref().unwrap_or("nothing while they were there"),
    );
    // The run's own evidence: how many connections were on the wrong role, and so no pod's writes went on.
    let log = operator.log();
    assert!(log.contains("to the wrong role"), "the evidence of the run");
    for line in log
        .lines()
        .filter(|l| l.contains("RunStarted") || l.contains("half-open"))
    {
        println!("  {line}");
    }
    case.delete_policy("zombies").await;
}
