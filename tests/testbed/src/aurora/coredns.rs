//! Runs real `CoreDNS` in front of the name server, as clusters do: pods and the operator ask it.
//!
//! Each process caches on its own, with the defaults of the cache plugin: its minimum is 5 s, so Aurora's TTL of 1 s
//! becomes 5 s for everything behind one cache, and each cache may hold another reader (`dnsutil.MinimalDefaultTTL` in
//! `CoreDNS`). With [`start_steered_caches`] they run a distribution's Corefile, and answer names of Services as well.
//! Rules of the network spread the service address over the processes as kube-proxy does: at random, for
//! each conversation.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::address::{FIRST_CACHE, MAX_CACHES};
use super::corefile::{self, Distribution, READY_PORT, SteeredBlock};
use crate::cache::ToolCache;
use crate::kubernetes::network::{self, TrafficShare};
use crate::kubernetes::pki::COREDNS_USER;
use crate::kubernetes::{Layout, Testbed};
use crate::tools::go;

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
    fn traffic_shares(self) -> Vec<Route> {
        match self {
            Self::Replicas(number) => replica_shares(number),
            Self::NodeLocal { nodes } => node_shares(0, nodes),
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

/// The name servers of a cluster, with a distribution's Corefile: two replicas behind the service address, and below
/// `NodeLocal` `DNSCache` a cache on each of two simulated nodes in front of them. They answer names of Services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeredDns {
    /// Whose Corefile.
    pub distribution: Distribution,
    /// Aurora's names that lead to a Service first.
    pub blocks: Vec<SteeredBlock>,
}

/// One program: its index, and its Corefile.
type CacheProgram = (u8, String);
/// Who is led to which cache.
type Route = (TrafficShare, Ipv4Addr);

impl SteeredDns {
    /// Replicas of the cluster's name server: the default of EKS and kubeadm.
    const REPLICAS: u8 = 2;
    /// Nodes below `NodeLocal` `DNSCache`.
    const NODES: u8 = 2;

    /// Returns the caches that pods ask.
    #[must_use]
    pub fn caches(&self) -> Vec<Ipv4Addr> {
        let indices = match self.distribution {
            Distribution::Eks | Distribution::Kubeadm => 0..Self::REPLICAS,
            Distribution::NodeLocal => Self::REPLICAS..Self::REPLICAS + Self::NODES,
        };
        indices.map(cache_address).collect()
    }

    /// Returns the programs, and who is led to which of them.
    fn plan(&self, kubeconfig: &Path) -> Result<(Vec<CacheProgram>, Vec<Route>)> {
        let mut programs = (0..Self::REPLICAS)
            .map(|index| {
                let address = cache_address(index);
                let text =
                    corefile::render_replica(address, self.distribution, &self.blocks, kubeconfig)?;
                Ok((index, text))
            })
            .collect::<Result<Vec<CacheProgram>>>()?;
        if self.distribution != Distribution::NodeLocal {
            return Ok((programs, replica_shares(Self::REPLICAS)));
        }
        let replicas: Vec<Ipv4Addr> = (0..Self::REPLICAS).map(cache_address).collect();
        programs.extend((0..Self::NODES).map(|node| {
            let index = Self::REPLICAS + node;
            let text = corefile::render_node(cache_address(index), &replicas, &self.blocks);
            (index, text)
        }));
        Ok((programs, node_shares(Self::REPLICAS, Self::NODES)))
    }
}

fn replica_shares(number: u8) -> Vec<Route> {
    (0..number)
        .map(|index| (TrafficShare::OneOf(number - index), cache_address(index)))
        .collect()
}

/// Who is on which of the nodes, whose caches begin at index `first`.
fn node_shares(first: u8, nodes: u8) -> Vec<Route> {
    (0..=NODE_MASK)
        .map(|bits| {
            let mask = NODE_MASK;
            (
                TrafficShare::Source { mask, bits },
                cache_address(first + bits % nodes),
            )
        })
        .collect()
}

/// Starts the caches, and stops those that are too many; does nothing to what runs as it should. Existing
/// conversations keep their cache, as with kube-proxy.
///
/// # Errors
/// A number of caches out of range, or one that does not start.
pub fn start_caches(testbed: &Testbed, caches: CacheTopology) -> Result<()> {
    let number = caches.count();
    if !(1..=MAX_CACHES).contains(&number) {
        bail!("{number} caches: give 1 to {MAX_CACHES}");
    }
    let programs: Vec<CacheProgram> = (0..number)
        .map(|index| (index, corefile::render_cache(cache_address(index))))
        .collect();
    run_caches(testbed, &programs, &caches.traffic_shares())
}

/// Starts the name servers of a distribution in place of the caches that run, with `CoreDNS`'s own rights in the API.
///
/// # Errors
/// An API server that refuses the rights, or a name server that does not start.
pub fn start_steered_caches(testbed: &Testbed, dns: &SteeredDns) -> Result<()> {
    let rights = testbed.layout().path("coredns-rights.json");
    fs::write(&rights, serde_json::to_vec(&coredns_rights())?)
        .with_context(|| format!("cannot write {}", rights.display()))?;
    testbed
        .kubectl(&["apply", "-f", &rights.to_string_lossy()])
        .context("cannot grant CoreDNS its rights")?;
    let (programs, shares) = dns.plan(&testbed.layout().kubeconfig(COREDNS_USER))?;
    run_caches(testbed, &programs, &shares)
}

/// `system:coredns` of kubeadm and EKS, for the user of the testbed's kubeconfig.
fn coredns_rights() -> Value {
    let read = ["list", "watch"];
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": read},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": COREDNS_USER}],
        },
    ]})
}

