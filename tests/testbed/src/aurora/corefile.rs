//! Renders the Corefiles that the testbed's `CoreDNS` runs with. Pure: text from addresses and names.
//!
//! [`render_cache`] is a cache in front of Aurora's names and nothing else. The others are the Corefiles of
//! [`Distribution`]s, which answer names of Services too. Theirs are upstream's word for word, but for what would need a
//! machine of its own: each program binds its own address, `forward . /etc/resolv.conf` asks [`render_upstream`]'s blocks,
//! a kubeconfig takes the place of a pod's service account, and `health` and `loop`, which change no answer, are left out.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::address::{AUTHORITY, ZONE};
use super::inventory::reader_endpoint;
use super::steered_name::{STEERED_LABEL, service_host};
use crate::kubernetes::layout::CLUSTER_DOMAIN;

/// Port of the ready plugin: its default.
pub(super) const READY_PORT: u16 = 8181;
/// Port of the metrics: the plugin's default.
const METRICS_PORT: u16 = 9153;
/// Port of the blocks that play the resolver of the VPC: what `/etc/resolv.conf` of a node names.
const UPSTREAM_PORT: u16 = 5354;
/// Port of the block to which a [`SteeredBlock`] falls back: any that nothing else has.
const FALLBACK_PORT: u16 = 5353;

/// Whose Corefile the name servers of the cluster run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// The add-on `coredns` of EKS: Services have a TTL of 5 s, and a cache of 30 s keeps everything for at least 5 s.
    Eks,
    /// kubeadm since 1.32: Services have a TTL of 30 s, and the cache leaves names of the cluster's domain out.
    Kubeadm,
    /// `NodeLocal` `DNSCache` over EKS's: a cache on each node, which asks the replicas for Services alone.
    NodeLocal,
}

impl Distribution {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Eks, Self::Kubeadm, Self::NodeLocal];

    /// Returns its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eks => "eks",
            Self::Kubeadm => "kubeadm",
            Self::NodeLocal => "nodelocal",
        }
    }

    /// Returns the longest time from a change of a Service until no cache answers with what was before it: each cache
    /// on the way keeps an answer for its TTL, and for 5 s at least (`dnsutil.MinimalDefaultTTL` of `CoreDNS`).
    #[must_use]
    pub fn service_bound(self) -> Duration {
        match self {
            Self::Eks => Duration::from_secs(5),
            Self::Kubeadm => Duration::ZERO,
            Self::NodeLocal => Duration::from_secs(10),
        }
    }
}

impl FromStr for Distribution {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|one| one.name() == text) {
            Some(one) => Ok(one),
            None => bail!("invalid distribution {text:?} (one of eks, kubeadm, nodelocal)"),
        }
    }
}

/// A server block that leads Aurora's reader endpoint to a headless Service, and to Aurora when that has no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteeredBlock {
    /// The Aurora cluster.
    pub cluster: String,
    /// The namespace of the Service.
    pub namespace: String,
    /// The headless Service; it and its slices have the label [`STEERED_LABEL`].
    pub service: String,
}

impl FromStr for SteeredBlock {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (cluster, name) = text.split_once('=').unwrap_or_default();
        let (namespace, service) = name.split_once('/').unwrap_or_default();
        let is_label = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if ![cluster, namespace, service].into_iter().all(is_label) {
            bail!("invalid server block {text:?}: give CLUSTER=NAMESPACE/SERVICE");
        }
        Ok(Self {
            cluster: cluster.to_owned(),
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        })
    }
}

/// Renders a cache in front of Aurora's names. The zone is forwarded, without any setting for the cache. All else, the
/// cluster's domain included, is answered "no such name" at once: the search list of pods costs no time, and nothing is
/// asked outside.
pub(super) fn render_cache(address: Ipv4Addr) -> String {
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
{NOBODY}}}
"
    )
}

/// Everything is "no such name".
const NOBODY: &str = "    template ANY ANY {
        rcode NXDOMAIN
        authority \". 30 IN SOA ns.testbed. hostmaster.testbed. 1 7200 900 1209600 30\"
    }
";

