//! Counts polls and look-ups in the metrics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::aurora::dns::{LookupResult, LookupStats};
use crate::aurora::{PollResult, PollStats, SourceKey};
use crate::metrics::Metrics;

/// Counts DNS look-ups.
pub(super) struct LookupCounter(pub Arc<Metrics>);

impl LookupStats for LookupCounter {
    fn count_lookup(&self, result: LookupResult) {
        self.0.count_lookup(result);
    }
}

/// Counts polls, and reports the oldest of the pollers' last successes.
pub(super) struct PollCounter {
    metrics: Arc<Metrics>,
    last: Mutex<HashMap<SourceKey, Timestamp>>,
}

impl PollCounter {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            last: Mutex::default(),
        }
    }
}

impl PollStats for PollCounter {
    fn count_poll(&self, source: &SourceKey, result: PollResult, at: Timestamp) {
        self.metrics.count_poll(result);
        if result == PollResult::Ok {
            let mut last = self.last.lock();
            last.insert(source.clone(), at);
            self.metrics.set_last_success(last.values().min().copied());
        }
    }

    fn retain(&self, sources: &HashSet<SourceKey>) {
        let mut last = self.last.lock();
        last.retain(|source, _| sources.contains(source));
        self.metrics.set_last_success(last.values().min().copied());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(region: &str) -> SourceKey {
        SourceKey {
            role: None,
            region: region.to_owned(),
        }
    }

    fn last_success(metrics: &Metrics) -> String {
        let page = metrics.encode(true).unwrap();
        let name = "dbbalance_topology_last_success_timestamp_seconds ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().to_owned()
    }

    #[test]
    fn a_source_that_is_polled_no_longer_does_not_age() {
        let metrics = Arc::new(Metrics::new());
        let counter = PollCounter::new(Arc::clone(&metrics));
        let at = |second| Timestamp::from_second(second).unwrap();
        counter.count_poll(&source("old"), PollResult::Ok, at(100));
        counter.count_poll(&source("new"), PollResult::Ok, at(900));
        assert_eq!(last_success(&metrics), "100.0");
        counter.retain(&HashSet::from([source("new")]));
        assert_eq!(last_success(&metrics), "900.0");
        // A former leader polls nothing.
        counter.retain(&HashSet::new());
        assert_eq!(last_success(&metrics), "0.0");
    }
}
