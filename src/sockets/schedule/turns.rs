//! Whose turn it is to be read: one tenant with many or slow pods must not blind the others.
//!
//! A large target is decided by readings of nearly all its pods. If all targets shared the rate read by read, then from
//! some number of pods on none of them would ever have enough that are fresh. So one target after the other has half of
//! the rate for a whole round of its pods, and all share the other half.

use std::collections::HashMap;

use tokio::time::Instant;

use super::{ReadCause, TargetKey};

/// While requested reads wait, one read in so many is a heartbeat: drift is seen later then, not never.
const HEARTBEAT_PART: u64 = 4;

/// One read in so many is of the target that has the round.
const ROUND_PART: u64 = 2;

/// The place of a due read in the order: the cause whose turn it is, then the target that has the round, then the
/// namespace and the policy that were read longest ago, then the time since when it is due.
pub(super) type ReadTurn = (bool, bool, u64, u64, Instant);

/// Who was read when, and how many reads are in progress.
#[derive(Debug, Default)]
pub(super) struct ReadTurns {
    namespace_slots: usize,
    /// Counts the reads.
    count: u64,
    /// The target that has a round of requested reads, and how many of them are left.
    round: Option<(TargetKey, usize)>,
    /// Counts the rounds.
    rounds: u64,
    by_namespace: HashMap<String, NamespaceTurns>,
}

#[derive(Debug, Default)]
struct NamespaceTurns {
    in_progress: usize,
    last: u64,
    /// By policy UID.
    by_policy: HashMap<String, u64>,
    /// When the namespace had its last round, and each of its targets.
    last_round: u64,
    rounds: HashMap<TargetKey, u64>,
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
        let has_round = self.count.is_multiple_of(ROUND_PART) && self.has_round(key);
        (!is_first, !has_round, namespace, policy.unwrap_or(0), since)
    }

    fn has_round(&self, key: &TargetKey) -> bool {
        self.round.as_ref().is_some_and(|(of, _)| of == key)
    }

    /// Gives the round to one of the targets with requested reads that are due, and says how many pods each has: the
    /// one that has had it longest ago, of the namespace that has. The target that has it keeps it while reads are left.
    pub(super) fn pass_round<'a>(&mut self, due: impl Iterator<Item = (&'a TargetKey, usize)>) {
        let mut next: Option<((u64, u64), &TargetKey, usize)> = None;
        for (key, pods) in due {
            if self.has_round(key) && self.round.as_ref().is_some_and(|(_, left)| *left > 0) {
                return;
            }
            let namespace = self.by_namespace.get(&key.namespace);
            let last = namespace.map_or(0, |n| n.last_round);
            let own = namespace.and_then(|n| n.rounds.get(key).copied());
            let place = (last, own.unwrap_or(0));
            if next.is_none_or(|(other, of, _)| (place, key) < (other, of)) {
                next = Some((place, key, pods));
            }
        }
        self.round = next.map(|(_, key, pods)| (key.clone(), pods));
        if let Some((key, _)) = &self.round {
            self.rounds += 1;
            let turns = self.by_namespace.entry(key.namespace.clone()).or_default();
            turns.last_round = self.rounds;
            turns.rounds.insert(key.clone(), self.rounds);
        }
    }

    /// Records that a read starts.
    pub(super) fn take(&mut self, key: &TargetKey, cause: ReadCause) {
        self.count += 1;
        if let Some((of, left)) = &mut self.round
            && of == key
            && cause == ReadCause::Wanted
        {
            *left = left.saturating_sub(1);
        }
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
            turns.rounds.retain(|key, _| is_read(&key.uid));
        }
        self.by_namespace
            .retain(|_, t| t.in_progress > 0 || !t.by_policy.is_empty());
    }
}
