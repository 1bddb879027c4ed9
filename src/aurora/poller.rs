//! The pollers: one task per account role and region, whatever the number of policies.
//!
//! Decides when to read and keeps what was read. It must not judge readings (`sight` and `domain::tracker` do),
//! and a source that fails or hangs must never hold up another one. Time comes from tokio for the pace, and from
//! the injected clock for what is told.

mod task;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::access::{RoleAllowList, SourceKey};
use super::cadence::Cadence;
use super::snapshot::{ClusterSnapshot, PolledCluster};
use super::{ClusterSource, ErrorClass, SourceFactory};
use dbbalance_core::topology::{ClusterId, InstanceId, Topology};

/// One cluster, and by whose right it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// The account role and the region.
    pub source: SourceKey,
    /// The cluster.
    pub cluster: ClusterId,
}

/// How a poll ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PollResult {
    /// All readings were whole, or told for certain why there is none.
    Ok,
    /// AWS throttles.
    Throttled,
    /// AWS denies, or there are no credentials.
    Denied,
    /// AWS could not be reached, failed or refused.
    Failed,
    /// The answer was not whole, of one cluster at least.
    NotWhole,
}

impl PollResult {
    /// All results.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Throttled,
        Self::Denied,
        Self::Failed,
        Self::NotWhole,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "Ok",
            Self::Throttled => "Throttled",
            Self::Denied => "Denied",
            Self::Failed => "Failed",
            Self::NotWhole => "NotWhole",
        }
    }
}

impl From<ErrorClass> for PollResult {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Throttled => Self::Throttled,
            ErrorClass::Denied => Self::Denied,
            ErrorClass::Transient | ErrorClass::Permanent => Self::Failed,
            ErrorClass::NotWhole => Self::NotWhole,
        }
    }
}

/// Counts polls; metrics implement it. Called from the poller's task, so it must not block.
pub trait PollStats: Send + Sync {
    /// A poll of this source has ended, at `at`.
    fn count_poll(&self, source: &SourceKey, result: PollResult, at: Timestamp);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStats;

impl PollStats for NoStats {
    fn count_poll(&self, _: &SourceKey, _: PollResult, _: Timestamp) {}
}

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the pollers work with.
#[derive(Clone)]
pub struct PollerConfig {
    /// Makes the sources.
    pub factory: Arc<dyn SourceFactory>,
    /// The pace.
    pub cadence: Cadence,
    /// The roles that may be used. The factory holds the same list: here, for the answer to be immediate.
    pub allowed: RoleAllowList,
    /// Dates readings.
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

/// All pollers of the operator. Clones are the same pollers.
#[derive(Clone, Debug)]
pub struct Pollers {
    shared: Arc<PollerShared>,
}

#[derive(Debug)]
struct PollerShared {
    config: PollerConfig,
    stop: CancellationToken,
    seats: Mutex<HashMap<SourceKey, Arc<PolledSource>>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<ClusterKey>>>,
}

/// One source: what is read there, and the way to its task.
#[derive(Debug)]
struct PolledSource {
    source: SourceKey,
    clusters: Mutex<BTreeMap<ClusterId, PolledCluster>>,
    /// A new cluster is there.
    arrival: Notify,
    /// Somebody has reason to believe that something has changed.
    poke: Notify,
    stop: CancellationToken,
}

impl PolledSource {
    fn lock_clusters(&self) -> MutexGuard<'_, BTreeMap<ClusterId, PolledCluster>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

impl PollerShared {
    fn lock_sources(&self) -> MutexGuard<'_, HashMap<SourceKey, Arc<PolledSource>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<ClusterKey>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn notify_listeners(&self, key: &ClusterKey) {
        // A listener that is gone is forgotten.
        self.lock_listeners()
            .retain(|listener| listener.unbounded_send(key.clone()).is_ok());
    }
}
