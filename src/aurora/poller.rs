//! Polls the RDS API: one task for each role and region, whatever the number of policies.
//!
//! A source that fails or hangs does not delay another one. Delays use tokio's clock, times of readings the injected one.

mod state;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use futures::channel::mpsc;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use state::PollerConfig;

use super::access::ClusterKey;
use super::snapshot::{ClusterSnapshot, PolledCluster};
use dbbalance_core::topology::{ClusterView, InstanceId, Topology};
use state::{PolledSource, PollerShared};

/// All pollers of the operator. Clones share them.
#[derive(Clone, Debug)]
pub struct Pollers {
    shared: Arc<PollerShared>,
}

impl Pollers {
    /// Returns a set without pollers. `stop` ends all of them.
    #[must_use]
    pub fn new(config: PollerConfig, stop: CancellationToken) -> Self {
        let shared = PollerShared {
            config,
            stop,
            sources: Mutex::default(),
            listeners: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Polls this cluster from now on, at once for the first time. `hint` is the topology in the policy's status; it is
    /// used until the first reading. Calling it again only adds a missing hint.
    ///
    /// Must be called within a tokio runtime.
    pub fn watch(&self, key: &ClusterKey, hint: Option<Topology>) {
        let mut sources = self.shared.lock_sources();
        let polled_source = match sources.entry(key.source.clone()) {
            Slot::Occupied(polled_source) => Arc::clone(polled_source.get()),
            Slot::Vacant(slot) => {
                let polled_source = Arc::new(PolledSource {
                    source: key.source.clone(),
                    clusters: Mutex::default(),
                    new_cluster: Notify::new(),
                    poll_request: Notify::new(),
                    stop: self.shared.stop.child_token(),
                });
                let allowed = self.shared.config.allowed.check(&key.source);
                if allowed.is_ok() {
                    tokio::spawn(task::run_poller(
                        Arc::clone(&self.shared),
                        Arc::clone(&polled_source),
                    ));
                }
                Arc::clone(slot.insert(polled_source))
            }
        };
        let mut clusters = polled_source.lock_clusters();
        if let Some(entry) = clusters.get_mut(&key.cluster) {
            if let Some(hint) = hint {
                entry.seed(hint);
            }
            return;
        }
        let mut entry = PolledCluster::new(hint);
        if let Err(error) = self.shared.config.allowed.check(&key.source) {
            entry.record_refusal(error.reason(), &error.to_string());
        }
        clusters.insert(key.cluster.clone(), entry);
        polled_source.new_cluster.notify_one();
    }

    /// Polls this cluster's source as soon as its bucket allows, because DNS shows a change. A failing source keeps its
    /// backoff.
    pub fn poll_now(&self, key: &ClusterKey) {
        if let Some(polled_source) = self.shared.lock_sources().get(&key.source) {
            polled_source.poll_request.notify_one();
        }
    }

    /// Sets the instance that DNS samples agree to be the writer; `None` if they do not agree.
    pub fn set_dns_writer(&self, key: &ClusterKey, writer: Option<InstanceId>) {
        let polled_source = self.shared.lock_sources().get(&key.source).map(Arc::clone);
        if let Some(polled_source) = polled_source
            && let Some(entry) = polled_source.lock_clusters().get_mut(&key.cluster)
        {
            entry.set_dns_writer(writer);
        }
    }

    /// Drops all other clusters, and stops the pollers that have none left.
    pub fn retain(&self, keys: &HashSet<ClusterKey>) {
        self.shared.lock_sources().retain(|source, polled_source| {
            let mut clusters = polled_source.lock_clusters();
            clusters.retain(|cluster, _| {
                keys.contains(&ClusterKey {
                    source: source.clone(),
                    cluster: cluster.clone(),
                })
            });
            if clusters.is_empty() {
                polled_source.stop.cancel();
            }
            !clusters.is_empty()
        });
    }

    /// Returns what is known of this cluster now; an empty, pending snapshot if it is not polled.
    #[must_use]
    pub fn snapshot(&self, key: &ClusterKey) -> ClusterSnapshot {
        let polled_source = self.shared.lock_sources().get(&key.source).map(Arc::clone);
        polled_source
            .and_then(|polled_source| {
                polled_source
                    .lock_clusters()
                    .get(&key.cluster)
                    .map(|entry| entry.snapshot().clone())
            })
            .unwrap_or_default()
    }

    /// Returns the view of the cluster with this ARN that was confirmed last, by whichever source; `None` if no source has
    /// read the cluster.
    #[must_use]
    pub fn freshest_view(&self, arn: &str) -> Option<Arc<ClusterView>> {
        let sources: Vec<_> = self.shared.lock_sources().values().cloned().collect();
        let mut freshest: Option<(Option<Timestamp>, Arc<ClusterView>)> = None;
        for source in sources {
            for entry in source.lock_clusters().values() {
                let snapshot = entry.snapshot();
                let Some(view) = snapshot.view.as_ref().filter(|v| v.topology.arn == arn) else {
                    continue;
                };
                let is_fresher = freshest
                    .as_ref()
                    .is_none_or(|(at, _)| *at < snapshot.confirmed_at);
                if is_fresher {
                    freshest = Some((snapshot.confirmed_at, Arc::clone(view)));
                }
            }
        }
        freshest.map(|(_, view)| view)
    }

    /// Returns the clusters whose snapshot changes from now on, as far as a reconcile can decide differently: view,
    /// observation, moving or not.
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<ClusterKey> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}
