//! Merges the watches of several namespaces into one.
//!
//! A cache applies a restarted list to all of its objects, so the restart of one namespace's watch is turned into changes
//! of single objects. The merged watch is ready when each namespace is.

use std::collections::{HashMap, HashSet};

use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event};

/// The events of one watch.
pub(super) type WatchEvents<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// Merges the watches of several namespaces. `store` is the cache that gets the result.
pub(super) fn merge_watches<K>(
    parts: Vec<(String, WatchEvents<K>)>,
    store: Store<K>,
) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let mut merger = WatchMerger::new(parts.iter().map(|(ns, _)| ns.clone()), store);
    let all: SelectAll<_> = parts
        .into_iter()
        .map(|(ns, events)| events.map(move |event| (ns.clone(), event)).boxed())
        .collect();
    all.flat_map(move |(namespace, event)| {
        stream::iter(match event {
            Ok(event) => merger
                .handle_event(&namespace, event)
                .into_iter()
                .map(Ok)
                .collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    })
}

struct WatchMerger<K: Resource<DynamicType = ()> + Clone + 'static> {
    store: Store<K>,
    /// The namespaces whose first list is incomplete; empty when all are complete.
    waiting: HashSet<String>,
    /// Objects read before all first lists were complete, by namespace and name.
    first: HashMap<(String, String), K>,
    /// The names in the list of each namespace that is being read again.
    again: HashMap<String, HashSet<String>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> WatchMerger<K> {
    fn new(namespaces: impl Iterator<Item = String>, store: Store<K>) -> Self {
        Self {
            store,
            waiting: namespaces.collect(),
            first: HashMap::new(),
            again: HashMap::new(),
        }
    }

    fn handle_event(&mut self, namespace: &str, event: Event<K>) -> Vec<Event<K>> {
        if self.waiting.is_empty() {
            self.handle_after_start(namespace, event)
        } else {
            self.handle_at_start(namespace, event)
        }
    }

    fn handle_at_start(&mut self, namespace: &str, event: Event<K>) -> Vec<Event<K>> {
        match event {
            Event::Init => self.first.retain(|(ns, _), _| ns != namespace),
            Event::InitApply(object) | Event::Apply(object) => {
                self.first.insert(object_key(namespace, &object), object);
            }
            Event::Delete(object) => {
                self.first.remove(&object_key(namespace, &object));
            }
            Event::InitDone => {
                self.waiting.remove(namespace);
                if self.waiting.is_empty() {
                    let objects = std::mem::take(&mut self.first).into_values();
                    return std::iter::once(Event::Init)
                        .chain(objects.map(Event::InitApply))
                        .chain(std::iter::once(Event::InitDone))
                        .collect();
                }
            }
        }
        Vec::new()
    }

    fn handle_after_start(&mut self, namespace: &str, event: Event<K>) -> Vec<Event<K>> {
        match event {
            Event::Init => {
                self.again.insert(namespace.to_owned(), HashSet::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                let (_, name) = object_key(namespace, &object);
                self.again
                    .entry(namespace.to_owned())
                    .or_default()
                    .insert(name);
                vec![Event::Apply(object)]
            }
            Event::InitDone => {
                let listed = self.again.remove(namespace).unwrap_or_default();
                let gone = self.store.state_filter(|k| {
                    k.meta().namespace.as_deref() == Some(namespace)
                        && k.meta().name.as_ref().is_some_and(|n| !listed.contains(n))
                });
                gone.iter().map(|k| Event::Delete((**k).clone())).collect()
            }
            other => vec![other],
        }
    }
}

fn object_key<K: Resource>(namespace: &str, object: &K) -> (String, String) {
    (
        namespace.to_owned(),
        object.meta().name.clone().unwrap_or_default(),
    )
}
