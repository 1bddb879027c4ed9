//! Caches of policies, pods and workloads, and a stream of their changes.
//!
//! One watch covers all namespaces, or one watch each the configured ones; callers do not see the difference.

mod feed;
mod merge;
mod namespaces;
mod pod_index;
mod starter;
#[cfg(test)]
pub(crate) mod testing;
mod trim;
mod unread;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{FutureExt, Stream, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use feed::PodChange;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::WorkloadKind;
use dbbalance_core::pod::OwnerRef;
use starter::WatchStarter;
use unread::UnreadLists;

/// A policy as watched. One that cannot be parsed does not end the watch.
pub type WatchedPolicy = DeserializeGuard<DbBalancePolicy>;
/// A `ReplicaSet` as watched: only its metadata is needed.
pub type ReplicaSetMeta = PartialObjectMeta<ReplicaSet>;

/// How many changes are buffered for a slow reader. If it falls behind, it gets [`CacheChange::Everything`].
const CHANGE_BUFFER: usize = 4096;

/// The kind of a changed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A policy: its spec, its annotations, its creation or deletion. Not its status.
    Policy,
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A `StatefulSet`.
    StatefulSet,
    /// A `DaemonSet`.
    DaemonSet,
    /// A `ReplicaSet`.
    ReplicaSet,
    /// A `PodDisruptionBudget`: its spec.
    DisruptionBudget,
    /// A namespace: its labels.
    Namespace,
}

/// A change of the caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheChange {
    /// An object was created, changed or deleted. It may not be in the caches any more.
    Object {
        /// Its kind.
        kind: ObjectKind,
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// A pod was created, changed or deleted, and its labels and controller are what they were. Only policies that match
    /// them are concerned.
    Pod(Arc<PodChange>),
    /// A list was read again, or changes were lost: all policies must be reconciled.
    Everything,
}

/// A workload as watched.
#[derive(Clone, Debug)]
pub enum Workload {
    /// A Deployment.
    Deployment(Arc<Deployment>),
    /// A `StatefulSet`.
    StatefulSet(Arc<StatefulSet>),
    /// A `DaemonSet`.
    DaemonSet(Arc<DaemonSet>),
}

/// The caches. Cheap to clone. They may be behind the API server, so a write tests what it was decided on (UID,
/// resource version, claim).
#[derive(Clone)]
pub struct Stores {
    policies: Store<WatchedPolicy>,
    pods: Store<Pod>,
    pod_index: pod_index::PodIndex,
    deployments: Store<Deployment>,
    stateful_sets: Store<StatefulSet>,
    daemon_sets: Store<DaemonSet>,
    replica_sets: Store<ReplicaSetMeta>,
    disruption_budgets: Store<PodDisruptionBudget>,
    /// Only where labels of namespaces are needed.
    namespace_labels: Option<namespaces::NamespaceLabels>,
    notices: broadcast::Sender<CacheChange>,
    unread: UnreadLists,
}

impl Stores {
    /// Starts to watch these namespaces, or all if there are none, until `shutdown` is cancelled.
    #[must_use]
    pub fn watch(
        client: &Client,
        namespaces: &[String],
        shutdown: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (notices, _) = broadcast::channel(CHANGE_BUFFER);
        let unread = UnreadLists::default();
        let watch = WatchStarter {
            client,
            namespaces,
            shutdown,
            tasks,
            notices: &notices,
            unread: &unread,
        };
        // What budgets allow is told beforehand; where they may not be read, nothing else is held.
        let optional = WatchStarter {
            unread: &UnreadLists::default(),
            ..watch
        };
        let pod_index = pod_index::PodIndex::default();
        let index = pod_index.clone();
        Self {
            disruption_budgets: optional.start_watch(
                ObjectKind::DisruptionBudget,
                trim::trim_disruption_budget,
                trim::is_same_disruption_budget,
            ),
            policies: watch.start_watch(
                ObjectKind::Policy,
                trim::trim_policy,
                trim::is_same_policy,
            ),
            pods: watch.start_indexed_watch(
                ObjectKind::Pod,
                trim::trim_pod,
                trim::is_same_pod,
                Some(Box::new(move |store, event| index.follow(store, event))),
            ),
            pod_index,
            deployments: watch.start_watch(
                ObjectKind::Deployment,
                trim::trim_deployment,
                trim::is_same_deployment,
            ),
            stateful_sets: watch.start_watch(
                ObjectKind::StatefulSet,
                trim::trim_stateful_set,
                trim::is_same_stateful_set,
            ),
            daemon_sets: watch.start_watch(
                ObjectKind::DaemonSet,
                trim::trim_daemon_set,
                trim::is_same_daemon_set,
            ),
            replica_sets: watch.start_watch(
                ObjectKind::ReplicaSet,
                trim::trim_replica_set,
                trim::is_same_replica_set,
            ),
            namespace_labels: None,
            notices,
            unread,
        }
    }

