//! Holds a set of readers, small and cheap to copy, for the search for the best move.
//!
//! Outside of a decision, as in the status and in messages, readers are names.

use crate::topology::InstanceId;

/// Readers by their place in the topology's order, of which 32 fit: Aurora has at most 15.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReaderSet(u32);

impl ReaderSet {
    /// Returns the places of the named instances. A name without a place is left out.
    pub(super) fn from_names<'a>(
        places: &[InstanceId],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        names
            .into_iter()
            .filter_map(|name| places.iter().position(|p| p.0 == name))
            .collect()
    }

    /// Returns the names of the instances at these places, in the order of the places.
    pub(super) fn to_names(self, places: &[InstanceId]) -> Vec<String> {
        self.instances(places).map(|id| id.0.clone()).collect()
    }

    /// Iterates over the instances at these places, in the order of the places.
    pub(super) fn instances(self, places: &[InstanceId]) -> impl Iterator<Item = &InstanceId> {
        self.iter().filter_map(|place| places.get(place))
    }

    /// Adds a place.
    pub(super) fn insert(&mut self, place: usize) {
        self.0 |= place_bit(place);
    }

    /// Returns whether the place is in the set.
    pub(super) fn contains(self, place: usize) -> bool {
        self.0 & place_bit(place) != 0
    }

    /// Returns the places that are in either set.
    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the places that are in both sets.
    pub(super) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns whether no place is in the set.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of places.
    pub(super) const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Iterates over the places in ascending order.
    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..32).filter(move |place| self.contains(*place))
    }
}

impl FromIterator<usize> for ReaderSet {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        let mut set = Self::default();
        for place in places {
            set.insert(place);
        }
        set
    }
}

/// Returns the bit of a place; zero for a place beyond the last.
fn place_bit(place: usize) -> u32 {
    u32::try_from(place)
        .ok()
        .and_then(|at| 1_u32.checked_shl(at))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests;
