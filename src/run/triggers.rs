//! Maps events of caches, pollers and DNS to the policies to reconcile. Spurious events are harmless.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use kube::runtime::reflector::ObjectRef;

use crate::aurora::dns::DnsUpdate;
use crate::aurora::{ClusterKey, Pollers};
use crate::controller::context::Context;
use crate::controller::observe::{cluster_key, is_concerned_by_pod};
use crate::k8s::watch::{CacheChange, ObjectKind, Stores, WatchedPolicy};
use dbbalance_api::DbBalancePolicy;

/// Passes DNS updates to the pollers, and returns the clusters whose policies must be reconciled.
pub(super) fn dns_changes(
    updates: impl Stream<Item = DnsUpdate>,
    pollers: Pollers,
) -> impl Stream<Item = ClusterKey> {
    updates.filter_map(move |update| {
        pollers.set_dns_writer(&update.key, update.writer);
        if update.ahead_of_rds {
            pollers.poll_now(&update.key);
        }
        futures::future::ready(update.wake.then_some(update.key))
    })
}

/// Maps changes of cached objects to policies: a policy to itself, a pod to the policies that may count it, anything else to
/// all policies of its namespace.
pub(super) fn object_policies(stores: Stores) -> impl Stream<Item = ObjectRef<WatchedPolicy>> {
    stores.changes().flat_map(move |change| {
        let refs = match change {
            CacheChange::Object {
                kind: ObjectKind::Policy,
                namespace,
                name,
            } => {
                vec![ObjectRef::new(&name).within(&namespace)]
            }
            CacheChange::Pod(pod) => stores
                .policies_in(&pod.namespace)
                .iter()
                .filter(|p| {
                    let policy = p.0.as_ref();
                    policy.is_ok_and(|policy| is_concerned_by_pod(policy, &pod, &stores))
                })
                .map(|p| ObjectRef::from_obj(&**p))
                .collect(),
            CacheChange::Object { namespace, .. } => stores
                .policies_in(&namespace)
                .iter()
                .map(|p| ObjectRef::from_obj(&**p))
                .collect(),
            CacheChange::Everything => policy_refs(&stores),
        };
        stream::iter(refs)
    })
}

fn policy_refs(stores: &Stores) -> Vec<ObjectRef<WatchedPolicy>> {
    stores
        .policies()
        .iter()
        .map(|p| ObjectRef::from_obj(&**p))
        .collect()
}

/// Returns the policies for which this holds; one that cannot be parsed is none of them.
pub(super) fn find_policies(
    stores: &Stores,
    is_meant: impl Fn(&DbBalancePolicy) -> bool,
) -> Vec<ObjectRef<WatchedPolicy>> {
    stores
        .policies()
        .iter()
        .filter(|watched| watched.0.as_ref().is_ok_and(&is_meant))
        .map(|watched| ObjectRef::from_obj(&**watched))
        .collect()
}

/// Maps clusters to the policies that name them.
pub(super) fn cluster_policies(
    changes: impl Stream<Item = ClusterKey>,
    ctx: Arc<Context>,
) -> impl Stream<Item = ObjectRef<WatchedPolicy>> {
    changes.flat_map(move |key| {
        stream::iter(find_policies(&ctx.stores, |policy| {
            cluster_key(&policy.spec.cluster, &ctx) == key
        }))
    })
}

/// Maps each election of this replica to all policies.
pub(super) fn all_policies(
    elections: impl Stream<Item = ()>,
    stores: Stores,
) -> impl Stream<Item = ObjectRef<WatchedPolicy>> {
    elections.flat_map(move |()| stream::iter(policy_refs(&stores)))
}
