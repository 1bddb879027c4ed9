//! Holds what other targets and policies hold of the readers, because balance is a matter of the cluster.
//!
//! A target moves no pod but its own. It judges and steers the sum: its own connections and those of all others that are
//! measured. What the others have in flight counts where it is expected to land, so that the targets of a cluster, which
//! decide one after another, do not all make up for the same lack.

use std::collections::BTreeMap;

use crate::topology::InstanceId;

/// What others hold of the readers, in connections by instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherConnections {
    /// As measured.
    pub measured: BTreeMap<InstanceId, u32>,
    /// As it will be when what is in flight has landed where it is expected to.
    pub expected: BTreeMap<InstanceId, u32>,
    /// Those of the smallest pod that holds connections to the instance and may be moved.
    pub smallest: BTreeMap<InstanceId, u32>,
    /// Whether some of the others have not been read since this replica became the leader, so that a sum says nothing.
    pub unread: bool,
}

impl OtherConnections {
    /// Returns whether nobody else holds connections.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let mut held = self.measured.values().chain(self.expected.values());
        held.all(|n| *n == 0)
    }

    /// Returns whether connections of others are in flight.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.measured != self.expected
    }

    /// Adds what one more target or policy holds.
    pub fn add(&mut self, more: &Self) {
        let sums = [
            (&mut self.measured, &more.measured),
            (&mut self.expected, &more.expected),
        ];
        for (sum, more) in sums {
            for (instance, n) in more {
                let sum = sum.entry(instance.clone()).or_default();
                *sum = sum.saturating_add(*n);
            }
        }
        for (instance, n) in &more.smallest {
            let smallest = self.smallest.entry(instance.clone()).or_insert(*n);
            *smallest = (*smallest).min(*n);
        }
        self.unread |= more.unread;
    }
}

/// What the reader pools of a target, or of a whole policy, hold of the readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReaderShares {
    /// It has none that are measured.
    #[default]
    Unmeasured,
    /// Too few of its pods have been read.
    Unread,
    /// As measured, and as expected when what is in flight has landed.
    Read(OtherConnections),
}

impl ReaderShares {
    /// Adds the shares to a sum, and marks there what is unread.
    pub fn add_to(&self, sum: &mut OtherConnections) {
        match self {
            Self::Unmeasured => {}
            Self::Unread => sum.unread = true,
            Self::Read(shares) => sum.add(shares),
        }
    }

    /// Returns the shares of these targets together.
    #[must_use]
    pub fn sum<'a>(targets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::Unmeasured;
        for target in targets {
            all = match (all, target) {
                (Self::Unread, _) | (_, Self::Unread) => Self::Unread,
                (all, Self::Unmeasured) => all,
                (Self::Unmeasured, Self::Read(more)) => Self::Read(more.clone()),
                (Self::Read(mut sum), Self::Read(more)) => {
                    sum.add(more);
                    Self::Read(sum)
                }
            };
        }
        all
    }
}

/// Returns the connections at each place, in the order of the places.
pub(super) fn at_places(held: &BTreeMap<InstanceId, u32>, places: &[InstanceId]) -> Vec<u32> {
    let at = |place| held.get(place).copied().unwrap_or(0);
    places.iter().map(at).collect()
}
