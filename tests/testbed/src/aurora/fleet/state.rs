//! State of the fleet: what is published, what is true, and which operations are in progress.
//!
//! Values and look-ups behind the fleet's one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use super::super::address::{FIRST_INSTANCE, LAST_INSTANCE};
use super::super::cluster_faults::{FaultsByCluster, InventoryHistory};
use super::super::databases::DatabaseNode;
use super::super::event::FleetEvent;
use super::super::published_state::PublishedState;
use super::super::timeline::TimingProfile;

/// One cluster as it is.
#[derive(Debug)]
pub struct ClusterState {
    /// Its timelines.
    pub profile: TimingProfile,
    /// The instances' `max_connections`.
    pub max_connections: u16,
    /// The database that takes writes.
    pub writer: Option<String>,
    /// Its instances.
    pub nodes: BTreeMap<String, DatabaseNode>,
    /// Those that have data.
    pub joined: BTreeSet<String>,
    /// Those whose packets are dropped.
    pub partitioned: BTreeSet<String>,
    /// Those that were killed and not restarted yet.
    pub dead: BTreeSet<String>,
    /// Those that were stopped cleanly and not restarted yet.
    pub stopped: BTreeSet<String>,
    /// What is under way, by number.
    pub busy: BTreeMap<u64, String>,
    /// The last instance's number, never given twice.
    pub last_number: u32,
    /// Tells this cluster from an earlier one of the same name.
    pub generation: u64,
    /// Held while a database is changed: copies and promotions of a cluster follow one another.
    pub order: Arc<Mutex<()>>,
}

/// All of it.
#[derive(Debug, Default)]
pub struct FleetState {
    /// What API and DNS publish, before faults.
    pub published: PublishedState,
    /// What was published before.
    pub history: InventoryHistory,
    /// How the API behaves.
    pub faults: FaultsByCluster,
    /// The clusters.
    pub clusters: BTreeMap<String, ClusterState>,
    /// What happened.
    pub events: Vec<FleetEvent>,
    /// Counts whatever needs a number.
    counter: u64,
    /// Addresses given, in all: the next one is the one used longest ago.
    given: u32,
}

impl FleetState {
    /// A number that was not given before.
    pub fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// A free address. In turns, as an address that comes back at once would be taken for the old instance.
    pub fn allocate_address(&mut self) -> Option<Ipv4Addr> {
        let first = u32::from(FIRST_INSTANCE);
        let count = u32::from(LAST_INSTANCE) - first + 1;
        let used: BTreeSet<Ipv4Addr> = self
            .clusters
            .values()
            .flat_map(|cluster| cluster.nodes.values().map(|node| node.address))
            .collect();
        for _ in 0..count {
            let address = Ipv4Addr::from(first + self.given % count);
            self.given = self.given.wrapping_add(1);
            if !used.contains(&address) {
                return Some(address);
            }
        }
        None
    }

    /// An id like AWS's `db-ABCD…`: 26 capitals and digits, another each time.
    pub fn resource_id(&mut self, prefix: &str, name: &str) -> String {
        let number = self.next_number();
        let digest = Sha256::digest(format!("{name} {number} {}", std::process::id()));
        let text: String = digest
            .iter()
            .take(26)
            .map(|byte| char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[usize::from(byte % 32)]))
            .collect();
        format!("{prefix}-{text}")
    }

    /// The cluster that has this instance.
    #[must_use]
    pub fn cluster_of(&self, instance: &str) -> Option<&str> {
        self.clusters
            .iter()
            .find(|(_, cluster)| cluster.nodes.contains_key(instance))
            .map(|(name, _)| name.as_str())
    }

    /// Who would take over from the writer: the lowest tier, then the first by name (AWS: then the largest class).
    #[must_use]
    pub fn successor(&self, cluster: &str) -> Option<String> {
        let actual = self.clusters.get(cluster)?;
        let row = self.published.inventory.clusters.get(cluster)?;
        row.members
            .iter()
            .filter(|member| actual.writer.as_deref() != Some(&member.instance))
            .filter(|member| self.is_promotable(cluster, &member.instance))
            .min_by_key(|member| (member.tier, member.instance.clone()))
            .map(|member| member.instance.clone())
    }

    /// Is it fit to be promoted?
    #[must_use]
    pub fn is_promotable(&self, cluster: &str, instance: &str) -> bool {
        self.clusters.get(cluster).is_some_and(|actual| {
            actual.joined.contains(instance) && !actual.dead.contains(instance)
        }) && self
            .published
            .inventory
            .instances
            .get(instance)
            .is_some_and(|row| row.status == "available")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_given_in_turns_and_never_twice_at_once() {
        let mut state = FleetState::default();
        let (first, second) = (
            state.allocate_address().unwrap(),
            state.allocate_address().unwrap(),
        );
        assert_eq!(first, FIRST_INSTANCE);
        assert_ne!(first, second);
        // Unused ones are not given again before the others.
        assert_eq!(
            state.allocate_address().unwrap(),
            Ipv4Addr::new(198, 18, 0, 34)
        );
    }

    #[test]
    fn ids_differ_and_look_like_those_of_aws() {
        let mut state = FleetState::default();
        let (one, other) = (state.resource_id("db", "a"), state.resource_id("db", "a"));
        assert_ne!(one, other);
        assert_eq!(one.len(), "db-".len() + 26);
    }
}
