//! Sockets of pods, as the kernel has them in the pods' own network.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use dbbalance_testbed::aurora::observe::Observation;
use dbbalance_testbed::kubernetes::Testbed;
use dbbalance_testbed::program;

/// The databases' port.
const PORT: u16 = 5432;

/// Established sockets of a pod to databases: local and remote end.
pub fn list_database_sockets(
    testbed: &Testbed,
    namespace: &str,
    pod: &str,
) -> Vec<(SocketAddr, SocketAddr)> {
    // It may be gone by now.
    let Ok(pid) = testbed.container_pid(namespace, pod, "app") else {
        return Vec::new();
    };
    let net = format!("--net=/proc/{pid}/ns/net");
    let arguments = [&net, "--", "ss", "-Htn", "state", "established"];
    let text = program::run_output(Command::new("nsenter").args(arguments)).unwrap_or_default();
    let end = |word: &str| {
        let end: SocketAddr = word.parse().ok()?;
        Some(SocketAddr::new(end.ip().to_canonical(), end.port()))
    };
    let held = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((end(words.get(2)?)?, end(words.get(3)?)?))
    });
    held.filter(|(_, remote)| remote.port() == PORT).collect()
}

/// How many of a pod's sockets, to this address or to any, the databases know nothing of. Only for pods whose addresses are not
/// rewritten on the way.
pub fn count_zombies(
    testbed: &Testbed,
    namespace: &str,
    pod: &str,
    to: Option<IpAddr>,
    seen: &Observation,
) -> usize {
    let last = seen.samples.last().map_or(0, |s| s.at);
    let known: BTreeSet<(String, u16)> = seen
        .lives
        .iter()
        // One that ended since the last sample is none either.
        .filter(|l| l.last >= last)
        .map(|l| (l.client.clone(), l.port))
        .collect();
    let held = list_database_sockets(testbed, namespace, pod);
    held.iter()
        .filter(|(local, remote)| {
            to.is_none_or(|to| remote.ip() == to)
                && !known.contains(&(local.ip().to_string(), local.port()))
        })
        .count()
}
