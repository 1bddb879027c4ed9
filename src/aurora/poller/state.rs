//! What the pollers and their tasks share: the configuration, the sources, and who listens to changes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use futures::channel::mpsc;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::aurora::access::{ClusterKey, RoleAllowList, SourceKey};
use crate::aurora::cadence::Cadence;
use crate::aurora::snapshot::PolledCluster;
use crate::aurora::source::SourceFactory;
use crate::aurora::stats::PollStats;
use crate::clock::Clock;
use dbbalance_core::topology::ClusterId;

/// The configuration of the pollers.
#[derive(Clone)]
pub struct PollerConfig {
    /// Builds the sources.
    pub factory: Arc<dyn SourceFactory>,
    /// The delays between polls.
    pub cadence: Cadence,
    /// The allowed roles. The factory has the same list; here it rejects a role at once.
    pub allowed: RoleAllowList,
    /// The time of readings.
    pub clock: Clock,
    /// Counts polls.
    pub stats: Arc<dyn PollStats>,
}

impl fmt::Debug for PollerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollerConfig")
            .field("cadence", &self.cadence)
            .field("allowed", &self.allowed)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct PollerShared {
    pub(super) config: PollerConfig,
    pub(super) stop: CancellationToken,
    pub(super) sources: Mutex<HashMap<SourceKey, Arc<PolledSource>>>,
    pub(super) listeners: Mutex<Vec<mpsc::UnboundedSender<ClusterKey>>>,
}

/// One source: its clusters, and the signals to its task.
#[derive(Debug)]
pub(super) struct PolledSource {
    pub(super) source: SourceKey,
    pub(super) clusters: Mutex<BTreeMap<ClusterId, PolledCluster>>,
    /// Signals a new cluster.
    pub(super) new_cluster: Notify,
    /// Requests a poll now.
    pub(super) poll_request: Notify,
    pub(super) stop: CancellationToken,
}

impl PolledSource {
    pub(super) fn lock_clusters(&self) -> MutexGuard<'_, BTreeMap<ClusterId, PolledCluster>> {
        self.clusters.lock()
    }
}

impl PollerShared {
    pub(super) fn lock_sources(&self) -> MutexGuard<'_, HashMap<SourceKey, Arc<PolledSource>>> {
        self.sources.lock()
    }

    pub(super) fn lock_listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<ClusterKey>>> {
        self.listeners.lock()
    }

    pub(super) fn notify_listeners(&self, key: &ClusterKey) {
        // Closed channels are removed.
        self.lock_listeners()
            .retain(|listener| listener.unbounded_send(key.clone()).is_ok());
    }
}
