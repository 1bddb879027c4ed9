//! Applies the events of a watch to a cache, and reports which objects have changed.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher;
use tokio::sync::broadcast;

use super::{CacheChange, ObjectKind, PodChange};
use dbbalance_core::error_chain::format_error_chain;
use dbbalance_core::pod::OwnerRef;
use dbbalance_kube::pods::find_controller;

pub(super) struct CacheFeed<K: Resource<DynamicType = ()> + Clone + 'static> {
    pub kind: ObjectKind,
    pub writer: Writer<K>,
    /// Returns whether two versions are equal in what matters.
    pub same: fn(&K, &K) -> bool,
    pub notices: broadcast::Sender<CacheChange>,
    /// Keeps an index of the cache; called with each event after the cache has it and before it is reported.
    pub index: Option<IndexUpdate<K>>,
}

/// Keeps an index of a cache, event by event.
pub(super) type IndexUpdate<K> = Box<dyn Fn(&Store<K>, &watcher::Event<K>) + Send + Sync>;

impl<K: Resource<DynamicType = ()> + Clone + 'static> CacheFeed<K> {
    /// Runs until the stream ends, which a watch never does by itself.
    pub async fn run(mut self, events: impl Stream<Item = watcher::Result<watcher::Event<K>>>) {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.apply(&event),
                Err(error) => {
                    tracing::warn!(
                        kind = ?self.kind,
                        error = %format_error_chain(&error),
                        "Watch failed, restarting it after a pause; on a 403, grant list and watch, or set the watched namespaces"
                    );
                }
            }
        }
    }

    /// Applies one event, and reports the change.
    pub fn apply(&mut self, event: &watcher::Event<K>) {
        let store = self.writer.as_reader();
        let change = self.change_of(&store, event);
        self.writer.apply_watcher_event(event);
        if let Some(update) = &self.index {
            update(&store, event);
        }
        if let Some(change) = change {
            // An error means that there is no listener yet, as on a standby.
            let _ = self.notices.send(change);
        }
    }

    fn change_of(&self, store: &Store<K>, event: &watcher::Event<K>) -> Option<CacheChange> {
        let mut is_moved = false;
        let object = match event {
            watcher::Event::Apply(new) => {
                if let Some(old) = store.get(&ObjectRef::from_obj(new)) {
                    if (self.same)(&old, new) {
                        return None;
                    }
                    let (old, new) = (old.meta(), new.meta());
                    is_moved =
                        old.labels != new.labels || old.owner_references != new.owner_references;
                }
                new
            }
            watcher::Event::Delete(old) => old,
            watcher::Event::InitDone => return Some(CacheChange::Everything),
            watcher::Event::Init | watcher::Event::InitApply(_) => return None,
        };
        if self.kind == ObjectKind::Pod && !is_moved {
            return Some(CacheChange::Pod(Arc::new(pod_change(object.meta())?)));
        }
        Some(CacheChange::Object {
            kind: self.kind,
            // A namespace is in itself.
            namespace: object
                .meta()
                .namespace
                .as_deref()
                .or(object.meta().name.as_deref())?
                .into(),
            name: object.meta().name.as_deref()?.into(),
        })
    }
}

fn pod_change(meta: &ObjectMeta) -> Option<PodChange> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    Some(PodChange {
        namespace: meta.namespace.clone()?,
        owner: find_controller(owners).map(|owner| OwnerRef {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        }),
        labels: meta.labels.clone().unwrap_or_default(),
    })
}
