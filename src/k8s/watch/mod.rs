//! What the operator sees of Kubernetes: caches of policies, pods and workloads, and the notices
//! that something was touched.
//!
//! Whether one watch sees all namespaces or several see one each is hidden here. Which policy a
//! touched object concerns is decided in the controller.

mod feed;
mod merge;
mod trim;

use std::fmt::Debug;
use std::sync::Arc;

use futures::future::try_join_all;
use futures::{FutureExt, Stream, StreamExt, stream};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::WorkloadKind;

/// A policy as watched; one that cannot be read does not end the watch.
pub type WatchedPolicy = DeserializeGuard<DbBalancePolicy>;
/// A `ReplicaSet` as watched: of it only owners, labels and annotations are of use.
pub type ReplicaSetMeta = PartialObjectMeta<ReplicaSet>;

/// How many notices may wait for a slow reader. Who falls behind gets `Touched::Everything`.
const CHANGE_BUFFER: usize = 4096;

/// What kind of object was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

/// A notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheChange {
    /// One object came, changed or went. It may be gone from the caches.
    Object {
        /// Its kind.
        kind: ObjectKind,
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
    /// A list was read anew, or notices were lost: look at all policies.
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

/// The caches. Cheap to clone. They may lag behind the API server, so a write tests what it was
/// decided on (uid, resourceVersion, claim).
#[derive(Clone)]
pub struct Stores {
    policies: Store<WatchedPolicy>,
    pods: Store<Pod>,
    deployments: Store<Deployment>,
    stateful_sets: Store<StatefulSet>,
    daemon_sets: Store<DaemonSet>,
    replica_sets: Store<ReplicaSetMeta>,
    notices: broadcast::Sender<CacheChange>,
}

impl Stores {
    /// Begins to watch these namespaces, or all if none is given, until told to stop.
    #[must_use]
    pub fn watch(
        client: &Client,
        namespaces: &[String],
        shutdown: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (notices, _) = broadcast::channel(CHANGE_BUFFER);
        let watch = WatchStarter {
            client,
            namespaces,
            shutdown,
            tasks,
            notices: &notices,
        };
        Self {
            policies: watch.start_watch(
                ObjectKind::Policy,
                trim::trim_policy,
                trim::is_same_policy,
            ),
            pods: watch.start_watch(ObjectKind::Pod, trim::trim_pod, trim::is_same_pod),
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
            notices,
        }
    }

    /// Waits until every list has been read once.
    ///
    /// # Errors
    /// When a watch was stopped before.
    pub async fn wait_until_ready(&self) -> Result<(), WriterDropped> {
        try_join_all([
            self.policies.wait_until_ready().boxed(),
            self.pods.wait_until_ready().boxed(),
            self.deployments.wait_until_ready().boxed(),
            self.stateful_sets.wait_until_ready().boxed(),
            self.daemon_sets.wait_until_ready().boxed(),
            self.replica_sets.wait_until_ready().boxed(),
        ])
        .await
        .map(drop)
    }

    /// Notices from now on. A reader that falls behind gets `Everything` in place of what it missed.
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

    /// The cache of policies, as kube's `Controller` takes it.
    #[must_use]
    pub fn policy_store(&self) -> Store<WatchedPolicy> {
        self.policies.clone()
    }

    /// All policies of all watched namespaces.
    #[must_use]
    pub fn policies(&self) -> Vec<Arc<WatchedPolicy>> {
        self.policies.state()
    }

    /// The policies of a namespace.
    #[must_use]
    pub fn policies_in(&self, namespace: &str) -> Vec<Arc<WatchedPolicy>> {
        objects_in(&self.policies, namespace)
    }

    /// One policy.
    #[must_use]
    pub fn policy(&self, namespace: &str, name: &str) -> Option<Arc<WatchedPolicy>> {
        find_object(&self.policies, namespace, name)
    }

    /// The pods of a namespace, without what nobody here needs (environment, volumes, probes).
    #[must_use]
    pub fn pods_in(&self, namespace: &str) -> Vec<Arc<Pod>> {
        objects_in(&self.pods, namespace)
    }

    /// One pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        find_object(&self.pods, namespace, name)
    }

    /// One `ReplicaSet`: the link from a pod to its Deployment.
    #[must_use]
    pub fn replica_set(&self, namespace: &str, name: &str) -> Option<Arc<ReplicaSetMeta>> {
        find_object(&self.replica_sets, namespace, name)
    }

    /// The `ReplicaSets` of a namespace.
    #[must_use]
    pub fn replica_sets_in(&self, namespace: &str) -> Vec<Arc<ReplicaSetMeta>> {
        objects_in(&self.replica_sets, namespace)
    }

    /// One workload.
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

struct WatchStarter<'a> {
    client: &'a Client,
    namespaces: &'a [String],
    shutdown: &'a CancellationToken,
    tasks: &'a TaskTracker,
    notices: &'a broadcast::Sender<CacheChange>,
}

impl WatchStarter<'_> {
    fn start_watch<K>(
        &self,
        kind: ObjectKind,
        trim: fn(&mut K),
        same: fn(&K, &K) -> bool,
    ) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let stream = |api: Api<K>| {
            watcher(api, watcher::Config::default())
                // Without it a watch that fails is begun again at once, for ever.
                .default_backoff()
                .modify(trim)
                .boxed()
        };
        let writer = kube::runtime::reflector::store::Writer::<K>::default();
        let store = writer.as_reader();
        let events = if self.namespaces.is_empty() {
            stream(Api::all(self.client.clone()))
        } else {
            let mut names = self.namespaces.to_vec();
            names.sort_unstable();
            names.dedup();
            let parts = names
                .into_iter()
                .map(|ns| {
                    (
                        ns.clone(),
                        stream(Api::namespaced(self.client.clone(), &ns)),
                    )
                })
                .collect();
            merge::merge_watches(parts, store.clone()).boxed()
        };
        let pump = feed::CacheFeed {
            kind,
            writer,
            same,
            notices: self.notices.clone(),
        };
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(pump.run(events)).await;
        });
        store
    }
}

#[cfg(test)]
mod tests;
