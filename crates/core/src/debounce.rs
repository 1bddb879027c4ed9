//! Decides which changes have held long enough to count.
//!
//! Each change settles on its own. The debouncer remembers since when a change was observed without a break. That
//! memory may be lost: after a restart settling starts again, with no other effect.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::change::{Change, diff_topologies};
use super::topology::{InstanceId, MemberId, Topology};
use dbbalance_api::spec::Triggers;
use dbbalance_api::status::Trigger;

/// Since when each difference to the settled topology has been observed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SettlingChanges {
    since: BTreeMap<Change, Timestamp>,
    /// Readers that were seen being deleted: that they leave cannot be undone, so it has settled.
    leaving: BTreeSet<InstanceId>,
}

impl SettlingChanges {
    /// Takes in a confirmed topology. A difference that has disappeared is forgotten, so A→B→A is not a change.
    #[must_use]
    pub fn observe(&self, settled: &Topology, confirmed: &Topology, now: Timestamp) -> Self {
        let since = diff_topologies(settled, confirmed)
            .into_iter()
            .map(|change| {
                let first = self.since.get(&change).copied().unwrap_or(now).min(now);
                (change, first)
            })
            .collect();
        Self {
            since,
            leaving: self.leaving.clone(),
        }
    }

    /// Takes in which instances are being deleted now. One that was is remembered as long as its removal is a difference.
    #[must_use]
    pub fn with_leaving(mut self, leaving: &BTreeSet<InstanceId>) -> Self {
        self.leaving.extend(leaving.iter().cloned());
        let since = &self.since;
        self.leaving.retain(|instance| {
            let mut changes = since.keys();
            changes.any(|c| matches!(c, Change::ReaderRemoved(m) if m.instance == *instance))
        });
        self
    }

    /// Returns the changes that have settled.
    #[must_use]
    pub fn settled(&self, triggers: &Triggers, now: Timestamp) -> Vec<Change> {
        self.settle_times(triggers)
            .filter(|(_, at)| *at <= now)
            .map(|(c, _)| c.clone())
            .collect()
    }

    /// Returns the changes that have not settled, each with the time at which it will.
    #[must_use]
    pub fn unsettled(&self, triggers: &Triggers, now: Timestamp) -> Vec<(Change, Timestamp)> {
        self.settle_times(triggers)
            .filter(|(_, at)| *at > now)
            .map(|(c, at)| (c.clone(), at))
            .collect()
    }

    fn settle_times<'a>(
        &'a self,
        triggers: &'a Triggers,
    ) -> impl Iterator<Item = (&'a Change, Timestamp)> {
        self.since.iter().map(|(change, first)| {
            let leaves = |m: &MemberId| self.leaving.contains(&m.instance);
            let seconds = match change {
                Change::ReaderRemoved(member) if leaves(member) => 0,
                _ => settle_seconds(triggers, change.trigger()),
            };
            let wait = SignedDuration::from_secs(seconds);
            (change, first.saturating_add(wait).unwrap_or(Timestamp::MAX))
        })
    }
}

fn settle_seconds(triggers: &Triggers, trigger: Trigger) -> i64 {
    i64::from(match trigger {
        Trigger::ReaderAdded => triggers.reader_added.settle_seconds,
        Trigger::ReaderRemoved => triggers.reader_removed.settle_seconds,
        Trigger::Failover | Trigger::Replaced => triggers.failover.settle_seconds,
        Trigger::Manual | Trigger::Imbalance | Trigger::Drain => 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::topology;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap_or_default()
    }

    #[test]
    fn a_failover_settles_at_once_and_a_reader_after_thirty_seconds() {
        let triggers = Triggers::default();
        let s = SettlingChanges::default().observe(&topology("ab"), &topology("bac"), at(0));
        assert_eq!(s.settled(&triggers, at(0)).len(), 1);
        assert_eq!(s.settled(&triggers, at(29)).len(), 1);
        assert_eq!(s.settled(&triggers, at(30)).len(), 2);
        assert_eq!(s.unsettled(&triggers, at(0))[0].1, at(30));
    }

    #[test]
    fn a_reader_that_is_being_deleted_has_settled_and_stays_so_when_it_is_gone() {
        let triggers = Triggers::default();
        let (a, b) = (topology("abc"), topology("ab"));
        let leaving = BTreeSet::from([InstanceId("c".into())]);
        let s = SettlingChanges::default().observe(&a, &b, at(0));
        assert!(s.settled(&triggers, at(0)).is_empty(), "it may come back");
        let s = s.with_leaving(&leaving);
        assert_eq!(s.settled(&triggers, at(0)).len(), 1);
        let s = s.observe(&a, &b, at(5)).with_leaving(&BTreeSet::new());
        assert_eq!(s.settled(&triggers, at(5)).len(), 1, "unlisted meanwhile");
        let s = s.observe(&a, &a, at(6)).with_leaving(&BTreeSet::new());
        let s = s.observe(&a, &b, at(7)).with_leaving(&BTreeSet::new());
        assert!(
            s.settled(&triggers, at(7)).is_empty(),
            "that is another one"
        );
    }

    #[test]
    fn there_and_back_within_the_settle_time_is_nothing() {
        let triggers = Triggers::default();
        let (a, b) = (topology("ab"), topology("abc"));
        let s = SettlingChanges::default()
            .observe(&a, &b, at(0))
            .observe(&a, &a, at(10));
        assert!(s.settled(&triggers, at(100)).is_empty());
        let s = s.observe(&a, &b, at(20));
        assert!(
            s.settled(&triggers, at(49)).is_empty(),
            "settling began again"
        );
    }

    #[test]
    fn a_second_change_does_not_restart_the_first() {
        let triggers = Triggers::default();
        let a = topology("ab");
        let s = SettlingChanges::default()
            .observe(&a, &topology("abc"), at(0))
            .observe(&a, &topology("abcd"), at(20));
        assert_eq!(s.settled(&triggers, at(30)).len(), 1);
        assert_eq!(s.settled(&triggers, at(50)).len(), 2);
    }
}
