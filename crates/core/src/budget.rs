//! Checks steps against the connection budget of a cluster, over all its policies.
//!
//! Measured connections count on the instances that hold them. Without measurements each instance is assumed to hold its
//! even share of the endpoint's connections, and half as many again ([`ESTIMATED_SKEW_PERCENT`]): that all of them are on
//! one instance would be more than it may have wherever a cluster needs several readers. Connections that a step opens
//! may always land on one instance. While a change has not settled, DNS may serve an instance in its old or its new role,
//! so it counts in both.

use std::collections::BTreeMap;
use std::fmt;

use super::topology::{ClusterView, InstanceId, Role, Topology};
use dbbalance_api::spec::{BudgetSpec, Endpoint};

mod limits;

pub use limits::{
    SERVERLESS_CLASS, find_instance_limits, find_max_connections, find_serverless_limit,
};

/// How much of its even share an instance is assumed to hold where nothing is measured, in percent
/// (docs/adr/0012-connection-budget.md).
pub const ESTIMATED_SKEW_PERCENT: u64 = 150;

/// The connections that one target holds, or may add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections through the reader endpoint.
    pub reader: u64,
    /// Connections through the writer endpoint.
    pub writer: u64,
}

impl Load {
    /// Returns the load of this many pods with these pools.
    #[must_use]
    pub fn from_pools(pools: &[(Endpoint, u64)], pods: usize) -> Self {
        let pods = pods as u64;
        let mut load = Self::default();
        for (endpoint, connections) in pools {
            match endpoint {
                Endpoint::Reader => load.reader += connections * pods,
                Endpoint::Writer => load.writer += connections * pods,
            }
        }
        load
    }

    /// Returns the sum of two loads.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            reader: self.reader + other.reader,
            writer: self.writer + other.writer,
        }
    }
}

/// Measured connections by instance.
pub type MeasuredConnections = BTreeMap<InstanceId, u64>;

/// The connections held on the cluster now: estimated for unmeasured pods, and as measured for the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The most that the pools of unmeasured pods may hold.
    pub estimated: Load,
    /// Connections as measured.
    pub measured: MeasuredConnections,
}

impl Holding {
    /// Returns the sum of two holdings.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.estimated = self.estimated.plus(other.estimated);
        for (instance, connections) in &other.measured {
            *self.measured.entry(instance.clone()).or_default() += connections;
        }
        self
    }
}

/// The budget's verdict on a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetCheck {
    /// The step fits.
    Fits,
    /// The step does not fit.
    Exceeds {
        /// The arithmetic, as text.
        message: String,
        /// Whether measured connections alone leave no room, so that it does not rest on an estimate.
        measured: bool,
        /// The part of the arithmetic that does not change with what is held.
        bound: BudgetBound,
    },
    /// No limit is known, so a method that surges must wait; holds the reason as text.
    Unknown(String),
}

/// What a step needs on an instance, and what the instance may have in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetBound {
    /// The instance.
    pub instance: InstanceId,
    /// The connections that the step may open there.
    pub needs: u64,
    /// Its `max_connections`.
    pub limit: u64,
    /// What is kept free of them, in percent.
    pub headroom_percent: u64,
    /// How many may be open: the limit less the headroom.
    pub budget: u64,
}

impl BudgetBound {
    /// Returns with how many held connections the step just fits; `None` if it never does.
    #[must_use]
    pub fn most_held(&self) -> Option<u64> {
        self.budget.checked_sub(self.needs)
    }
}

impl fmt::Display for BudgetBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            instance,
            needs,
            limit,
            headroom_percent,
            budget,
        } = self;
        write!(
            f,
            "needs {needs} connections on {instance} ({limit} max_connections less {headroom_percent}% headroom is {budget})"
        )
    }
}

/// Which endpoints may resolve to a member, and among how many members each spreads.
#[derive(Clone, Copy, Debug, Default)]
struct ServedEndpoints {
    reader: bool,
    writer: bool,
    /// How many members serve the reader endpoint; at least one.
    readers: u64,
}

