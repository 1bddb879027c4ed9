//! The cache of namespaces, for bindings that select them by labels.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CacheChange, ObjectKind, feed};

/// How long the start waits for what is of use but not needed: a list takes a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A namespace as watched: only its metadata is needed.
pub(super) type NamespaceMeta = PartialObjectMeta<Namespace>;

/// The labels of namespaces. Clones share them.
#[derive(Clone)]
pub(super) struct NamespaceLabels(pub(super) Store<NamespaceMeta>);

impl NamespaceLabels {
    /// Starts to watch all namespaces until `shutdown` is cancelled.
    pub(super) fn watch(
        client: &Client,
        notices: broadcast::Sender<CacheChange>,
        shutdown: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let writer = Writer::<NamespaceMeta>::default();
        let store = writer.as_reader();
        let events = watcher(Api::all(client.clone()), watcher::Config::default())
            .default_backoff()
            .modify(|namespace: &mut NamespaceMeta| {
                namespace.metadata.managed_fields = None;
                namespace.metadata.annotations = None;
            })
            .boxed();
        let feed = feed::CacheFeed {
            kind: ObjectKind::Namespace,
            writer,
            same: |a, b| a.metadata.labels == b.metadata.labels,
            notices,
            index: None,
        };
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            shutdown.run_until_cancelled(feed.run(events)).await;
        });
        Self(store)
    }

    /// Waits until all namespaces have been read, but not for long: where they cannot be read, only policies whose binding
    /// needs labels are held.
    pub(super) async fn wait_a_while(&self) {
        let _ = tokio::time::timeout(PATIENCE, self.0.wait_until_ready()).await;
    }

    /// Returns the labels of a namespace; `None` if it has not been read.
    pub(super) fn labels_of(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let found = self.0.get(&ObjectRef::new(namespace))?;
        Some(found.metadata.labels.clone().unwrap_or_default())
    }
}
