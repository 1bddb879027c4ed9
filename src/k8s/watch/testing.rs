//! Caches filled by tests, without an API server.
#![allow(clippy::unwrap_used)]

use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::Event;
use serde_json::Value;
use tokio::sync::broadcast;

use super::{ObjectKind, Stores, feed};
use dbbalance_api::DbBalancePolicy;

/// The writers of [`Stores`] that a test fills.
pub(crate) struct FilledStores {
    pub(crate) stores: Stores,
    policies: Writer<super::WatchedPolicy>,
    pods: feed::CacheFeed<super::Pod>,
    deployments: Writer<super::Deployment>,
    replica_sets: Writer<super::ReplicaSetMeta>,
    disruption_budgets: Writer<super::PodDisruptionBudget>,
}

impl FilledStores {
    /// Returns empty caches.
    pub(crate) fn new() -> Self {
        let (notices, _) = broadcast::channel(4096);
        let policies = Writer::default();
        let (pods, deployments, replica_sets) =
            (Writer::default(), Writer::default(), Writer::default());
        let disruption_budgets = Writer::default();
        let pod_index = super::pod_index::PodIndex::default();
        let stores = Stores {
            unread: super::unread::UnreadLists::default(),
            policies: policies.as_reader(),
            pods: pods.as_reader(),
            pod_index: pod_index.clone(),
            deployments: deployments.as_reader(),
            stateful_sets: Writer::default().as_reader(),
            daemon_sets: Writer::default().as_reader(),
            replica_sets: replica_sets.as_reader(),
            disruption_budgets: disruption_budgets.as_reader(),
            namespace_labels: None,
            notices: notices.clone(),
        };
        let pods = feed::CacheFeed {
            kind: ObjectKind::Pod,
            writer: pods,
            same: super::trim::is_same_pod,
            notices,
            index: Some(Box::new(move |store, event| pod_index.follow(store, event))),
        };
        Self {
            stores,
            policies,
            pods,
            deployments,
            replica_sets,
            disruption_budgets,
        }
    }

    /// Adds or replaces a policy.
    pub(crate) fn policy(&mut self, policy: &DbBalancePolicy) {
        let watched = DeserializeGuard(Ok(policy.clone()));
        self.policies.apply_watcher_event(&Event::Apply(watched));
    }

    /// Removes a policy.
    pub(crate) fn remove_policy(&mut self, policy: &DbBalancePolicy) {
        let watched = DeserializeGuard(Ok(policy.clone()));
        self.policies.apply_watcher_event(&Event::Delete(watched));
    }

    /// Adds or replaces a pod.
    pub(crate) fn pod(&mut self, pod: Value) {
        let pod = serde_json::from_value(pod).unwrap();
        self.pods.apply(&Event::Apply(pod));
    }

    /// Adds or replaces a `PodDisruptionBudget`.
    pub(crate) fn disruption_budget(&mut self, budget: Value) {
        let budget = serde_json::from_value(budget).unwrap();
        self.disruption_budgets
            .apply_watcher_event(&Event::Apply(budget));
    }

    /// Adds a Deployment and its one `ReplicaSet`, which is named after it.
    pub(crate) fn deployment(&mut self, deployment: Value, replica_set: Value) {
        let deployment = serde_json::from_value(deployment).unwrap();
        self.deployments
            .apply_watcher_event(&Event::Apply(deployment));
        let set = serde_json::from_value(replica_set).unwrap();
        self.replica_sets.apply_watcher_event(&Event::Apply(set));
    }
}