/// Renders the Corefile of a replica behind the service address.
///
/// # Errors
/// A kubeconfig whose path is no text.
pub(super) fn render_replica(
    address: Ipv4Addr,
    distribution: Distribution,
    blocks: &[SteeredBlock],
    kubeconfig: &Path,
) -> Result<String> {
    let file = kubeconfig
        .to_str()
        .context("the path of the kubeconfig is not UTF-8")?;
    let mut text = String::new();
    for block in blocks {
        text += &render_steered_block(address, block, file);
    }
    if !blocks.is_empty() {
        text += &render_fallback(address, blocks);
    }
    let (ttl, cache) = match distribution {
        // The default Corefile of the add-on `coredns`: the plugin's own TTL, 5 s.
        Distribution::Eks | Distribution::NodeLocal => ("", "    cache 30\n".to_owned()),
        // cmd/kubeadm/app/phases/addons/dns/manifests.go; the cache leaves Services out since kubernetes/kubernetes#128359.
        Distribution::Kubeadm => (
            "        ttl 30\n",
            format!(
                "    cache 30 {{
        disable success {CLUSTER_DOMAIN}
        disable denial {CLUSTER_DOMAIN}
    }}
"
            ),
        ),
    };
    let _ = write!(
        text,
        ".:53 {{
    bind {address}
    errors
    ready {address}:{READY_PORT}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {file}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
{ttl}    }}
    prometheus {address}:{METRICS_PORT}
    forward . {address}:{UPSTREAM_PORT}
{cache}    reload
    loadbalance
}}
"
    );
    Ok(text + &render_upstream(address))
}

/// Renders the Corefile of a node's cache, as the manifest of `NodeLocal` `DNSCache` has it. It asks the replicas for the
/// names of Services, over TCP and one at random; the manifest has a Service's address there. A [`SteeredBlock`] needs a
/// block here too, as names of Aurora go to the VPC's resolver past the replicas.
pub(super) fn render_node(
    address: Ipv4Addr,
    replicas: &[Ipv4Addr],
    blocks: &[SteeredBlock],
) -> String {
    let addresses: Vec<String> = replicas.iter().map(ToString::to_string).collect();
    let cluster_dns = format!(
        "    forward . {} {{
        force_tcp
    }}
",
        addresses.join(" ")
    );
    let mut text = String::new();
    for block in blocks {
        let _ = write!(
            text,
            "{}:53 {{
    errors
    bind {address}
{cluster_dns}}}
",
            reader_endpoint(&block.cluster)
        );
    }
    let _ = write!(
        text,
        "{CLUSTER_DOMAIN}:53 {{
    errors
    cache {{
        success 9984 30
        denial 9984 5
    }}
    reload
    bind {address}
{cluster_dns}    prometheus {address}:{METRICS_PORT}
}}
in-addr.arpa:53 ip6.arpa:53 {{
    errors
    cache 30
    reload
    bind {address}
{cluster_dns}}}
.:53 {{
    errors
    ready {address}:{READY_PORT}
    cache 30
    reload
    bind {address}
    forward . {address}:{UPSTREAM_PORT}
}}
"
    );
    text + &render_upstream(address)
}

/// No `cache`: a change of the slice is there at once, and nobody keeps Aurora's TTL of 1 s for 5 s. The plugin's own
/// watch is limited to labelled objects; NXDOMAIN, of an empty slice or of no Service, goes on to Aurora.
fn render_steered_block(address: Ipv4Addr, block: &SteeredBlock, kubeconfig: &str) -> String {
    let (aurora, host) = (
        reader_endpoint(&block.cluster),
        service_host(&block.service, &block.namespace),
    );
    let namespace = &block.namespace;
    format!(
        "{aurora}:53 {{
    bind {address}
    errors
    ready {address}:{READY_PORT}
    loadbalance
    rewrite name exact {aurora} {host} answer auto
    kubernetes {CLUSTER_DOMAIN} {{
        kubeconfig {kubeconfig}
        namespaces {namespace}
        labels {STEERED_LABEL}=true
        ttl 0
        fallthrough
    }}
    forward . {address}:{FALLBACK_PORT}
}}
"
    )
}

/// Where the blocks fall back to: the name is Aurora's again, and its answer is kept as everywhere.
fn render_fallback(address: Ipv4Addr, blocks: &[SteeredBlock]) -> String {
    let mut rewrites = String::new();
    for block in blocks {
        let _ = writeln!(
            rewrites,
            "    rewrite name exact {} {} answer auto",
            service_host(&block.service, &block.namespace),
            reader_endpoint(&block.cluster)
        );
    }
    format!(
        ".:{FALLBACK_PORT} {{
    bind {address}
    errors
    cache
{rewrites}    forward . {address}:{UPSTREAM_PORT}
}}
"
    )
}

/// The resolver of the VPC: it knows Aurora's names, and nothing is asked outside.
fn render_upstream(address: Ipv4Addr) -> String {
    format!(
        "{ZONE}:{UPSTREAM_PORT} {{
    bind {address}
    errors
    forward . {AUTHORITY}
}}
.:{UPSTREAM_PORT} {{
    bind {address}
    errors
{NOBODY}}}
"
    )
}

#[cfg(test)]
mod tests;