/// Runs exactly these programs, and leads the service address to them.
fn run_caches(testbed: &Testbed, programs: &[CacheProgram], shares: &[Route]) -> Result<()> {
    let program = go::go_tool_path(&ToolCache::locate()?, "coredns")?;
    let layout = testbed.layout();
    let running = running_caches(testbed);
    for (index, text) in programs {
        let file = layout.path(&format!("{}.corefile", cache_name(*index)));
        if running.contains(index) {
            if fs::read_to_string(&file).is_ok_and(|now| now == *text) {
                continue;
            }
            // Not by the reload plugin: it looks every 30 s.
            testbed.stop(&cache_name(*index), GRACE)?;
        }
        network::add_address(layout, cache_address(*index))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        testbed.spawn(
            &cache_name(*index),
            Command::new(&program).arg("-conf").arg(&file),
        )?;
    }
    for (index, _) in programs {
        let ready = format!("http://{}:{READY_PORT}/ready", cache_address(*index));
        testbed.wait_for(&cache_name(*index), LIMIT, || is_url_ready(layout, &ready))?;
    }
    // In this order: no conversation goes to one that does not answer yet, or that is gone.
    network::route_dns(layout, shares)?;
    running
        .into_iter()
        .filter(|running| programs.iter().all(|(index, _)| index != running))
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
    #![allow(clippy::unwrap_used)]
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
    fn pods_ask_the_replicas_or_the_caches_of_their_nodes_which_ask_the_replicas() {
        let plan = |distribution| {
            let dns = SteeredDns {
                distribution,
                blocks: Vec::new(),
            };
            dns.plan(Path::new("/k")).unwrap()
        };
        let (programs, shares) = plan(Distribution::Eks);
        assert_eq!(programs.len(), 2);
        assert_eq!(shares, replica_shares(2));
        let (programs, shares) = plan(Distribution::NodeLocal);
        assert_eq!(programs.len(), 4);
        let asked: Vec<Ipv4Addr> = shares.iter().map(|(_, to)| *to).collect();
        assert!(!asked.contains(&cache_address(0)) && !asked.contains(&cache_address(1)));
        let nodes = &programs[2..];
        assert!(nodes.iter().all(|(index, text)| {
            asked.contains(&cache_address(*index))
                && text.contains("forward . 198.18.0.8 198.18.0.9 {")
        }));
    }
}
