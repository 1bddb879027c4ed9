//! Runs real `CoreDNS` in front of the name server, as clusters do: pods and the operator ask it.
//!
//! Each process caches on its own, with the defaults of the cache plugin: its minimum is 5 s, so Aurora's TTL of 1 s
//! becomes 5 s for everything behind one cache, and each cache may hold another reader (`dnsutil.MinimalDefaultTTL` in
//! `CoreDNS`). Rules of the network spread the service address over the processes as kube-proxy does: at random, for
//! each conversation.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::address::{AUTHORITY, FIRST_CACHE, MAX_CACHES, ZONE};
use crate::cache::ToolCache;
use crate::kubernetes::network::{self, TrafficShare};
use crate::kubernetes::{Layout, Testbed};
use crate::tools::go;

/// Port of the ready plugin: its default.
const READY_PORT: u16 = 8181;
/// Port of the metrics: the plugin's default.
const METRICS_PORT: u16 = 9153;
/// A start takes a tenth of a second alone.
const LIMIT: Duration = Duration::from_secs(30);
/// It keeps nothing that must be written on leaving, and asking it to leave takes it seconds.
const GRACE: Duration = Duration::from_millis(200);
/// The part of an address that says on which pretended node a pod is. Pods get their addresses in turn, so nodes
/// get pods in turn; 32 shares are even enough for up to [`MAX_CACHES`] nodes.
const NODE_MASK: u8 = 31;

/// The caches between pods and the name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheTopology {
    /// This many replicas behind the service address: each new conversation goes to one at random.
    Replicas(u8),
    /// A cache on each of this many simulated nodes, as `NodeLocal` `DNSCache` has it: a pod always asks its node's.
    /// Names outside the cluster's domain go from there to the name server directly, past the replicas, as in its
    /// manifest (`.:53`, `__PILLAR__UPSTREAM__SERVERS__`).
    NodeLocal {
        /// Number of nodes.
        nodes: u8,
    },
}

impl CacheTopology {
    /// How many programs that is.
    #[must_use]
    pub fn count(self) -> u8 {
        match self {
            Self::Replicas(number) | Self::NodeLocal { nodes: number } => number,
        }
    }

    /// Who is led to which of them.
    fn traffic_shares(self) -> Vec<(TrafficShare, Ipv4Addr)> {
        match self {
            Self::Replicas(number) => (0..number)
                .map(|index| (TrafficShare::OneOf(number - index), cache_address(index)))
                .collect(),
            Self::NodeLocal { nodes } => (0..=NODE_MASK)
                .map(|bits| {
                    let mask = NODE_MASK;
                    (
                        TrafficShare::Source { mask, bits },
                        cache_address(bits % nodes),
                    )
                })
                .collect(),
        }
    }
}

/// The address of a cache, counted from 0. The service address is not needed to ask it.
#[must_use]
pub fn cache_address(index: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(FIRST_CACHE.to_bits() + u32::from(index))
}

/// The cache that a pod with this address asks, when each of `nodes` nodes has one.
#[must_use]
pub fn node_of(pod: Ipv4Addr, nodes: u8) -> u8 {
    (pod.octets()[3] & NODE_MASK) % nodes.max(1)
}

/// Its name in the testbed's records and logs.
fn cache_name(index: u8) -> String {
    format!("coredns-{index}")
}

/// The zone is forwarded, without any setting for the cache. All else, the cluster's domain included, is answered
/// "no such name" at once: the search list of pods costs no time, and nothing is asked outside. By the template
/// plugin, as the kubernetes plugin would watch the API server for Services that the testbed does not have.
fn render_corefile(address: Ipv4Addr) -> String {
    format!(
        "{ZONE}:53 {{
    bind {address}
    ready {address}:{READY_PORT}
    prometheus {address}:{METRICS_PORT}
    errors
    cache
    forward . {AUTHORITY}
}}
.:53 {{
    bind {address}
    errors
    cache
    template ANY ANY {{
        rcode NXDOMAIN
        authority \". 30 IN SOA ns.testbed. hostmaster.testbed. 1 7200 900 1209600 30\"
    }}
}}
"
    )
}

/// Starts the caches, and stops those that are too many; does nothing to what runs. Existing conversations keep
/// their cache, as with kube-proxy.
pub fn start_caches(testbed: &Testbed, caches: CacheTopology) -> Result<()> {
    let number = caches.count();
    if !(1..=MAX_CACHES).contains(&number) {
        bail!("{number} caches: give 1 to {MAX_CACHES}");
    }
    let program = go::go_tool_path(&ToolCache::locate()?, "coredns")?;
    let layout = testbed.layout();
    let running = running_caches(testbed);
    for index in 0..number {
        if running.contains(&index) {
            continue;
        }
        let address = cache_address(index);
        network::add_address(layout, address)?;
        let file = layout.path(&format!("{}.corefile", cache_name(index)));
        fs::write(&file, render_corefile(address))
            .with_context(|| format!("cannot write {}", file.display()))?;
        testbed.spawn(
            &cache_name(index),
            Command::new(&program).arg("-conf").arg(&file),
        )?;
    }
    for index in 0..number {
        let ready = format!("http://{}:{READY_PORT}/ready", cache_address(index));
        testbed.wait_for(&cache_name(index), LIMIT, || is_url_ready(layout, &ready))?;
    }
    // In this order: no conversation goes to one that does not answer yet, or that is gone.
    network::route_dns(layout, &caches.traffic_shares())?;
    running
        .into_iter()
        .filter(|index| *index >= number)
        .try_for_each(|index| stop_cache(testbed, index))
}

/// Stops all; the service address refuses from now on.
pub fn stop_caches(testbed: &Testbed) -> Result<()> {
    network::route_dns(testbed.layout(), &[])?;
    (0..MAX_CACHES).try_for_each(|index| stop_cache(testbed, index))
}

/// The indices of those that run.
#[must_use]
pub fn running_caches(testbed: &Testbed) -> Vec<u8> {
    (0..MAX_CACHES)
        .filter(|index| testbed.spawned(&cache_name(*index)).is_some())
        .collect()
}

fn stop_cache(testbed: &Testbed, index: u8) -> Result<()> {
    testbed.stop(&cache_name(index), GRACE)?;
    network::remove_address(testbed.layout(), cache_address(index))
}

fn is_url_ready(layout: &Layout, url: &str) -> bool {
    let get = || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(2)))
            .proxy(None)
            .build()
            .into();
        agent.get(url).call().is_ok()
    };
    network::run_in_network(layout, get).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_one_node_and_every_node_its_pods() {
        for nodes in 1..=MAX_CACHES {
            let shares = CacheTopology::NodeLocal { nodes }.traffic_shares();
            for last in 0..=255 {
                let pod = Ipv4Addr::new(198, 18, 2, last);
                let led: Vec<Ipv4Addr> = shares
                    .iter()
                    .filter(|(share, _)| {
                        matches!(share, TrafficShare::Source { mask, bits } if last & mask == *bits)
                    })
                    .map(|(_, to)| *to)
                    .collect();
                assert_eq!(led, [cache_address(node_of(pod, nodes))]);
            }
        }
    }

    #[test]
    fn cache_has_no_setting_and_nothing_leaves_the_testbed() {
        let text = render_corefile(cache_address(0));
        assert_eq!(text.matches("    cache\n").count(), 2);
        assert_eq!(text.matches("forward").count(), 1);
        assert!(text.contains("forward . 198.18.0.3\n"));
    }
}
