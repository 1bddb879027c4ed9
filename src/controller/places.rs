//! Keeps the passes of one namespace from taking all places of the controller.

use std::collections::HashMap;

use parking_lot::Mutex;

/// How many passes of one namespace are in progress at most, of the controller's 16: one whose pods hang or whose
/// policies are many leaves a quarter to all others.
const OF_ONE_NAMESPACE: usize = 12;

/// Counts the passes in progress, by namespace.
#[derive(Debug, Default)]
pub struct PassPlaces(Mutex<HashMap<String, usize>>);

/// A place, until it is dropped.
#[derive(Debug)]
pub struct PassPlace<'a> {
    places: &'a PassPlaces,
    namespace: String,
}

impl PassPlaces {
    /// Takes a place for a pass of this namespace; `None` if it has as many as it may.
    #[must_use]
    pub fn take(&self, namespace: &str) -> Option<PassPlace<'_>> {
        let mut places = self.0.lock();
        let taken = places.entry(namespace.to_owned()).or_default();
        if *taken >= OF_ONE_NAMESPACE {
            return None;
        }
        *taken += 1;
        Some(PassPlace {
            places: self,
            namespace: namespace.to_owned(),
        })
    }
}

impl Drop for PassPlace<'_> {
    fn drop(&mut self) {
        let mut places = self.places.0.lock();
        if let Some(taken) = places.get_mut(&self.namespace) {
            *taken -= 1;
        }
        places.retain(|_, taken| *taken > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_namespace_leaves_places_to_others() {
        let places = PassPlaces::default();
        let taken: Vec<_> = (0..20).filter_map(|_| places.take("many")).collect();
        assert_eq!(taken.len(), OF_ONE_NAMESPACE);
        assert!(places.take("other").is_some());
        drop(taken);
        assert!(places.take("many").is_some());
    }
}
