//! Whose turn it is to be read: one tenant with many or slow pods must not blind the others.

use std::collections::HashMap;

use tokio::time::Instant;

use super::{ReadCause, TargetKey};

/// While requested reads wait, one read in so many is a heartbeat: drift is seen later then, not never.
const HEARTBEAT_PART: u64 = 4;

/// The place of a due read in the order: the cause whose turn it is, then the namespace and the policy that were read
/// longest ago, then the time since when it is due.
pub(super) type ReadTurn = (bool, u64, u64, Instant);

/// Who was read when, and how many reads are in progress.
#[derive(Debug, Default)]
pub(super) struct ReadTurns {
    namespace_slots: usize,
    /// Counts the reads.
    count: u64,
    by_namespace: HashMap<String, NamespaceTurns>,
}

#[derive(Debug, Default)]
struct NamespaceTurns {
    in_progress: usize,
    last: u64,
    /// By policy UID.
    by_policy: HashMap<String, u64>,
}

impl ReadTurns {
    pub(super) fn new(namespace_slots: usize) -> Self {
        Self {
            namespace_slots: namespace_slots.max(1),
            ..Self::default()
        }
    }

    /// Returns whether one more read of the namespace may be in progress. Heartbeats leave a slot to requested reads.
    pub(super) fn has_slot(&self, key: &TargetKey, cause: ReadCause) -> bool {
        let slots = match cause {
            ReadCause::Wanted => self.namespace_slots,
            ReadCause::Heartbeat => (self.namespace_slots - 1).max(1),
        };
        let turns = self.by_namespace.get(&key.namespace);
        turns.is_none_or(|t| t.in_progress < slots)
    }

    /// Returns the place of a due read; the least one is next.
    pub(super) fn turn_of(&self, key: &TargetKey, cause: ReadCause, since: Instant) -> ReadTurn {
        let is_heartbeats = self.count % HEARTBEAT_PART == HEARTBEAT_PART - 1;
        let is_first = (cause == ReadCause::Heartbeat) == is_heartbeats;
        let namespace = self.by_namespace.get(&key.namespace);
        let policy = namespace.and_then(|t| t.by_policy.get(&key.uid).copied());
        let namespace = namespace.map_or(0, |t| t.last);
        (!is_first, namespace, policy.unwrap_or(0), since)
    }

    /// Records that a read starts.
    pub(super) fn take(&mut self, key: &TargetKey) {
        self.count += 1;
        let turns = self.by_namespace.entry(key.namespace.clone()).or_default();
        turns.in_progress += 1;
        turns.last = self.count;
        turns.by_policy.insert(key.uid.clone(), self.count);
    }

    /// Records that a read has ended.
    pub(super) fn finish(&mut self, key: &TargetKey) {
        if let Some(turns) = self.by_namespace.get_mut(&key.namespace) {
            turns.in_progress = turns.in_progress.saturating_sub(1);
        }
    }

    /// Forgets the policies that are read no longer.
    pub(super) fn retain(&mut self, is_read: impl Fn(&str) -> bool) {
        for turns in self.by_namespace.values_mut() {
            turns.by_policy.retain(|uid, _| is_read(uid));
        }
        self.by_namespace
            .retain(|_, t| t.in_progress > 0 || !t.by_policy.is_empty());
    }
}
