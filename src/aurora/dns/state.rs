//! What the DNS sampler and its tasks share: the configuration, the clusters, and who listens to updates.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures::channel::mpsc;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batches::{BatchQueue, LastTurn, WaitingCluster};
use super::cluster_names::ClusterNames;
use super::limiter::LookupLimiter;
use super::lookup::{LookupStats, Resolve};
use super::requests::WantedBatch;
use crate::aurora::access::ClusterKey;
use crate::clock::Clock;
use dbbalance_core::topology::InstanceId;

/// The configuration of the samplers.
#[derive(Clone)]
pub struct DnsConfig {
    /// Resolves names.
    pub resolver: Arc<dyn Resolve>,
    /// The most lookups a second, over all clusters.
    pub lookups_per_second: u32,
    /// The time of samples.
    pub clock: Clock,
    /// Counts lookups.
    pub stats: Arc<dyn LookupStats>,
}

impl fmt::Debug for DnsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsConfig")
            .field("lookups_per_second", &self.lookups_per_second)
            .finish_non_exhaustive()
    }
}

/// A change in the DNS of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsUpdate {
    /// The cluster.
    pub key: ClusterKey,
    /// DNS is ahead of the topology: it names another writer, or a reader that is not a member. Poll RDS now.
    pub ahead_of_rds: bool,
    /// The instance that all of the last samples of the cluster endpoint named.
    pub writer: Option<InstanceId>,
    /// A reconcile may decide differently.
    pub wake: bool,
}

#[derive(Debug)]
pub(super) struct SamplerShared {
    pub(super) config: DnsConfig,
    pub(super) limiter: LookupLimiter,
    pub(super) batches: Arc<BatchQueue>,
    pub(super) stop: CancellationToken,
    /// By key. Keys that name one cluster, with different roles for example, share its sampler.
    pub(super) clusters: Mutex<HashMap<ClusterKey, Arc<SampledCluster>>>,
    pub(super) listeners: Mutex<Vec<mpsc::UnboundedSender<DnsUpdate>>>,
}

/// One cluster: its samples, and the signals to its task.
#[derive(Debug)]
pub(super) struct SampledCluster {
    /// The cluster's ARN.
    pub(super) arn: String,
    pub(super) names: Mutex<ClusterNames>,
    /// When its endpoints had their last turn at the fast rate.
    pub(super) last_turn: LastTurn,
    /// Signals that the names or the interval have changed.
    pub(super) names_changed: Notify,
    pub(super) stop: CancellationToken,
}

impl SampledCluster {
    pub(super) fn lock_names(&self) -> MutexGuard<'_, ClusterNames> {
        self.names.lock()
    }
}

impl WaitingCluster for SampledCluster {
    fn wanted_batch(&self, now: Instant) -> Option<WantedBatch> {
        self.lock_names().wanted_batch(now)
    }

    fn last_turn(&self) -> &LastTurn {
        &self.last_turn
    }
}

impl SamplerShared {
    pub(super) fn lock_clusters(&self) -> MutexGuard<'_, HashMap<ClusterKey, Arc<SampledCluster>>> {
        self.clusters.lock()
    }

    pub(super) fn lock_listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<DnsUpdate>>> {
        self.listeners.lock()
    }

    /// Returns the keys that name this cluster.
    pub(super) fn keys_of(&self, sampled: &Arc<SampledCluster>) -> Vec<ClusterKey> {
        let clusters = self.lock_clusters();
        let named = clusters.iter().filter(|(_, c)| Arc::ptr_eq(c, sampled));
        named.map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn notify_listeners(&self, update: &DnsUpdate) {
        // Closed channels are removed.
        self.lock_listeners()
            .retain(|listener| listener.unbounded_send(update.clone()).is_ok());
    }
}
