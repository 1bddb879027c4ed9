//! Samples the DNS of clusters' endpoints as pods see it.
//!
//! - [`resolver`] asks the resolver that pods use, without a cache of its own.
//! - `cluster_names` holds the samples of one cluster and reports what has changed.
//! - `task` samples one cluster; all tasks share one `limiter`.
//!
//! `dbbalance_core::dns` decides what DNS must answer before an epoch opens.

mod cluster_names;
mod limiter;
mod lookup;
mod question;
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
use dbbalance_core::dns::DnsView;
use dbbalance_core::topology::{ClusterView, InstanceId};
use limiter::LookupLimiter;
use state::{SampledCluster, SamplerShared};

/// The samplers of all watched clusters. Clones share them.
#[derive(Clone, Debug)]
pub struct DnsWatch {
    shared: Arc<SamplerShared>,
}

impl DnsWatch {
    /// Returns a set without samplers. `stop` ends all of them.
    #[must_use]
    pub fn new(config: DnsConfig, stop: CancellationToken) -> Self {
        let shared = SamplerShared {
            limiter: LookupLimiter::new(config.lookups_per_second),
            config,
            stop,
            clusters: Mutex::default(),
            listeners: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Samples the endpoints of this cluster from now on: those of its last view.
    ///
    /// Must be called within a tokio runtime.
    pub fn watch(&self, key: &ClusterKey, view: &ClusterView) {
        let now = (self.shared.config.clock)();
        let sampled = match self.shared.lock_clusters().entry(key.clone()) {
            Slot::Occupied(sampled) => Arc::clone(sampled.get()),
            Slot::Vacant(slot) => {
                let sampled = Arc::new(SampledCluster {
                    key: key.clone(),
                    names: Mutex::default(),
                    names_changed: Notify::new(),
                    stop: self.shared.stop.child_token(),
                });
                tokio::spawn(task::run_sampler(
                    Arc::clone(&self.shared),
                    Arc::clone(&sampled),
                ));
                Arc::clone(slot.insert(sampled))
            }
        };
        if sampled.lock_names().set_view(view, now) {
            sampled.names_changed.notify_one();
        }
    }

    /// Adds addresses of instances that the status has recorded, so that a new leader recognizes connections to removed
    /// instances. They do not replace looked-up addresses. Does nothing for a cluster that is not watched.
    pub fn seed_addresses(&self, key: &ClusterKey, addresses: &[(InstanceId, IpAddr)]) {
        let now = (self.shared.config.clock)();
        if let Some(sampled) = self.shared.lock_clusters().get(key) {
            sampled.lock_names().seed_addresses(addresses, now);
        }
    }

    /// Samples the cluster and reader endpoints eight times a second until then, within the rate limit of all clusters.
    /// Does nothing for a cluster that is not watched.
    pub fn boost_until(&self, key: &ClusterKey, until: Timestamp) {
        let now = (self.shared.config.clock)();
        let Ok(span) = Duration::try_from(until.duration_since(now)) else {
            return;
        };
        if let Some(sampled) = self.shared.lock_clusters().get(key)
            && sampled.lock_names().boost_until(Instant::now() + span)
        {
            sampled.names_changed.notify_one();
        }
    }

    /// Returns the samples and addresses of this cluster; none if it is not watched.
    #[must_use]
    pub fn view(&self, key: &ClusterKey) -> Arc<DnsView> {
        let sampled = self.shared.lock_clusters().get(key).map(Arc::clone);
        sampled
            .map(|sampled| sampled.lock_names().view())
            .unwrap_or_default()
    }

    /// Drops all other clusters and stops their samplers.
    pub fn retain(&self, keys: &HashSet<ClusterKey>) {
        self.shared.lock_clusters().retain(|key, sampled| {
            let kept = keys.contains(key);
            if !kept {
                sampled.stop.cancel();
            }
            kept
        });
    }

    /// Returns the updates of all clusters from now on. Samples that change nothing are left out.
    #[must_use]
    pub fn updates(&self) -> mpsc::UnboundedReceiver<DnsUpdate> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}
