//! Starts the watch of one kind of object, over all namespaces or merged from the configured ones.

use std::fmt::Debug;

use futures::StreamExt;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::unread::UnreadLists;
use super::{CacheChange, ObjectKind, feed, merge};

/// Starts the watches of all kinds with what they share.
pub(super) struct WatchStarter<'a> {
    pub(super) client: &'a Client,
    pub(super) namespaces: &'a [String],
    pub(super) shutdown: &'a CancellationToken,
    pub(super) tasks: &'a TaskTracker,
    pub(super) notices: &'a broadcast::Sender<CacheChange>,
    pub(super) unread: &'a UnreadLists,
}

impl WatchStarter<'_> {
    /// Starts the watch of one kind, and returns its cache. `trim`: leaves out what is not needed; `same`: whether two versions
    /// say the same.
    pub(super) fn start_watch<K>(
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
        self.start_indexed_watch(kind, trim, same, None)
    }

    /// As [`Self::start_watch`], for a kind of which `index` follows the changes.
    pub(super) fn start_indexed_watch<K>(
        &self,
        kind: ObjectKind,
        trim: fn(&mut K),
        same: fn(&K, &K) -> bool,
        index: Option<feed::IndexUpdate<K>>,
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
                // Without a backoff, a watch that fails is restarted at once, again and again.
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
            merge::merge_watches(parts, kind, store.clone(), self.unread.clone()).boxed()
        };
        let pump = feed::CacheFeed {
            kind,
            writer,
            same,
            notices: self.notices.clone(),
            index,
        };
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move {
            shutdown.run_until_cancelled(pump.run(events)).await;
        });
        store
    }
}
