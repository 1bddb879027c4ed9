//! Faults of the RDS API per cluster: late, stale, inconsistent or plainly wrong answers.
//!
//! Pure: history, faults, time and the call's number determine the answer. Databases and name server are not
//! affected. Each fault is one that callers of the real API have met; `docs/testbed.md` has the sources.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::PORT;
use super::inventory::{ClusterMember, ClusterRecord, InstanceRecord, Inventory};
use super::published_state::new_cluster;

/// Older answers are forgotten: no fault looks back further.
const MEMORY: Duration = Duration::from_mins(10);

/// The faults of one cluster; the default is a good one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterFaults {
    /// Every answer is this many seconds old.
    pub late: Option<f64>,
    /// Answers are those of the moment when this was set.
    pub stale: bool,
    /// Each answer comes from one of two replicas, of which one is this many seconds behind.
    pub alternate: Option<f64>,
    /// Number of members reported as writers: none, or the first two.
    pub writers: Option<u8>,
    /// Rows of `DocumentDB`, Neptune and a Multi-AZ cluster among the answers.
    pub foreign: bool,
}

/// What was published, and when.
#[derive(Debug, Default)]
pub struct InventoryHistory {
    entries: VecDeque<(Duration, Inventory)>,
}

impl InventoryHistory {
    /// Notes what is published from now on.
    pub fn record(&mut self, now: Duration, inventory: &Inventory) {
        self.entries.push_back((now, inventory.clone()));
        // The last one before the horizon is still what was published at it.
        while self
            .entries
            .get(1)
            .is_some_and(|(at, _)| *at + MEMORY < now)
        {
            self.entries.pop_front();
        }
    }

    /// What was published at a time; before the first, the first.
    #[must_use]
    pub fn at(&self, time: Duration) -> Option<&Inventory> {
        self.entries
            .iter()
            .rev()
            .find(|(at, _)| *at <= time)
            .or_else(|| self.entries.front())
            .map(|(_, inventory)| inventory)
    }
}

/// A cluster's faults, and when they were set.
pub type FaultsByCluster = BTreeMap<String, (Duration, ClusterFaults)>;

/// The API's answer to call number `call` at `now`.
#[must_use]
pub fn apply_faults(
    history: &InventoryHistory,
    faults_by_cluster: &FaultsByCluster,
    now: Duration,
    call: u64,
) -> Inventory {
    let mut inventory = history.at(now).cloned().unwrap_or_default();
    for (name, (since, faults)) in faults_by_cluster {
        if let Some(time) = answered_moment(faults, *since, now, call)
            && let Some(then) = history.at(time)
        {
            replace_cluster(&mut inventory, then, name);
        }
        if let (Some(count), Some(cluster)) = (faults.writers, inventory.clusters.get_mut(name)) {
            for (index, member) in cluster.members.iter_mut().enumerate() {
                member.writer = index < usize::from(count);
            }
        }
    }
    if faults_by_cluster.values().any(|(_, faults)| faults.foreign) {
        add_foreign(&mut inventory);
    }
    inventory
}

/// Returns the moment whose answer is given under these faults; `None`: now.
fn answered_moment(
    faults: &ClusterFaults,
    since: Duration,
    now: Duration,
    call: u64,
) -> Option<Duration> {
    let ago =
        |seconds: f64| now.saturating_sub(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    if faults.stale {
        return Some(since);
    }
    match faults.alternate {
        Some(lag) if is_second_replica(call) => Some(ago(lag)),
        _ => faults.late.map(ago),
    }
}

/// Which replica answers. Not turn by turn: a poll is two calls, which would then always see the same mixture.
fn is_second_replica(call: u64) -> bool {
    // The finisher of SplitMix64, of which one bit is as good as a coin.
    let mixed = (call ^ (call >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) & 1 == 1
}

/// Takes one cluster's rows from another inventory.
fn replace_cluster(inventory: &mut Inventory, from: &Inventory, cluster: &str) {
    let own = |instance: &InstanceRecord| instance.cluster.as_deref() == Some(cluster);
    inventory.instances.retain(|_, instance| !own(instance));
    inventory.clusters.remove(cluster);
    if let Some(row) = from.clusters.get(cluster) {
        inventory.clusters.insert(cluster.to_owned(), row.clone());
    }
    for (name, instance) in from.instances.iter().filter(|(_, row)| own(row)) {
        inventory.instances.insert(name.clone(), instance.clone());
    }
}

/// Adds clusters of other engines, which `DescribeDBClusters` also reports (RDS API reference), in the same shape.
fn add_foreign(inventory: &mut Inventory) {
    const CREATED: &str = "2026-01-01T00:00:00Z";
    for (name, engine) in [
        ("testbed-docs", "docdb"),
        ("testbed-graph", "neptune"),
        ("testbed-multi-az", "postgres"),
    ] {
        let id = format!("{name}-1");
        let mut cluster: ClusterRecord = new_cluster(
            name,
            engine,
            format!("cluster-{}", name.to_uppercase()),
            CREATED,
        );
        cluster.members.push(ClusterMember {
            instance: id.clone(),
            writer: true,
            tier: 1,
        });
        inventory.clusters.insert(name.to_owned(), cluster);
        inventory.instances.insert(
            id.clone(),
            InstanceRecord {
                resource_id: format!("db-{}", id.to_uppercase()),
                identifier: id,
                status: "available".to_owned(),
                class: "db.r6g.large".to_owned(),
                engine: engine.to_owned(),
                cluster: Some(name.to_owned()),
                has_endpoint: true,
                port: PORT,
                zone: "eu-west-1a".to_owned(),
                tier: 1,
                created: CREATED.to_owned(),
            },
        );
    }
}

#[cfg(test)]
mod tests;
