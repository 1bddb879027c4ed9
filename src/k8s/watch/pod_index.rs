//! Indexes the cached pods by namespace and by controller, so that a reconcile looks only at the pods of its own targets.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Store;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use dbbalance_core::pod::OwnerRef;
use dbbalance_kube::pods::find_controller;

/// The pods of a namespace, by name.
type NamedPods = HashMap<String, Arc<Pod>>;

/// The pods of one namespace.
#[derive(Default)]
struct NamespacePods {
    /// By their controller; `None` for pods without one.
    by_owner: HashMap<Option<OwnerRef>, NamedPods>,
    /// The controller of each pod.
    owners: HashMap<String, Option<OwnerRef>>,
}

impl NamespacePods {
    fn insert(&mut self, name: String, pod: Arc<Pod>) {
        self.remove(&name);
        let owner = owner_of(&pod);
        self.owners.insert(name.clone(), owner.clone());
        self.by_owner.entry(owner).or_default().insert(name, pod);
    }

    fn remove(&mut self, name: &str) {
        let Some(owner) = self.owners.remove(name) else {
            return;
        };
        if let Some(pods) = self.by_owner.get_mut(&owner) {
            pods.remove(name);
            if pods.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }
}

/// The pods of the cache, by namespace and controller. Clones share it.
#[derive(Clone, Default)]
pub(super) struct PodIndex(Arc<RwLock<HashMap<String, NamespacePods>>>);

impl PodIndex {
    /// Follows an event that was applied to the cache.
    pub(super) fn follow(&self, store: &Store<Pod>, event: &Event<Pod>) {
        match event {
            Event::Apply(pod) => {
                // The index shares the cache's copy.
                if let Some(pod) = store.get(&ObjectRef::from_obj(pod)) {
                    insert_pod(&mut self.0.write(), pod);
                }
            }
            Event::Delete(pod) => {
                let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name)
                else {
                    return;
                };
                let mut namespaces = self.0.write();
                if let Some(pods) = namespaces.get_mut(namespace) {
                    pods.remove(name);
                    if pods.owners.is_empty() {
                        namespaces.remove(namespace);
                    }
                }
            }
            Event::InitDone => {
                let mut namespaces = HashMap::new();
                for pod in store.state() {
                    insert_pod(&mut namespaces, pod);
                }
                *self.0.write() = namespaces;
            }
            Event::Init | Event::InitApply(_) => {}
        }
    }

    /// Returns all pods of a namespace.
    pub(super) fn pods_in(&self, namespace: &str) -> Vec<Arc<Pod>> {
        let namespaces = self.0.read();
        let pods = namespaces.get(namespace);
        pods.into_iter()
            .flat_map(|pods| pods.by_owner.values())
            .flat_map(HashMap::values)
            .cloned()
            .collect()
    }

    /// Returns the pods of a namespace that this controller owns.
    pub(super) fn pods_of(&self, namespace: &str, owner: &OwnerRef) -> Vec<Arc<Pod>> {
        let namespaces = self.0.read();
        let found = namespaces
            .get(namespace)
            .and_then(|pods| pods.by_owner.get(&Some(owner.clone())));
        found
            .into_iter()
            .flat_map(HashMap::values)
            .cloned()
            .collect()
    }

    /// Returns the controllers that own pods in a namespace.
    pub(super) fn owners_in(&self, namespace: &str) -> Vec<OwnerRef> {
        let namespaces = self.0.read();
        let pods = namespaces.get(namespace);
        pods.into_iter()
            .flat_map(|pods| pods.by_owner.keys())
            .flatten()
            .cloned()
            .collect()
    }
}

fn insert_pod(namespaces: &mut HashMap<String, NamespacePods>, pod: Arc<Pod>) {
    let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name) else {
        return;
    };
    let name = name.clone();
    namespaces
        .entry(namespace.clone())
        .or_default()
        .insert(name, pod);
}

fn owner_of(pod: &Pod) -> Option<OwnerRef> {
    let controller = find_controller(pod.metadata.owner_references.as_deref()?)?;
    Some(OwnerRef {
        kind: controller.kind.clone(),
        name: controller.name.clone(),
    })
}

#[cfg(test)]
mod tests;
