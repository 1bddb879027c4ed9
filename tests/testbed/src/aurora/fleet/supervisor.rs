//! Restarts instances that ended by themselves, as Aurora's own supervision does.
//!
//! Ignores those that were stopped or killed on purpose, and never promotes. A standby may end this way after the
//! death of its writer, when it holds half a record that the new writer never had.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Result;

use super::super::databases::DatabaseNode;
use super::super::event::{EventKind, FleetEvent};
use super::Fleet;

/// Time between looks.
const PERIOD: Duration = Duration::from_secs(1);

impl Fleet {
    /// Keeps the instances running from now on, on a thread of its own that ends with the process.
    pub fn start_supervisor(&self) {
        let fleet = self.clone();
        std::thread::spawn(move || {
            let mut missed = BTreeSet::new();
            loop {
                let state = fleet.state();
                // Woken early by any news: one look more does no harm.
                drop(
                    fleet
                        .inner
                        .changed
                        .wait_timeout(state, PERIOD)
                        .unwrap_or_else(PoisonError::into_inner),
                );
                missed = fleet.repair_missing(&missed);
            }
        });
    }

    /// Mends what was missed before and still is; gives what is missed now.
    fn repair_missing(&self, before: &BTreeSet<String>) -> BTreeSet<String> {
        let mut missed = BTreeSet::new();
        for cluster in self.clusters() {
            for node in self.expected_nodes(&cluster) {
                if self.databases().is_standby(&node).is_some() {
                    continue;
                }
                if !before.contains(&node.name) {
                    missed.insert(node.name);
                } else if let Err(e) = self.repair_node(&cluster, &node) {
                    self.record_event(FleetEvent::noted(
                        &cluster,
                        EventKind::Failed,
                        &format!("mended: {e:#}"),
                        Some(&node.name),
                    ));
                }
            }
        }
        missed
    }

    /// Those that should run.
    fn expected_nodes(&self, cluster: &str) -> Vec<DatabaseNode> {
        let state = self.state();
        let Some(actual) = state.clusters.get(cluster) else {
            return Vec::new();
        };
        actual
            .nodes
            .values()
            .filter(|node| {
                actual.joined.contains(&node.name)
                    && !actual.dead.contains(&node.name)
                    && !actual.stopped.contains(&node.name)
            })
            .cloned()
            .collect()
    }

    fn repair_node(&self, cluster: &str, node: &DatabaseNode) -> Result<()> {
        let order = self.cluster_lock(cluster)?;
        let _alone = order.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever had the order may have stopped it, removed it, or just restarted it.
        let wanted = self.expected_nodes(cluster).contains(node);
        if !wanted || self.databases().is_standby(node).is_some() {
            return Ok(());
        }
        let writer = self.writer(cluster)?;
        if writer.name == node.name {
            self.databases().restart(node)?;
        } else {
            self.databases().join(node, &writer)?;
        }
        self.record_event(FleetEvent::noted(
            cluster,
            EventKind::Did,
            "mended",
            Some(&node.name),
        ));
        Ok(())
    }
}