impl ServedEndpoints {
    fn of_instance(topologies: &[&Topology], instance: &InstanceId) -> Self {
        let mut serves = Self {
            readers: u64::MAX,
            ..Self::default()
        };
        for topology in topologies {
            let role = topology.members().find(|(m, _)| m.instance == *instance);
            match role.map(|(_, role)| role) {
                // A cluster without readers serves the reader endpoint from its writer.
                Some(Role::Writer) => {
                    serves.writer = true;
                    serves.reader |= topology.readers.is_empty();
                }
                Some(Role::Reader) => serves.reader = true,
                None => {}
            }
            // A reader that has just come or is about to go serves nothing yet, or no more.
            let readers = topology.readers.len().max(1) as u64;
            serves.readers = serves.readers.min(readers);
        }
        serves
    }

    /// Returns what of a load may land on the instance: all of it.
    const fn select_load(self, load: Load) -> u64 {
        (if self.reader { load.reader } else { 0 }) + (if self.writer { load.writer } else { 0 })
    }

    /// Returns what of an estimate the instance is assumed to hold.
    fn estimate_share(self, load: Load) -> u64 {
        let even = load.reader.div_ceil(self.readers);
        let skewed = (even * ESTIMATED_SKEW_PERCENT).div_ceil(100);
        self.select_load(Load {
            reader: skewed.min(load.reader),
            writer: load.writer,
        })
    }
}

/// The instances as last read, and as in the settled topology.
#[derive(Clone, Copy, Debug)]
pub struct Members<'a> {
    /// The last reading.
    pub view: &'a ClusterView,
    /// The settled topology, if there is one.
    pub settled: Option<&'a Topology>,
}

/// Checks a step: for every instance, the connections now, those in flight and those of the step must fit the limit.
#[must_use]
pub fn check_budget(
    members: Members,
    spec: &BudgetSpec,
    now: &Holding,
    in_flight: Load,
    step: Load,
    surges: bool,
) -> BudgetCheck {
    let view = members.view;
    let limits = find_instance_limits(view, spec);
    let topologies: Vec<&Topology> = members
        .settled
        .into_iter()
        .chain([&view.topology])
        .collect();
    for (member, _) in view.topology.members() {
        let serves = ServedEndpoints::of_instance(&topologies, &member.instance);
        let pick = |load: Load| serves.select_load(load);
        if pick(step) == 0 {
            continue;
        }
        let Some(limit) = limits.get(&member.instance).copied().flatten() else {
            if surges {
                let class = view
                    .facts
                    .get(&member.instance)
                    .and_then(|f| f.class.clone());
                return BudgetCheck::Unknown(format!(
                    "no max_connections is known for class {} of instance {}: set budget.maxConnections",
                    class.as_deref().unwrap_or("(unknown)"),
                    member.instance
                ));
            }
            continue;
        };
        let headroom = u64::try_from(spec.headroom_percent).unwrap_or(0).min(100);
        let budget = limit * (100 - headroom) / 100;
        let measured = now.measured.get(&member.instance).copied().unwrap_or(0);
        let estimated = serves.estimate_share(now.estimated);
        let flying = pick(in_flight);
        let held = estimated + measured + flying;
        let needs = pick(step);
        if held + needs > budget {
            let share = if estimated > 0 {
                format!(
                    ", of which {estimated} are estimated as an even share and {}% more",
                    ESTIMATED_SKEW_PERCENT - 100
                )
            } else {
                String::new()
            };
            return BudgetCheck::Exceeds {
                message: format!(
                    "needs {needs} connections on {}, has {} ({limit} max_connections less {headroom}% headroom is {budget}, {} held{share}, {flying} in flight)",
                    member.instance,
                    budget.saturating_sub(held),
                    estimated + measured,
                ),
                measured: measured > 0 && measured + flying + needs > budget,
                bound: BudgetBound {
                    instance: member.instance.clone(),
                    needs,
                    limit,
                    headroom_percent: headroom,
                    budget,
                },
            };
        }
    }
    BudgetCheck::Fits
}

#[cfg(test)]
mod tests;
