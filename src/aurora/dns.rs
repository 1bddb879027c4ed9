//! Samples the DNS of clusters' endpoints as pods see it.
//!
//! - [`resolver`] asks the resolver that pods use, without a cache of its own.
//! - `cluster_names` holds the samples of one cluster and reports what has changed.
//! - `steered` holds the looks at names that are narrowed now.
//! - `task` samples one cluster; all tasks share one `limiter`.
//!
//! `dbbalance_core::dns` decides what DNS must answer before an epoch opens.

mod cluster_names;
mod limiter;
mod lookup;
mod question;
pub mod resolver;
mod state;
mod steered;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
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
pub use steered::NameLooks;

use super::access::ClusterKey;
use dbbalance_core::dns::DnsView;
use dbbalance_core::topology::{ClusterView, InstanceId};
use limiter::{LookupLimiter, LookupPriority};
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
        let sampled = self.sampler_for(key, &view.topology.arn);
        if sampled.lock_names().set_view(view, now) {
            sampled.names_changed.notify_one();
        }
    }

    /// Returns the sampler of the cluster with this ARN for the key, and starts it if there is none. A cluster has one
    /// sampler and one address book, however many keys name it.
    fn sampler_for(&self, key: &ClusterKey, arn: &str) -> Arc<SampledCluster> {
        let mut clusters = self.shared.lock_clusters();
        if let Some(sampled) = clusters.get(key).filter(|sampled| sampled.arn == arn) {
            return Arc::clone(sampled);
        }
        let other = clusters.values().find(|sampled| sampled.arn == arn);
        let sampled = other.map_or_else(
            || {
                let sampled = Arc::new(SampledCluster {
                    arn: arn.to_owned(),
                    names: Mutex::default(),
                    names_changed: Notify::new(),
                    stop: self.shared.stop.child_token(),
                });
                tokio::spawn(task::run_sampler(
                    Arc::clone(&self.shared),
                    Arc::clone(&sampled),
                ));
                sampled
            },
            Arc::clone,
        );
        let before = clusters.insert(key.clone(), Arc::clone(&sampled));
        stop_unused(&clusters, before.into_iter());
        sampled
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

    /// Looks at a name of this cluster that is narrowed: ten times a second at each name server, each time over a new
    /// socket. Does nothing for a cluster that is not watched.
    pub fn look_at(&self, key: &ClusterKey, name: &str) {
        let servers = self.shared.config.resolver.count_servers();
        if let Some(sampled) = self.shared.lock_clusters().get(key)
            && sampled.lock_names().steered.start(name, servers)
        {
            sampled.names_changed.notify_one();
        }
    }

    /// Looks at a name no more, because it is not narrowed any more.
    pub fn look_away(&self, key: &ClusterKey, name: &str) {
        if let Some(sampled) = self.shared.lock_clusters().get(key) {
            sampled.lock_names().steered.stop(name);
        }
    }

    /// Returns the looks at a name of this cluster.
    #[must_use]
    pub fn name_looks(&self, key: &ClusterKey, name: &str) -> NameLooks {
        let sampled = self.shared.lock_clusters().get(key).map(Arc::clone);
        sampled
            .map(|sampled| sampled.lock_names().steered.view(name))
            .unwrap_or_default()
    }

    /// Looks up the endpoint of an instance now, and returns its IPv4 addresses and when they were asked for. `None` if the
    /// RDS API gave no endpoint of this instance of the cluster, or the look-up fails.
    pub async fn look_up_instance(
        &self,
        key: &ClusterKey,
        instance: &InstanceId,
    ) -> Option<(Vec<IpAddr>, Timestamp)> {
        let sampled = self.shared.lock_clusters().get(key).map(Arc::clone)?;
        let endpoint = sampled.lock_names().endpoint_of(instance)?;
        self.shared.limiter.acquire(LookupPriority::Awaited).await;
        let config = &self.shared.config;
        let at = (config.clock)();
        let answer = config.resolver.resolve(&endpoint, IpFamily::V4).await;
        config.stats.count_lookup(LookupResult::of(&answer));
        let addresses = answer.ok()?.addresses;
        sampled
            .lock_names()
            .record_instance(instance, &addresses, at);
        Some((addresses, at))
    }

    /// Drops all other clusters and stops their samplers.
    pub fn retain(&self, keys: &HashSet<ClusterKey>) {
        let mut clusters = self.shared.lock_clusters();
        let mut dropped = Vec::new();
        clusters.retain(|key, sampled| {
            let kept = keys.contains(key);
            if !kept {
                dropped.push(Arc::clone(sampled));
            }
            kept
        });
        stop_unused(&clusters, dropped.into_iter());
    }

    /// Returns the updates of all clusters from now on. Samples that change nothing are left out.
    #[must_use]
    pub fn updates(&self) -> mpsc::UnboundedReceiver<DnsUpdate> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}

/// Stops those samplers that no key leads to.
fn stop_unused(
    clusters: &HashMap<ClusterKey, Arc<SampledCluster>>,
    dropped: impl Iterator<Item = Arc<SampledCluster>>,
) {
    for sampled in dropped {
        if !clusters.values().any(|kept| Arc::ptr_eq(kept, &sampled)) {
            sampled.stop.cancel();
        }
    }
}
