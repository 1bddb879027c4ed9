//! Checks steps against the connection budget of a cluster, over all its policies.
//!
//! Measured connections count on the instances that hold them. Without measurements the budget assumes the worst case
//! for each instance: that all connections of an endpoint's pools are on it. Connections that a step opens may always
//! land on that one instance. While a change has not settled, DNS may serve an instance in its old or its new role,
//! so it counts in both.

use std::collections::BTreeMap;

use super::topology::{ClusterView, InstanceId, Role, Topology};
use dbbalance_api::spec::{BudgetSpec, Endpoint};

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
    /// The step does not fit; holds the arithmetic as text.
    Exceeds(String),
    /// No limit is known, so a method that surges must wait; holds the reason as text.
    Unknown(String),
}

/// Returns the limit of each instance, before headroom.
#[must_use]
pub fn find_instance_limits(
    view: &ClusterView,
    spec: &BudgetSpec,
) -> BTreeMap<InstanceId, Option<u64>> {
    view.topology
        .members()
        .map(|(member, _)| {
            let limit = spec
                .max_connections
                .and_then(|n| u64::try_from(n).ok())
                .or_else(|| {
                    let facts = view.facts.get(&member.instance)?;
                    find_max_connections(&view.engine, facts.class.as_deref()?)
                });
            (member.instance.clone(), limit)
        })
        .collect()
}

/// Which endpoints may resolve to a member.
#[derive(Clone, Copy, Debug, Default)]
struct ServedEndpoints {
    reader: bool,
    writer: bool,
}

impl ServedEndpoints {
    fn of_instance(topologies: &[&Topology], instance: &InstanceId) -> Self {
        let mut serves = Self::default();
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
        }
        serves
    }

    const fn select_load(self, load: Load) -> u64 {
        (if self.reader { load.reader } else { 0 }) + (if self.writer { load.writer } else { 0 })
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
        let has = pick(now.estimated) + measured;
        let held = has + pick(in_flight);
        let needs = pick(step);
        if held + needs > budget {
            return BudgetCheck::Exceeds(format!(
                "needs {needs} connections on {}, has {} ({limit} max_connections less {headroom}% headroom is {budget}, {} held, {} in flight)",
                member.instance,
                budget.saturating_sub(held),
                has,
                pick(in_flight),
            ));
        }
    }
    BudgetCheck::Fits
}

/// Returns `max_connections` of an instance class, from the tables of the Aurora user guides; `None` for a class that
/// is not listed, because a limit is never guessed.
#[must_use]
pub fn find_max_connections(engine: &str, class: &str) -> Option<u64> {
    let (family, size) = class.strip_prefix("db.")?.split_once('.')?;
    // r7g and r8g have the memory of r6g; r6i and r5 have nearly the same. The smaller figure of r5 is used only for
    // the one size where the guide gives both.
    let memory_family = matches!(
        family,
        "r5" | "r6g" | "r6gd" | "r6i" | "r6id" | "r7g" | "r7i" | "r8g" | "r8gd" | "r6idn" | "r6in"
    );
    let burst = matches!(family, "t3" | "t4g");
    match engine {
        "aurora-mysql" if burst => match size {
            "medium" => Some(90),
            "large" => Some(135),
            _ => None,
        },
        "aurora-mysql" if memory_family => match size {
            "large" => Some(1000),
            "xlarge" => Some(2000),
            "2xlarge" => Some(3000),
            "4xlarge" => Some(4000),
            "8xlarge" => Some(5000),
            "12xlarge" | "16xlarge" => Some(6000),
            _ => None,
        },
        "aurora-postgresql" if burst => match size {
            "medium" => Some(405),
            "large" => Some(844),
            _ => None,
        },
        "aurora-postgresql" if memory_family => match size {
            "large" => Some(1600),
            "xlarge" => Some(3479),
            "2xlarge" | "4xlarge" | "8xlarge" | "12xlarge" | "16xlarge" | "24xlarge" => Some(5000),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
