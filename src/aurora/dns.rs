//! DNS as pods see it: looks at the endpoints of every watched cluster, and keeps what was answered.
//!
//! - [`resolver`] asks the resolver that pods use, without a cache of its own;
//! - `names` holds what is known of one cluster's names, and says what of it is news;
//! - `task` looks at them at the right pace, one task a cluster, under one bucket for all.
//!
//! It tells what was answered and decides nothing: what DNS must say before an epoch opens is in `domain::dns`.

mod cluster_names;
mod lookup;
pub mod resolver;
mod state;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::collections::hash_map::Entry as Slot;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use lookup::{IpFamily, LookupAnswer, LookupError, LookupResult, LookupStats, Resolve};
pub use state::{DnsConfig, DnsUpdate};

use super::access::ClusterKey;
use crate::rate_limit::Bucket;
use dbbalance_core::dns::DnsView;
use dbbalance_core::topology::{ClusterView, InstanceId};
use state::{SampledCluster, SamplerShared};

/// The looks at all watched clusters. Clones are the same.
#[derive(Clone, Debug)]
pub struct DnsWatch {
    shared: Arc<SamplerShared>,
}

impl DnsWatch {
    /// Looks at nothing yet. All looking ends with `stop`.
    #[must_use]
    pub fn new(config: DnsConfig, stop: CancellationToken) -> Self {
        // One at a time: a burst would ask one cache, and tell of one moment.
        let interval = Duration::from_secs(1) / config.lookups_per_second.max(1);
        let shared = SamplerShared {
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
