//! What all reconciles share: clients, caches, lease, pollers and in-memory state.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;

use super::header_checks::HeaderChecks;
use super::ledger::Ledger;
use super::record_queue::RecordQueue;
use super::state_cache::StateCache;
use crate::aurora::access::{ClusterKey, RoleAllowList};
use crate::aurora::bindings::{BindingVerdict, ClusterBindings, ClusterRequest};
use crate::aurora::dns::DnsWatch;
use crate::aurora::poller::Pollers;
use crate::k8s::events::Events;
use crate::k8s::lease::Leadership;
use crate::k8s::steering::SteeredNames;
use crate::k8s::watch::Stores;
use crate::metrics::Metrics;
use crate::rate_limit::EffectLimiter;
use crate::sockets::Probe;
use dbbalance_api::DbBalancePolicy;
use dbbalance_kube::clients::Clients;
use dbbalance_kube::methods::http::PodCaller;

/// Shared by all reconciles.
pub struct Context {
    /// Clients of the API server.
    pub clients: Clients,
    /// Caches.
    pub stores: Stores,
    /// Whether this replica is the leader.
    pub leadership: Leadership,
    /// Polls the topologies of clusters.
    pub pollers: Pollers,
    /// Samples the DNS of clusters' endpoints.
    pub dns: DnsWatch,
    /// The names that may be narrowed.
    pub names: SteeredNames,
    /// Roles that policies may name. The pollers hold the same list.
    pub allowed_roles: RoleAllowList,
    /// Which namespaces may name which clusters.
    pub bindings: ClusterBindings,
    /// Namespaces with the right that method Signal needs; `*` is all.
    pub signal_namespaces: Vec<String>,
    /// Namespaces with the right that evidence by `ProcNet` needs; `*` is all.
    pub evidence_namespaces: Vec<String>,
    /// The region of policies that do not name one.
    pub default_region: String,
    /// Limits the rate of effects over all policies.
    pub effect_limiter: EffectLimiter,
    /// Writes on pods that only record something.
    pub records: RecordQueue,
    /// Reads the sockets of pods.
    pub probe: Probe,
    /// HTTP client for pods' hooks.
    pub pod_caller: PodCaller,
    /// Whether the Secrets of hooks can be read.
    pub header_checks: HeaderChecks,
    /// Writes events on policies.
    pub events: Events,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// In-memory state of policies; safe to lose.
    pub state: StateCache,
    /// What policies hold of their clusters.
    pub ledger: Ledger,
    /// Consecutive failed reconciles, by policy UID.
    pub failures: Mutex<HashMap<String, u32>>,
    /// Returns the current time.
    pub clock: fn() -> Timestamp,
}

/// The part of the context that effects use.
#[derive(Clone, Copy)]
pub struct EffectContext<'a> {
    /// The client without retries.
    pub client: &'a Client,
    /// Caches, for the pod as it was planned.
    pub stores: &'a Stores,
    /// Whether this replica is the leader.
    pub leadership: &'a Leadership,
    /// The names that may be narrowed.
    pub names: &'a SteeredNames,
    /// Looks up instances.
    pub dns: &'a DnsWatch,
    /// Limits the rate of effects over all policies.
    pub limiter: &'a EffectLimiter,
    /// Writes on pods that only record something.
    pub records: &'a RecordQueue,
    /// HTTP client for pods' hooks.
    pub pod_caller: &'a PodCaller,
    /// Opens epochs.
    pub events: &'a Events,
    /// Metrics.
    pub metrics: &'a Metrics,
    /// In-memory state of policies.
    pub state: &'a StateCache,
    /// Returns the current time.
    pub clock: fn() -> Timestamp,
}

/// The part of the context that the report uses.
#[derive(Clone, Copy)]
pub struct ReportContext<'a> {
    /// The client with retries.
    pub client: &'a Client,
    /// Whether this replica is the leader.
    pub leadership: &'a Leadership,
    /// Writes events on policies.
    pub events: &'a Events,
    /// Metrics.
    pub metrics: &'a Metrics,
    /// In-memory state of policies.
    pub state: &'a StateCache,
    /// Returns the current time.
    pub clock: fn() -> Timestamp,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("default_region", &self.default_region)
            .finish_non_exhaustive()
    }
}

/// The first and the longest delay after a failed reconcile.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

impl Context {
    /// Returns the part that effects use.
    #[must_use]
    pub fn for_effects(&self) -> EffectContext<'_> {
        EffectContext {
            client: &self.clients.effects,
            stores: &self.stores,
            leadership: &self.leadership,
            names: &self.names,
            dns: &self.dns,
            limiter: &self.effect_limiter,
            records: &self.records,
            pod_caller: &self.pod_caller,
            events: &self.events,
            metrics: &self.metrics,
            state: &self.state,
            clock: self.clock,
        }
    }

    /// Returns the part that the report uses.
    #[must_use]
    pub fn for_report(&self) -> ReportContext<'_> {
        ReportContext {
            client: &self.clients.normal,
            leadership: &self.leadership,
            events: &self.events,
            metrics: &self.metrics,
            state: &self.state,
            clock: self.clock,
        }
    }

    /// Checks whether a policy's namespace may name this cluster, whose ARN is known once it was read.
    #[must_use]
    pub fn check_binding(
        &self,
        policy: &DbBalancePolicy,
        key: &ClusterKey,
        arn: Option<&str>,
    ) -> BindingVerdict {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        let labels = self.stores.namespace_labels(namespace);
        self.bindings.check(ClusterRequest {
            namespace,
            labels: labels.as_ref(),
            key,
            arn,
        })
    }

    /// Returns whether method Signal is granted in the namespace.
    #[must_use]
    pub fn may_signal_in(&self, namespace: &str) -> bool {
        is_listed(&self.signal_namespaces, namespace)
    }

    /// Returns whether evidence by `ProcNet` is granted in the namespace: by its own list, or by that of method Signal,
    /// because both need the same right.
    #[must_use]
    pub fn may_measure_in(&self, namespace: &str) -> bool {
        is_listed(&self.evidence_namespaces, namespace) || self.may_signal_in(namespace)
    }

    /// Counts a failed reconcile of this policy. Returns how many there were in a row.
    pub fn count_failure(&self, uid: &str) -> u32 {
        let mut failures = self.failures.lock();
        let count = failures.entry(uid.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        *count
    }

    /// Resets the delay after a successful reconcile.
    pub fn reset_backoff(&self, uid: &str) {
        self.failures.lock().remove(uid);
    }

    /// Forgets the failures of all other policies.
    pub fn retain_failures(&self, uids: &HashSet<&str>) {
        self.failures
            .lock()
            .retain(|uid, _| uids.contains(uid.as_str()));
    }
}

/// Returns the delay after so many failed reconciles in a row. It doubles with each.
#[must_use]
pub fn backoff_after(failures: u32) -> Duration {
    BACKOFF
        .0
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF.1)
}

fn is_listed(namespaces: &[String], namespace: &str) -> bool {
    namespaces.iter().any(|n| n == "*" || n == namespace)
}

#[cfg(test)]
mod tests {
    use super::is_listed;

    #[test]
    fn a_namespace_is_listed_by_name_or_by_a_star() {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert!(is_listed(&list(&["shop", "pay"]), "pay"));
        assert!(is_listed(&list(&["*"]), "pay"));
        assert!(!is_listed(&list(&["shop"]), "pay"));
        assert!(!is_listed(&[], "shop"));
    }
}