    /// Starts to watch the labels of all namespaces as well, which needs the right to list and watch namespaces.
    #[must_use]
    pub fn with_namespace_labels(
        mut self,
        client: &Client,
        shutdown: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let notices = self.notices.clone();
        let labels = namespaces::NamespaceLabels::watch(client, notices, shutdown, tasks);
        self.namespace_labels = Some(labels);
        self
    }

    /// Returns the kinds of objects whose list is missing in a watched namespace, because it is forbidden or late. The
    /// policies of the namespace cannot be judged: their pods would look gone.
    #[must_use]
    pub fn unread_kinds(&self, namespace: &str) -> Vec<ObjectKind> {
        self.unread.kinds_in(namespace)
    }

    /// Returns how many watched namespaces miss a list.
    #[must_use]
    pub fn unread_namespaces(&self) -> usize {
        self.unread.count_namespaces()
    }

    /// Waits until every list has been read once. With a list of namespaces, those that are forbidden or late are not
    /// waited for.
    ///
    /// # Errors
    /// When a watch has stopped before.
    pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        try_join_all([
            self.policies.wait_until_ready().boxed(),
            self.pods.wait_until_ready().boxed(),
            self.deployments.wait_until_ready().boxed(),
            self.stateful_sets.wait_until_ready().boxed(),
            self.daemon_sets.wait_until_ready().boxed(),
            self.replica_sets.wait_until_ready().boxed(),
        ])
        .await?;
        let budgets = self.disruption_budgets.wait_until_ready();
        let _ = tokio::time::timeout(namespaces::PATIENCE, budgets).await;
        if let Some(labels) = &self.namespace_labels {
            labels.wait_a_while().await;
        }
        Ok(())
    }

    /// Returns the labels of a namespace; `None` if it does not exist, or if labels are not watched.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.namespace_labels.as_ref()?.labels_of(namespace)
    }

    /// Returns the changes from now on. A reader that falls behind gets [`CacheChange::Everything`] for what it missed.
    pub fn changes(&self) -> impl Stream<Item = CacheChange> + Send + 'static + use<> {
        stream::unfold(self.notices.subscribe(), |mut notices| async move {
            match notices.recv().await {
                Ok(touched) => Some((touched, notices)),
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    Some((CacheChange::Everything, notices))
                }
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }

    /// Returns the cache of policies for kube's `Controller`.
    #[must_use]
    pub fn policy_store(&self) -> Store<WatchedPolicy> {
        self.policies.clone()
    }

    /// Returns the policies of all watched namespaces.
    #[must_use]
    pub fn policies(&self) -> Vec<Arc<WatchedPolicy>> {
        self.policies.state()
    }

    /// Returns the policies of a namespace.
    #[must_use]
    pub fn policies_in(&self, namespace: &str) -> Vec<Arc<WatchedPolicy>> {
        objects_in(&self.policies, namespace)
    }

    /// Returns a policy.
    #[must_use]
    pub fn policy(&self, namespace: &str, name: &str) -> Option<Arc<WatchedPolicy>> {
        find_object(&self.policies, namespace, name)
    }

    /// Returns the pods of a namespace, without environment, volumes and probes.
    #[must_use]
    pub fn pods_in(&self, namespace: &str) -> Vec<Arc<Pod>> {
        self.pod_index.pods_in(namespace)
    }

    /// Returns the pods of a namespace that a controller owns.
    #[must_use]
    pub fn pods_of(&self, namespace: &str, owner: &OwnerRef) -> Vec<Arc<Pod>> {
        self.pod_index.pods_of(namespace, owner)
    }

    /// Returns the controllers that own pods in a namespace.
    #[must_use]
    pub fn pod_owners_in(&self, namespace: &str) -> Vec<OwnerRef> {
        self.pod_index.owners_in(namespace)
    }

    /// Returns a pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        find_object(&self.pods, namespace, name)
    }

    /// Returns a `ReplicaSet`, which links a pod to its Deployment.
    #[must_use]
    pub fn replica_set(&self, namespace: &str, name: &str) -> Option<Arc<ReplicaSetMeta>> {
        find_object(&self.replica_sets, namespace, name)
    }

    /// Returns the `PodDisruptionBudget`s of a namespace; none where they may not be read.
    #[must_use]
    pub fn disruption_budgets_in(&self, namespace: &str) -> Vec<Arc<PodDisruptionBudget>> {
        objects_in(&self.disruption_budgets, namespace)
    }

    /// Returns a workload.
    #[must_use]
    pub fn workload(&self, kind: WorkloadKind, namespace: &str, name: &str) -> Option<Workload> {
        match kind {
            WorkloadKind::Deployment => {
                find_object(&self.deployments, namespace, name).map(Workload::Deployment)
            }
            WorkloadKind::StatefulSet => {
                find_object(&self.stateful_sets, namespace, name).map(Workload::StatefulSet)
            }
            WorkloadKind::DaemonSet => {
                find_object(&self.daemon_sets, namespace, name).map(Workload::DaemonSet)
            }
        }
    }
}

fn objects_in<K>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.state_filter(|k| k.meta().namespace.as_deref() == Some(namespace))
}

fn find_object<K>(store: &Store<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store.get(&ObjectRef::new(name).within(namespace))
}

#[cfg(test)]
mod tests;
