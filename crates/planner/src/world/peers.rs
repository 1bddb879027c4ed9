//! What other policies hold of a cluster, and how much of it counts.
//!
//! Measured connections count as they are, but for a failover: a table of sockets is what a pod of somebody else prints, so
//! what one other namespace shows beyond a part of an instance holds nobody's failover. What another namespace only claims (pools without evidence, recycles in
//! progress, runs) is the word of somebody else: it counts up to a bound, so that no namespace can hold the others.

use std::collections::BTreeMap;

use dbbalance_api::spec::BudgetSpec;
use dbbalance_core::balance::{OtherConnections, ReaderShares};
use dbbalance_core::budget::{Holding, Load, find_instance_limits};
use dbbalance_core::pacing::MAX_RUNS_PER_CLUSTER;
use dbbalance_core::topology::{ClusterView, InstanceId};

/// What one namespace only claims counts at most as one part in this many of what the instances take together. Spread
/// with a skew of a half, a third is half of each instance (docs/adr/0012).
const CLAIM_PART: u64 = 3;

/// What one other namespace is measured to hold of an instance counts for a failover at most as one part in this many of what
/// the instance takes (docs/adr/0012).
const MEASURED_PART: u64 = 3;

/// The recycles in progress that one namespace claims count at most as one part in this many of the smallest instance, on
/// which all of them may land (docs/adr/0012).
const IN_FLIGHT_PART: u64 = 10;

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
    /// What its reader pools hold of the readers.
    pub shares: ReaderShares,
}

/// What other policies do on the same cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPeers {
    /// Their connections.
    pub held: Holding,
    /// How much of the measured connections does not count for a failover.
    pub doubted: BTreeMap<InstanceId, u64>,
    /// What their recycles in progress may add.
    pub in_flight: Load,
    /// Their runs in progress.
    pub running: usize,
    /// What their reader pools hold of the readers.
    pub shares: OtherConnections,
    /// Whether this replica has been the leader for so short a time that the others may not have been read yet.
    pub is_young: bool,
    /// The policies with connections, as `namespace/name`, and how many of them count; the largest first.
    pub holders: Vec<(String, u64)>,
}

/// What one namespace claims.
#[derive(Default)]
struct Claims {
    estimated: Load,
    in_flight: Load,
    running: usize,
    measured: BTreeMap<InstanceId, u64>,
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
        let limits = view.map(|view| find_instance_limits(view, budget));
        let bounds = view.zip(limits.as_ref());
        let bounds = bounds.and_then(|(view, limits)| claim_bounds(view, limits));
        let mut sum = Self::default();
        let mut claims: BTreeMap<&str, Claims> = BTreeMap::new();
        for peer in peers {
            let claim = claims.entry(&peer.namespace).or_default();
            peer.shares.add_to(&mut sum.shares);
            for (instance, connections) in &peer.held.measured {
                *sum.held.measured.entry(instance.clone()).or_default() += connections;
                *claim.measured.entry(instance.clone()).or_default() += connections;
            }
            claim.estimated = claim.estimated.plus(peer.held.estimated);
            claim.in_flight = claim.in_flight.plus(peer.in_flight);
            claim.running += peer.running;
            let is_foreign = peer.namespace != namespace;
            let bound = bounds.filter(|_| is_foreign).map(|b| b.estimated);
            let estimated = bound_load(peer.held.estimated, bound);
            let measured: u64 = peer.held.measured.values().sum();
            let connections = estimated.reader + estimated.writer + measured;
            if connections > 0 {
                let policy = format!("{}/{}", peer.namespace, peer.name);
                sum.holders.push((policy, connections));
            }
        }
        for (of, claim) in claims {
            let is_foreign = of != namespace;
            for (instance, connections) in claim.measured.iter().filter(|_| is_foreign) {
                let limit = limits.as_ref().and_then(|all| *all.get(instance)?);
                let believed = limit.map_or(u64::MAX, |limit| limit / MEASURED_PART);
                let beyond = connections.saturating_sub(believed);
                *sum.doubted.entry(instance.clone()).or_default() += beyond;
            }
            let bounds = bounds.filter(|_| is_foreign);
            let bound_runs = if is_foreign {
                RUNS_OF_NAMESPACE
            } else {
                usize::MAX
            };
            let estimated = bound_load(claim.estimated, bounds.map(|b| b.estimated));
            sum.held.estimated = sum.held.estimated.plus(estimated);
            let in_flight = bound_load(claim.in_flight, bounds.map(|b| b.in_flight));
            sum.in_flight = sum.in_flight.plus(in_flight);
            sum.running += claim.running.min(bound_runs);
        }
        sum.holders
            .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sum
    }

    /// Returns the connections that count for a step.
    #[must_use]
    pub fn count_held(&self, urgent: bool) -> Holding {
        let mut held = self.held.clone();
        for (instance, beyond) in self.doubted.iter().filter(|_| urgent) {
            if let Some(measured) = held.measured.get_mut(instance) {
                *measured = measured.saturating_sub(*beyond);
            }
        }
        held
    }
}

/// How much of what another namespace claims counts on each endpoint.
#[derive(Clone, Copy)]
struct ClaimBounds {
    estimated: Load,
    in_flight: Load,
}

/// Returns the bounds; `None` if the limit of an instance is not known.
fn claim_bounds(
    view: &ClusterView,
    limits: &BTreeMap<InstanceId, Option<u64>>,
) -> Option<ClaimBounds> {
    let limit = |instance| limits.get(instance).copied().flatten();
    let writer = limit(&view.topology.writer.instance)?;
    let readers = view.topology.readers.iter();
    let readers: Option<Vec<u64>> = readers.map(|m| limit(&m.instance)).collect();
    let mut readers = readers?;
    if readers.is_empty() {
        // A cluster without readers serves the reader endpoint from its writer.
        readers.push(writer);
    }
    Some(ClaimBounds {
        estimated: Load {
            reader: readers.iter().sum::<u64>() / CLAIM_PART,
            writer: writer / CLAIM_PART,
        },
        in_flight: Load {
            reader: readers.iter().min()? / IN_FLIGHT_PART,
            writer: writer / IN_FLIGHT_PART,
        },
    })
}

fn bound_load(load: Load, bound: Option<Load>) -> Load {
    bound.map_or(load, |bound| Load {
        reader: load.reader.min(bound.reader),
        writer: load.writer.min(bound.writer),
    })
}
