//! DNS as pods see it: looks at the endpoints of every watched cluster, and keeps what was answered.
//!
//! - [`resolver`] asks the resolver that pods use, without a cache of its own;
//! - `names` holds what is known of one cluster's names, and says what of it is news;
//! - `task` looks at them at the right pace, one task a cluster, under one bucket for all.
//!
//! It tells what was answered and decides nothing: what DNS must say before an epoch opens is in `domain::dns`.

mod cluster_names;
pub mod resolver;
mod task;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::channel::mpsc;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::poller::{Clock, ClusterKey};
use crate::rate_limit::Bucket;
use cluster_names::ClusterNames;
use dbbalance_core::dns::DnsView;
use dbbalance_core::topology::{ClusterView, InstanceId};

/// The kind of address that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpFamily {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// What a resolver answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsAnswer {
    /// The addresses, at least one, in the order of the answer.
    pub addresses: Vec<IpAddr>,
    /// The names that the asked one is an alias of, first to last, as answered.
    pub aliases: Vec<String>,
    /// The shortest TTL of the answer's records, in seconds.
    pub ttl: u32,
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookupError {
    /// The name does not exist.
    NoSuchName,
    /// The name exists, without an address of this kind.
    NoAddress,
    /// The resolver failed or refused.
    Refused,
    /// No answer came in time.
    Unanswered,
}

impl LookupError {
    /// In words, for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NoSuchName => "NXDOMAIN: the name does not exist",
            Self::NoAddress => "the name has no address",
            Self::Refused => "the resolver failed or refused",
            Self::Unanswered => "the resolver did not answer in time",
        }
    }
}

/// How a look-up ended, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LookupResult {
    /// With an address.
    Ok,
    /// Without.
    Failed(LookupError),
}

impl LookupResult {
    /// All results.
    pub const ALL: [Self; 5] = [
        Self::Ok,
        Self::Failed(LookupError::NoSuchName),
        Self::Failed(LookupError::NoAddress),
        Self::Failed(LookupError::Refused),
        Self::Failed(LookupError::Unanswered),
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "Ok",
            Self::Failed(LookupError::NoSuchName) => "NoSuchName",
            Self::Failed(LookupError::NoAddress) => "NoAddress",
            Self::Failed(LookupError::Refused) => "Refused",
            Self::Failed(LookupError::Unanswered) => "Unanswered",
        }
    }
}

/// Something that resolves names: the resolver that pods use, or a test.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// Asks once, without a cache of its own. The name is whole: no search domain may be tried.
    ///
    /// # Errors
    /// Why there is no address.
    async fn resolve(&self, name: &str, family: IpFamily) -> Result<DnsAnswer, LookupError>;
}

/// Counts look-ups; metrics implement it. Must not block.
pub trait LookupStats: Send + Sync {
    /// A look-up has ended.
    fn count_lookup(&self, result: LookupResult);
}

impl LookupStats for super::NoStats {
    fn count_lookup(&self, _: LookupResult) {}
}

/// What the looking works with.
#[derive(Clone)]
pub struct DnsConfig {
    /// Resolves names.
    pub resolver: Arc<dyn Resolve>,
    /// The most look-ups a second, over all clusters.
    pub lookups_per_second: u32,
    /// Dates looks.
    pub clock: Clock,
    /// Counts look-ups.
    pub stats: Arc<dyn LookupStats>,
}

impl fmt::Debug for DnsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsConfig")
            .field("lookups_per_second", &self.lookups_per_second)
            .finish_non_exhaustive()
    }
}

/// Something that others must hear of a cluster's DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsUpdate {
    /// The cluster.
    pub key: ClusterKey,
    /// DNS seems to know more than the topology: another writer, or a reader that is no member. Ask RDS now.
    pub ahead_of_rds: bool,
    /// The instance that the last looks at the cluster endpoint all named.
    pub writer: Option<InstanceId>,
    /// A reconcile may decide otherwise.
    pub wake: bool,
}

/// The looks at all watched clusters. Clones are the same.
#[derive(Clone, Debug)]
pub struct DnsWatch {
    shared: Arc<DnsShared>,
}

