//! Computes the differences between two topologies.
//!
//! When a difference counts is decided in `debounce`, which runs it starts in `epoch`. A member whose role a failover
//! changed is part of the failover, not a reader that was added or removed.

use super::topology::{MemberId, Topology};
use dbbalance_api::status::Trigger;

/// One difference between two topologies. Each settles on its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// A reader that was not a member before.
    ReaderAdded(MemberId),
    /// A reader that is not a member any more.
    ReaderRemoved(MemberId),
    /// This member is the writer now.
    Failover(MemberId),
    /// The cluster has another resource id under the same ARN (blue/green).
    Replaced(String),
}

impl Change {
    /// Returns the trigger that the change belongs to.
    #[must_use]
    pub const fn trigger(&self) -> Trigger {
        match self {
            Self::ReaderAdded(_) => Trigger::ReaderAdded,
            Self::ReaderRemoved(_) => Trigger::ReaderRemoved,
            Self::Failover(_) => Trigger::Failover,
            Self::Replaced(_) => Trigger::Replaced,
        }
    }

    /// Describes the change in a few words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::ReaderAdded(m) => format!("reader {} added", m.instance),
            Self::ReaderRemoved(m) => format!("reader {} removed", m.instance),
            Self::Failover(m) => format!("writer is now {}", m.instance),
            Self::Replaced(id) => format!("cluster replaced by {id}"),
        }
    }
}

/// Returns all differences from `old` to `new` of one cluster (equal ARN).
#[must_use]
pub fn diff_topologies(old: &Topology, new: &Topology) -> Vec<Change> {
    if old.resource != new.resource {
        return vec![Change::Replaced(new.resource.0.clone())];
    }
    let was = |m: &MemberId| old.writer == *m || old.readers.contains(m);
    let is = |m: &MemberId| new.writer == *m || new.readers.contains(m);
    let mut changes = Vec::new();
    if old.writer != new.writer {
        changes.push(Change::Failover(new.writer.clone()));
    }
    changes.extend(
        new.readers
            .iter()
            .filter(|m| !was(m))
            .cloned()
            .map(Change::ReaderAdded),
    );
    changes.extend(
        old.readers
            .iter()
            .filter(|m| !is(m))
            .cloned()
            .map(Change::ReaderRemoved),
    );
    changes
}

/// Returns `old` with some of its differences to `new` applied.
#[must_use]
pub fn merge_changes(old: &Topology, new: &Topology, taken: &[Change]) -> Topology {
    let mut merged = old.clone();
    for change in taken {
        match change {
            Change::Replaced(_) => return new.clone(),
            Change::ReaderAdded(m) => {
                merged.readers.insert(m.clone());
            }
            Change::ReaderRemoved(m) => {
                merged.readers.remove(m);
            }
            Change::Failover(m) => {
                let former = std::mem::replace(&mut merged.writer, m.clone());
                merged.readers.remove(m);
                // A former writer that is gone belongs to the failover: it was not a reader.
                if new.readers.contains(&former) {
                    merged.readers.insert(former);
                }
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::topology;
    use crate::topology::ResourceId;

    #[test]
    fn a_role_swap_is_a_failover_alone() {
        let changes = diff_topologies(&topology("abc"), &topology("bac"));
        assert_eq!(
            changes.iter().map(Change::trigger).collect::<Vec<_>>(),
            [Trigger::Failover]
        );
    }

    #[test]
    fn readers_that_came_and_left_are_told_apart() {
        let changes = diff_topologies(&topology("abc"), &topology("acd"));
        assert_eq!(
            changes.iter().map(Change::describe).collect::<Vec<_>>(),
            ["reader d added", "reader b removed"]
        );
    }

    #[test]
    fn taking_over_everything_gives_the_new_topology() {
        for (old, new) in [
            ("abc", "bac"),
            ("abc", "bcd"),
            ("ab", "c"),
            ("a", "ba"),
            ("abc", "cde"),
        ] {
            let (old, new) = (topology(old), topology(new));
            assert_eq!(merge_changes(&old, &new, &diff_topologies(&old, &new)), new);
        }
    }

    #[test]
    fn taking_over_the_failover_alone_keeps_the_unsettled_readers_out() {
        let (old, new) = (topology("ab"), topology("bac"));
        let merged = merge_changes(&old, &new, &[Change::Failover(new.writer.clone())]);
        assert_eq!(merged, topology("ba"));
    }

    #[test]
    fn another_resource_id_is_a_replacement_and_nothing_else() {
        let (old, mut new) = (topology("abc"), topology("xy"));
        new.resource = ResourceId("cluster-2".into());
        let changes = diff_topologies(&old, &new);
        assert_eq!(changes, [Change::Replaced("cluster-2".into())]);
        assert_eq!(merge_changes(&old, &new, &changes), new);
    }
}
