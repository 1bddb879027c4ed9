//! The lists that are missing: which kinds of which watched namespaces were never listed, or may not be listed any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::ObjectKind;

/// The missing lists. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct UnreadLists(Arc<Mutex<BTreeSet<(String, ObjectKind)>>>);

impl UnreadLists {
    /// Adds a list. Returns whether it is new.
    pub(super) fn insert(&self, kind: ObjectKind, namespace: &str) -> bool {
        self.0.lock().insert((namespace.to_owned(), kind))
    }

    /// Removes a list. Returns whether it was missing.
    pub(super) fn remove(&self, kind: ObjectKind, namespace: &str) -> bool {
        self.0.lock().remove(&(namespace.to_owned(), kind))
    }

    /// Returns the kinds that are missing in a namespace.
    pub(super) fn kinds_in(&self, namespace: &str) -> Vec<ObjectKind> {
        let lists = self.0.lock();
        let of_namespace = lists.iter().filter(|(ns, _)| ns == namespace);
        of_namespace.map(|(_, kind)| *kind).collect()
    }

    /// Returns how many namespaces miss a list.
    pub(super) fn count_namespaces(&self) -> usize {
        let lists = self.0.lock();
        let namespaces: BTreeSet<&str> = lists.iter().map(|(ns, _)| ns.as_str()).collect();
        namespaces.len()
    }
}
