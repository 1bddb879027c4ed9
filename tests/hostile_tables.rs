//! What containers print as their tables of sockets must not exhaust the operator: its memory stays within the chart's
//! limit, and the pods of others are read. A process of its own, so that its peak of memory is that of the probe.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use dbbalance::sockets::{MaxAge, Probe, ProbeConfig, TargetKey};
use dbbalance_core::evidence::{PodHoldings, PodMeasurement, Socket, Unreadable, UnreadableReason};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Topology};
use dbbalance_kube::sockets::procnet::table;
use dbbalance_kube::sockets::{CommandPace, ConnectionReader, PodToRead};
use tokio_util::sync::CancellationToken;

/// The chart's memory limit.
const LIMIT_KIB: u64 = 256 * 1024;

/// Parses as many rows as a pod's name says, as the reader of a real pod does with what its container prints.
struct Printing;

#[async_trait]
impl ConnectionReader for Printing {
    async fn read(&self, pod: &PodToRead, _: &dyn CommandPace) -> Result<Vec<Socket>, Unreadable> {
        let (_, rows) = pod.name.rsplit_once('-').unwrap();
        let text = print_table(rows.parse().unwrap());
        match table::parse_tables(&text, pod.port) {
            Ok(found) => Ok(found.sockets),
            Err(error) => Err(Unreadable::new(
                UnreadableReason::TableTooLarge,
                error.to_string(),
            )),
        }
    }
}

/// The smallest rows that the parser takes, each a socket of its own.
fn print_table(rows: usize) -> String {
    let mut text = String::from("sl local_address rem_address\n");
    for row in 0..rows {
        let (address, port) = (row / 60_000, 1024 + row % 60_000);
        let row = writeln!(
            text,
            "0: 0100007F:{port:04X} {address:06X}0A:1538 01 0:0 0:0 0 0 0 0"
        );
        row.unwrap();
    }
    text
}

fn key(namespace: &str) -> TargetKey {
    TargetKey {
        namespace: namespace.to_owned(),
        policy: "policy".to_owned(),
        uid: namespace.to_owned(),
        target: "web".to_owned(),
    }
}

fn pods(namespace: &str, count: usize, rows: usize) -> Vec<PodToRead> {
    let pod = |n| PodToRead {
        namespace: namespace.to_owned(),
        name: format!("web-{n}-{rows}"),
        uid: format!("{namespace}-{n}"),
        template: "t".to_owned(),
        port: 5432,
        containers: vec!["app".to_owned()],
        refused: None,
    };
    (0..count).map(pod).collect()
}

fn topology() -> Topology {
    let writer = MemberId {
        instance: InstanceId("a".to_owned()),
        resource: ResourceId("db-a".to_owned()),
    };
    Topology {
        arn: "arn".to_owned(),
        resource: ResourceId("cluster-a".to_owned()),
        writer,
        readers: BTreeSet::new(),
    }
}

/// The peak of this process's resident memory, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let words = line.unwrap().split_whitespace().next();
    words.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_pods_that_print_84_000_sockets_each_leave_memory_and_turns_for_others() {
    let mut config = ProbeConfig::new(Arc::new(Printing));
    config.per_second = 500;
    let probe = Probe::new(config, CancellationToken::new());
    probe.measure(
        &key("hostile"),
        pods("hostile", 100, 84_000),
        MaxAge::Heartbeat,
    );
    // As many as may be, in two namespaces of one tenant.
    for namespace in ["large", "larger"] {
        probe.measure(
            &key(namespace),
            pods(namespace, 100, 5_000),
            MaxAge::Heartbeat,
        );
    }
    probe.measure(&key("shop"), pods("shop", 50, 20), MaxAge::Heartbeat);
    let started = Instant::now();
    let all = ["hostile", "large", "larger", "shop"].map(key);
    while !all.iter().all(|key| probe.is_quiet(key)) {
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "not read in time"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let readings = |namespace: &str| {
        let pods = probe.measured(&key(namespace)).pods.into_values();
        let read = pods.filter_map(|pod| match pod {
            PodMeasurement::Read(reading) => Some(reading),
            PodMeasurement::Unreadable { .. } => None,
        });
        read.collect::<Vec<_>>()
    };
    assert!(readings("hostile").is_empty());
    assert_eq!(readings("shop").len(), 50);
    let kept =
        |namespace: &str| -> usize { readings(namespace).iter().map(|r| r.sockets.len()).sum() };
    assert!(kept("large") + kept("larger") <= 400_000);

    // What a pass does with the readings, as often as in a minute of a run.
    let before = Instant::now();
    for _ in 0..20 {
        for reading in readings("large") {
            let held = PodHoldings::from_sockets(&reading.sockets, &BTreeMap::new(), &topology());
            assert_eq!(held.connections(), 5_000);
        }
    }
    let (took, peak) = (before.elapsed(), peak_memory());
    println!(
        "20 passes over {} sockets: {took:?}; peak {} MiB",
        kept("large"),
        peak / 1024
    );
    assert!(peak < LIMIT_KIB, "{peak} KiB");
}
