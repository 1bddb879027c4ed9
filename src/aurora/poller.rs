//! The pollers: one task per account role and region, whatever the number of policies.
//!
//! Decides when to read and keeps what was read. It must not judge readings (`sight` and `domain::tracker` do),
//! and a source that fails or hangs must never hold up another one. Time comes from tokio for the pace, and from
//! the injected clock for what is told.

mod state;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use futures::channel::mpsc;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use state::PollerConfig;

use super::access::ClusterKey;
use super::snapshot::{ClusterSnapshot, PolledCluster};
use dbbalance_core::topology::{InstanceId, Topology};
use state::{PolledSource, PollerShared};

/// All pollers of the operator. Clones are the same pollers.
#[derive(Clone, Debug)]
pub struct Pollers {
    shared: Arc<PollerShared>,
}

impl Pollers {
    /// No poller yet. All of them end with `stop`.
    #[must_use]
    pub fn new(config: PollerConfig, stop: CancellationToken) -> Self {
        let shared = PollerShared {
            config,
            stop,
            seats: Mutex::default(),
            listeners: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Reads this cluster from now on, at once at first. Watching it again does nothing, but that a hint is taken
    /// if none was there and nothing has been read yet. `hint` is the topology that the policy's status remembers.
    ///
    /// Must be called within a tokio runtime.
    pub fn watch(&self, key: &ClusterKey, hint: Option<Topology>) {
        let mut seats = self.shared.lock_sources();
        let seat = match seats.entry(key.source.clone()) {
            Slot::Occupied(seat) => Arc::clone(seat.get()),
            Slot::Vacant(slot) => {
                let seat = Arc::new(PolledSource {
                    source: key.source.clone(),
                    clusters: Mutex::default(),
                    arrival: Notify::new(),
                    poke: Notify::new(),
                    stop: self.shared.stop.child_token(),
                });
                let allowed = self.shared.config.allowed.check(&key.source);
                if allowed.is_ok() {
                    tokio::spawn(task::run_poller(
                        Arc::clone(&self.shared),
                        Arc::clone(&seat),
                    ));
                }
                Arc::clone(slot.insert(seat))
            }
        };
        let mut clusters = seat.lock_clusters();
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
        seat.arrival.notify_one();
    }

    /// Reads this cluster's source now, as soon as its bucket lets it: DNS has shown something new. A source that
    /// fails is not read sooner for it.
    pub fn poll_now(&self, key: &ClusterKey) {
        if let Some(seat) = self.shared.lock_sources().get(&key.source) {
            seat.poke.notify_one();
        }
    }

    /// Takes in which instance DNS agrees to be the writer; `None` if it does not agree on any.
    pub fn set_dns_writer(&self, key: &ClusterKey, writer: Option<InstanceId>) {
        let seat = self.shared.lock_sources().get(&key.source).map(Arc::clone);
        if let Some(seat) = seat
            && let Some(entry) = seat.lock_clusters().get_mut(&key.cluster)
        {
            entry.set_dns_writer(writer);
        }
    }

    /// Forgets all other clusters, and ends the pollers that have none left.
    pub fn retain(&self, keys: &HashSet<ClusterKey>) {
        self.shared.lock_sources().retain(|source, seat| {
            let mut clusters = seat.lock_clusters();
            clusters.retain(|cluster, _| {
                keys.contains(&ClusterKey {
                    source: source.clone(),
                    cluster: cluster.clone(),
                })
            });
            if clusters.is_empty() {
                seat.stop.cancel();
            }
            !clusters.is_empty()
        });
    }

    /// What is known of this cluster now. Of one that is not watched: nothing, pending.
    #[must_use]
    pub fn snapshot(&self, key: &ClusterKey) -> ClusterSnapshot {
        let seat = self.shared.lock_sources().get(&key.source).map(Arc::clone);
        seat.and_then(|seat| {
            seat.lock_clusters()
                .get(&key.cluster)
                .map(|entry| entry.snapshot().clone())
        })
        .unwrap_or_default()
    }

    /// The clusters whose sight changes from now on, in a way that a reconcile must see: view, observation, moving
    /// or not. Polls that tell nothing new are silent.
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<ClusterKey> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}
