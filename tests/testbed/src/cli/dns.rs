//! `testbed dns`: the caches between pods and the name server of the testbed's Aurora.

use anyhow::Result;
use clap::Subcommand;
use dbbalance_testbed::aurora::address::CLUSTER_DNS;
use dbbalance_testbed::aurora::coredns::{self, CacheTopology};
use dbbalance_testbed::kubernetes::Testbed;

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum DnsCommand {
    /// Start `CoreDNS`, or change the number of caches.
    Up {
        /// Replicas behind the service address.
        #[arg(long, value_name = "N", default_value_t = 2)]
        caches: u8,
        /// Number of simulated nodes with a cache each; a pod always asks that of its node.
        #[arg(long, value_name = "NODES", conflicts_with = "caches")]
        node_local: Option<u8>,
    },
    /// Stop all of them.
    Down,
}

pub(super) fn run_dns(name: &str, command: DnsCommand) -> Result<()> {
    let testbed = Testbed::open(name)?;
    match command {
        DnsCommand::Up { caches, node_local } => {
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
