//! What other policies hold of a cluster, and how much of it counts.
//!
//! Measured connections count as they are. What another namespace only claims (pools without evidence, recycles in
//! progress, runs) is the word of somebody else: it counts up to a bound, so that no namespace can hold the others.

use std::collections::BTreeMap;

use dbbalance_api::spec::BudgetSpec;
use dbbalance_core::budget::{Holding, Load, find_instance_limits};
use dbbalance_core::pacing::MAX_RUNS_PER_CLUSTER;
use dbbalance_core::topology::ClusterView;

/// What one namespace only claims counts at most as one part in this many of what the instances take together. Spread
/// with a skew of a half, a third is half of each instance (docs/adr/0012).
const CLAIM_PART: u64 = 3;

/// The runs that count of one other namespace: one fewer than a cluster may have (docs/adr/0012).
const RUNS_OF_NAMESPACE: usize = MAX_RUNS_PER_CLUSTER - 1;

/// What another policy holds of the cluster, and has in progress on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerHolding {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The connections of its pods.
    pub held: Holding,
    /// What its recycles in progress may add.
    pub in_flight: Load,
    /// Its runs in progress that no gate outside of the policy holds.
    pub running: usize,
}

/// What other policies do on the same cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPeers {
    /// Their connections.
    pub held: Holding,
    /// What their recycles in progress may add.
    pub in_flight: Load,
    /// Their runs in progress.
    pub running: usize,
    /// The policies with connections, as `namespace/name`, and how many of them count; the largest first.
    pub holders: Vec<(String, u64)>,
}

/// What one namespace claims.
#[derive(Default)]
struct Claims {
    estimated: Load,
    in_flight: Load,
    running: usize,
}

impl ClusterPeers {
    /// Sums what other policies hold, for a policy of `namespace` with this budget. `view`: the cluster as last read, whose
    /// instances bound what other namespaces claim; instances without a known limit bound nothing.
    #[must_use]
    pub fn sum(
        peers: &[PeerHolding],
        namespace: &str,
        view: Option<&ClusterView>,
        budget: &BudgetSpec,
    ) -> Self {
        let bound = view.and_then(|view| claim_bound(view, budget));
        let mut sum = Self::default();
        let mut claims: BTreeMap<&str, Claims> = BTreeMap::new();
        for peer in peers {
            for (instance, connections) in &peer.held.measured {
                *sum.held.measured.entry(instance.clone()).or_default() += connections;
            }
            let claim = claims.entry(&peer.namespace).or_default();
            claim.estimated = claim.estimated.plus(peer.held.estimated);
            claim.in_flight = claim.in_flight.plus(peer.in_flight);
            claim.running += peer.running;
            let is_foreign = peer.namespace != namespace;
            let estimated = bound_load(peer.held.estimated, bound.filter(|_| is_foreign));
            let measured: u64 = peer.held.measured.values().sum();
            let connections = estimated.reader + estimated.writer + measured;
            if connections > 0 {
                let policy = format!("{}/{}", peer.namespace, peer.name);
                sum.holders.push((policy, connections));
            }
        }
        for (of, claim) in claims {
            let is_foreign = of != namespace;
            let bound = bound.filter(|_| is_foreign);
            let bound_runs = if is_foreign {
                RUNS_OF_NAMESPACE
            } else {
                usize::MAX
            };
            sum.held.estimated = sum.held.estimated.plus(bound_load(claim.estimated, bound));
            sum.in_flight = sum.in_flight.plus(bound_load(claim.in_flight, bound));
            sum.running += claim.running.min(bound_runs);
        }
        sum.holders
            .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sum
    }
}

/// Returns how much of what another namespace claims counts on each endpoint.
fn claim_bound(view: &ClusterView, budget: &BudgetSpec) -> Option<Load> {
    let limits = find_instance_limits(view, budget);
    let limit = |instance| limits.get(instance).copied().flatten();
    let writer = limit(&view.topology.writer.instance);
    let readers: Option<u64> = view
        .topology
        .readers
        .iter()
        .map(|m| limit(&m.instance))
        .sum();
    // A cluster without readers serves the reader endpoint from its writer.
    let readers = if view.topology.readers.is_empty() {
        writer
    } else {
        readers
    };
    Some(Load {
        reader: readers? / CLAIM_PART,
        writer: writer? / CLAIM_PART,
    })
}

fn bound_load(load: Load, bound: Option<Load>) -> Load {
    bound.map_or(load, |bound| Load {
        reader: load.reader.min(bound.reader),
        writer: load.writer.min(bound.writer),
    })
}
