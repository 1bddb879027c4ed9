//! Bounds what is kept of all pods together. What a pod's container prints is its own word, and must not exhaust the
//! operator's memory.

use std::collections::HashMap;

use dbbalance_core::evidence::{PodMeasurement, Socket, Unreadable, UnreadableReason};
use dbbalance_kube::sockets::PodToRead;

use super::{ProbedTarget, TargetKey};

/// A reading with as many sockets is always kept: more than pools have, and 10 KB.
const SMALL_READING: usize = 100;

/// The most sockets in larger readings, over all pods: 42 MB.
const MAX_KEPT: usize = 400_000;

/// The most of them in one namespace, so that no tenant uses all.
const MAX_KEPT_IN_NAMESPACE: usize = MAX_KEPT / 2;

/// The sockets in larger readings of all other pods.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeptSockets {
    all: usize,
    in_namespace: usize,
}

impl KeptSockets {
    /// Counts what is kept of all pods but this one.
    pub(super) fn count(
        targets: &HashMap<TargetKey, ProbedTarget>,
        namespace: &str,
        but: &str,
    ) -> Self {
        let mut kept = Self::default();
        for (key, target) in targets {
            let others = target.pods.iter().filter(|(uid, _)| *uid != but);
            let readings =
                others.filter_map(|(_, s)| s.last.as_ref().and_then(PodMeasurement::reading));
            let large = readings
                .map(|r| r.sockets.len())
                .filter(|len| *len > SMALL_READING);
            let sum: usize = large.sum();
            kept.all += sum;
            kept.in_namespace += if key.namespace == namespace { sum } else { 0 };
        }
        kept
    }

    /// Returns the sockets, if they may be kept.
    pub(super) fn admit(
        self,
        pod: &PodToRead,
        sockets: Vec<Socket>,
    ) -> Result<Vec<Socket>, Unreadable> {
        let count = sockets.len();
        let fits =
            self.all + count <= MAX_KEPT && self.in_namespace + count <= MAX_KEPT_IN_NAMESPACE;
        if count <= SMALL_READING || fits {
            return Ok(sockets);
        }
        Err(Unreadable::new(
            UnreadableReason::TableTooLarge,
            format!(
                "{}: its {count} sockets are too many beside the {} of other pods of the namespace and {} in all: at \
                 most {MAX_KEPT_IN_NAMESPACE} and {MAX_KEPT} are kept",
                pod.describe(),
                self.in_namespace,
                self.all
            ),
        ))
    }
}
