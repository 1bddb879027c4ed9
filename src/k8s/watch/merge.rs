//! Merges the watches of several namespaces into one.
//!
//! A cache applies a restarted list to all of its objects, so the restart of one namespace's watch is turned into changes
//! of single objects. The merged watch is ready when each namespace is listed, forbidden, or late: one namespace must not
//! keep the operator from serving the others. What is missing is in [`UnreadLists`].

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::runtime::reflector::Store;
use kube::runtime::watcher::{self, Event};

use super::ObjectKind;
use super::unread::UnreadLists;

/// How long the lists of some namespaces are waited for while those of others are complete. A list of 10,000 pods takes
/// about 10 s from a loaded API server.
pub(super) const FIRST_LISTS: Duration = Duration::from_mins(1);

/// The events of one watch.
pub(super) type WatchEvents<K> = BoxStream<'static, watcher::Result<Event<K>>>;

enum MergerInput<K> {
    Event(String, watcher::Result<Event<K>>),
    /// [`FIRST_LISTS`] has passed.
    Late,
}

/// Merges the watches of several namespaces. `store` is the cache that gets the result, `unread` gets the namespaces
/// whose lists of this kind are missing.
pub(super) fn merge_watches<K>(
    parts: Vec<(String, WatchEvents<K>)>,
    kind: ObjectKind,
    store: Store<K>,
    unread: UnreadLists,
) -> impl Stream<Item = watcher::Result<Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let namespaces = parts.iter().map(|(ns, _)| ns.clone()).collect();
    let mut merger = WatchMerger::new(namespaces, kind, store, unread);
    let late = stream::once(async {
        tokio::time::sleep(FIRST_LISTS).await;
        MergerInput::Late
    });
    let all: SelectAll<_> = parts
        .into_iter()
        .map(|(ns, events)| {
            events
                .map(move |event| MergerInput::Event(ns.clone(), event))
                .boxed()
        })
        .chain([late.boxed()])
        .collect();
    all.flat_map(move |input| {
        stream::iter(match input {
            MergerInput::Event(namespace, Ok(event)) => {
                wrap_events(merger.handle_event(&namespace, event))
            }
            MergerInput::Event(namespace, Err(error)) => {
                let mut results = wrap_events(merger.handle_error(&namespace, &error));
                results.push(Err(error));
                results
            }
            MergerInput::Late => wrap_events(merger.stop_waiting()),
        })
    })
}

fn wrap_events<K>(events: Vec<Event<K>>) -> Vec<watcher::Result<Event<K>>> {
    events.into_iter().map(Ok).collect()
}

/// Whether the API server lets the operator not list the namespace: the right was never granted, or has gone with the
/// namespace.
fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 403,
        _ => false,
    }
}

struct WatchMerger<K: Resource<DynamicType = ()> + Clone + 'static> {
    kind: ObjectKind,
    store: Store<K>,
    unread: UnreadLists,
    /// The namespaces whose first list is waited for; empty when the merged watch is ready.
    waiting: HashSet<String>,
    /// Objects read before all first lists were complete, by namespace and name.
    first: HashMap<(String, String), K>,
    /// The names in the list of each namespace that is being read again.
    again: HashMap<String, HashSet<String>>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> WatchMerger<K> {
    fn new(
        namespaces: Vec<String>,
        kind: ObjectKind,
        store: Store<K>,
        unread: UnreadLists,
    ) -> Self {
        for namespace in &namespaces {
            unread.insert(kind, namespace);
        }
        Self {
            kind,
            store,
            unread,
            waiting: namespaces.into_iter().collect(),
            first: HashMap::new(),
            again: HashMap::new(),
        }
    }

    fn handle_event(&mut self, namespace: &str, event: Event<K>) -> Vec<Event<K>> {
        let is_listed = matches!(event, Event::InitDone);
        let events = if self.waiting.is_empty() {
            self.handle_after_start(namespace, event)
        } else {
            self.handle_at_start(namespace, event)
        };
        if is_listed && self.unread.remove(self.kind, namespace) {
            tracing::info!(kind = ?self.kind, namespace, "Listed namespace");
        }
        events
    }

    /// A namespace that is forbidden counts as empty, and as unread until a list succeeds: the watch tries again.
    fn handle_error(&mut self, namespace: &str, error: &watcher::Error) -> Vec<Event<K>> {
        if !is_forbidden(error) {
            return Vec::new();
        }
        if self.unread.insert(self.kind, namespace) || self.waiting.contains(namespace) {
            tracing::warn!(
                kind = ?self.kind,
                namespace,
                "Not allowed to list a watched namespace, serving the others: grant list and watch in it, or take it \
                 out of the watched namespaces"
            );
        }
        self.end_wait(namespace)
    }

    fn stop_waiting(&mut self) -> Vec<Event<K>> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut late: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        late.sort_unstable();
        tracing::warn!(
            kind = ?self.kind,
            namespaces = late.join(","),
            "Namespaces are not listed yet, serving the others"
        );
        // The rest of their lists comes as the rest of a repeated list.
        for (namespace, name) in self.first.keys().filter(|(ns, _)| late.contains(ns)) {
            let listed = self.again.entry(namespace.clone()).or_default();
            listed.insert(name.clone());
        }
        self.start()
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
            Event::InitDone => return self.end_wait(namespace),
        }
        Vec::new()
    }

    /// Waits for this namespace no longer. Starts if it was the last one.
    fn end_wait(&mut self, namespace: &str) -> Vec<Event<K>> {
        if self.waiting.remove(namespace) && self.waiting.is_empty() {
            self.start()
        } else {
            Vec::new()
        }
    }

    fn start(&mut self) -> Vec<Event<K>> {
        let objects = std::mem::take(&mut self.first).into_values();
        std::iter::once(Event::Init)
            .chain(objects.map(Event::InitApply))
            .chain(std::iter::once(Event::InitDone))
            .collect()
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