#[derive(Debug)]
struct DnsShared {
    config: DnsConfig,
    bucket: Bucket,
    stop: CancellationToken,
    seats: Mutex<HashMap<ClusterKey, Arc<SampledCluster>>>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<DnsUpdate>>>,
}

/// One cluster: what is known of its names, and the way to its task.
#[derive(Debug)]
struct SampledCluster {
    key: ClusterKey,
    names: Mutex<ClusterNames>,
    /// The names or the pace have changed.
    stirred: Notify,
    stop: CancellationToken,
}

impl SampledCluster {
    fn lock_names(&self) -> MutexGuard<'_, ClusterNames> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DnsWatch {
    /// Looks at nothing yet. All looking ends with `stop`.
    #[must_use]
    pub fn new(config: DnsConfig, stop: CancellationToken) -> Self {
        // One at a time: a burst would ask one cache, and tell of one moment.
        let interval = Duration::from_secs(1) / config.lookups_per_second.max(1);
        let shared = DnsShared {
            bucket: Bucket::new(interval, 1),
            config,
            stop,
            seats: Mutex::default(),
            listeners: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Looks at this cluster's names from now on: those of its view as last read.
    ///
    /// Must be called within a tokio runtime.
    pub fn watch(&self, key: &ClusterKey, view: &ClusterView) {
        let now = (self.shared.config.clock)();
        let seat = match self.shared.lock_clusters().entry(key.clone()) {
            Slot::Occupied(seat) => Arc::clone(seat.get()),
            Slot::Vacant(slot) => {
                let seat = Arc::new(SampledCluster {
                    key: key.clone(),
                    names: Mutex::default(),
                    stirred: Notify::new(),
                    stop: self.shared.stop.child_token(),
                });
                tokio::spawn(task::run_sampler(
                    Arc::clone(&self.shared),
                    Arc::clone(&seat),
                ));
                Arc::clone(slot.insert(seat))
            }
        };
        if seat.lock_names().set_view(view, now) {
            seat.stirred.notify_one();
        }
    }

    /// Remembers where instances of this cluster were seen by whoever recorded it, so that a new leader recognises
    /// connections to what is gone. What was looked up counts more. A cluster that is not watched remembers nothing.
    pub fn seed_addresses(&self, key: &ClusterKey, addresses: &[(InstanceId, IpAddr)]) {
        let now = (self.shared.config.clock)();
        if let Some(seat) = self.shared.lock_clusters().get(key) {
            seat.lock_names().seed_addresses(addresses, now);
        }
    }

    /// Looks eight times a second at the cluster and reader endpoint until then, within the bound of all clusters.
    /// A cluster that is not watched is not looked at.
    pub fn boost_until(&self, key: &ClusterKey, until: Timestamp) {
        let now = (self.shared.config.clock)();
        let Ok(span) = Duration::try_from(until.duration_since(now)) else {
            return;
        };
        if let Some(seat) = self.shared.lock_clusters().get(key)
            && seat.lock_names().boost_until(Instant::now() + span)
        {
            seat.stirred.notify_one();
        }
    }

    /// What is known of this cluster's DNS now; of one that is not watched: nothing.
    #[must_use]
    pub fn view(&self, key: &ClusterKey) -> Arc<DnsView> {
        let seat = self.shared.lock_clusters().get(key).map(Arc::clone);
        seat.map(|seat| seat.lock_names().view())
            .unwrap_or_default()
    }

    /// Forgets all other clusters.
    pub fn retain(&self, keys: &HashSet<ClusterKey>) {
        self.shared.lock_clusters().retain(|key, seat| {
            let kept = keys.contains(key);
            if !kept {
                seat.stop.cancel();
            }
            kept
        });
    }

    /// News of all clusters from now on. Looks that tell nothing new are silent.
    #[must_use]
    pub fn updates(&self) -> mpsc::UnboundedReceiver<DnsUpdate> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}

impl DnsShared {
    fn lock_clusters(&self) -> MutexGuard<'_, HashMap<ClusterKey, Arc<SampledCluster>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<DnsUpdate>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn notify_listeners(&self, news: &DnsUpdate) {
        // A listener that is gone is forgotten.
        self.lock_listeners()
            .retain(|listener| listener.unbounded_send(news.clone()).is_ok());
    }
}
