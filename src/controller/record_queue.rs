//! The writes on pods that only record something, and wait behind the claims of all policies.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::guard::PolicyGuard;
use dbbalance_core::stamp::Stamp;
use dbbalance_kube::methods::PodRef;
use dbbalance_kube::methods::annotate::TopologyNote;

/// One write on one pod.
#[derive(Clone, Debug)]
pub struct PodRecord {
    /// The policy that it is for.
    pub guard: PolicyGuard,
    /// The pod.
    pub pod: PodRef,
    /// The version of the pod that was planned on. A pod that has changed since is left to the next pass.
    pub version: String,
    /// The topology to annotate.
    pub topology: TopologyNote,
    /// The stamp, for a pod that is stale but needs no effect.
    pub stamp: Option<Stamp>,
}

/// The writes that wait, at most one a pod.
#[derive(Debug, Default)]
pub struct RecordQueue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<String>,
    by_pod: HashMap<String, PodRecord>,
}

impl RecordQueue {
    /// Adds writes. One of a pod that waits already takes the place of the older one.
    pub fn add(&self, records: impl IntoIterator<Item = PodRecord>) {
        let mut waiting = self.waiting.lock();
        for record in records {
            let uid = record.pod.uid.clone();
            if waiting.by_pod.insert(uid.clone(), record).is_none() {
                waiting.order.push_back(uid);
            }
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// Waits until there is a write.
    pub async fn wait(&self) {
        loop {
            let added = self.added.notified();
            if !self.waiting.lock().order.is_empty() {
                return;
            }
            added.await;
        }
    }

    /// Takes the write that has waited longest.
    #[must_use]
    pub fn take(&self) -> Option<PodRecord> {
        let mut waiting = self.waiting.lock();
        let uid = waiting.order.pop_front()?;
        waiting.by_pod.remove(&uid)
    }

    /// Drops all writes: another replica may lead by now.
    pub fn clear(&self) {
        *self.waiting.lock() = Waiting::default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dbbalance_api::spec::DbBalancePolicy;
    use serde_json::json;

    fn record(uid: &str, version: &str) -> PodRecord {
        let policy: DbBalancePolicy = serde_json::from_value(json!({
            "metadata": {}, "spec": {"cluster": {"identifier": "c"}, "targets": []}
        }))
        .unwrap();
        PodRecord {
            guard: PolicyGuard::new(&policy),
            pod: PodRef {
                namespace: "shop".to_owned(),
                name: uid.to_owned(),
                uid: uid.to_owned(),
            },
            version: version.to_owned(),
            topology: TopologyNote::default(),
            stamp: None,
        }
    }

    #[test]
    fn a_pod_that_is_planned_in_each_pass_is_written_once_as_it_was_planned_last() {
        let queue = RecordQueue::default();
        queue.add([record("a", "1"), record("b", "1")]);
        queue.add([record("a", "2")]);
        let taken: Vec<_> = std::iter::from_fn(|| queue.take())
            .map(|r| (r.pod.uid, r.version))
            .collect();
        assert_eq!(
            taken,
            [("a".into(), "2".into()), ("b".into(), "1".to_owned())]
        );
    }
}
