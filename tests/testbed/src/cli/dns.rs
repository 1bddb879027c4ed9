//! `testbed dns`: the caches between pods and the name server of the testbed's Aurora.

use anyhow::Result;
use clap::Subcommand;
use dbbalance_testbed::aurora::address::CLUSTER_DNS;
use dbbalance_testbed::aurora::coredns::{self, CacheTopology, SteeredDns};
use dbbalance_testbed::aurora::corefile::{Distribution, SteeredBlock};
use dbbalance_testbed::kubernetes::Testbed;

#[derive(Debug, Clone, Subcommand)]
pub(super) enum DnsCommand {
    /// Start `CoreDNS`, or change the number of caches.
    Up {
        /// Replicas behind the service address.
        #[arg(long, value_name = "N", default_value_t = 2)]
        caches: u8,
        /// Number of simulated nodes with a cache each; a pod always asks that of its node.
        #[arg(long, value_name = "NODES", conflicts_with = "caches")]
        node_local: Option<u8>,
        /// Answer names of Services too, with the Corefile of a distribution: eks, kubeadm or nodelocal. Default: eks
        #[arg(
            long,
            value_name = "DISTRIBUTION",
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = "eks",
            conflicts_with_all = ["caches", "node_local"]
        )]
        steered: Option<Distribution>,
        /// Server block that leads Aurora's reader endpoint to a headless Service first; repeatable.
        #[arg(
            long = "block",
            value_name = "CLUSTER=NAMESPACE/SERVICE",
            requires = "steered"
        )]
        blocks: Vec<SteeredBlock>,
    },
    /// Stop all of them.
    Down,
}

pub(super) fn run_dns(name: &str, command: DnsCommand) -> Result<()> {
    let testbed = Testbed::open(name)?;
    match command {
        DnsCommand::Up {
            steered: Some(distribution),
            blocks,
            ..
        } => {
            let dns = SteeredDns {
                distribution,
                blocks,
            };
            coredns::start_steered_caches(&testbed, &dns)?;
            println!(
                "{} caches at {CLUSTER_DNS}, with the Corefile of {}",
                dns.caches().len(),
                distribution.name()
            );
        }
        DnsCommand::Up {
            caches, node_local, ..
        } => {
            let caches = node_local.map_or(CacheTopology::Replicas(caches), |nodes| {
                CacheTopology::NodeLocal { nodes }
            });
            coredns::start_caches(&testbed, caches)?;
            println!("{} caches at {CLUSTER_DNS}", caches.count());
        }
        DnsCommand::Down => coredns::stop_caches(&testbed)?,
    }
    Ok(())
}
