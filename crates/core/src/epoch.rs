//! Decides which targets an epoch concerns, and whether readers flap.
//!
//! The targets are fixed when the epoch is recorded, by the spec of that moment: enabling a trigger or adding a pool
//! later recycles nothing.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use dbbalance_api::spec::{DbBalancePolicySpec, Endpoint, TargetSpec, Triggers};
use dbbalance_api::status::Trigger;

/// More reader-only epochs than this within [`FLAPPING_SPAN`] count as flapping.
pub const FLAPPING_EPOCHS: usize = 3;
/// The span in which reader-only epochs are counted.
pub const FLAPPING_SPAN: SignedDuration = SignedDuration::from_hours(1);
/// How long readers must be quiet before their changes count again.
pub const FLAPPING_QUIET: SignedDuration = SignedDuration::from_mins(30);
/// How many open times are kept: only the newest few matter.
const KEPT_TIMES: usize = 8;

/// Returns whether a trigger concerns a target: changes of readers concern Reader pools, all others every pool.
#[must_use]
pub fn is_target_concerned(trigger: Trigger, target: &TargetSpec) -> bool {
    match trigger {
        Trigger::ReaderAdded | Trigger::ReaderRemoved => {
            target.pools.iter().any(|p| p.endpoint == Endpoint::Reader)
        }
        Trigger::Failover | Trigger::Replaced | Trigger::Manual | Trigger::Imbalance => true,
    }
}

/// Returns whether the policy enables runs for a trigger.
#[must_use]
pub fn is_enabled(triggers: &Triggers, trigger: Trigger) -> bool {
    match trigger {
        Trigger::ReaderAdded => triggers.reader_added.enabled,
        Trigger::ReaderRemoved => triggers.reader_removed.enabled,
        Trigger::Failover | Trigger::Replaced => triggers.failover.enabled,
        Trigger::Manual | Trigger::Imbalance => true,
    }
}

/// Returns the names of the targets that an epoch with these triggers concerns.
#[must_use]
pub fn concerned_targets(spec: &DbBalancePolicySpec, triggers: &BTreeSet<Trigger>) -> Vec<String> {
    spec.targets
        .iter()
        .filter(|t| {
            triggers
                .iter()
                .any(|g| is_enabled(&spec.triggers, *g) && is_target_concerned(*g, t))
        })
        .map(|t| t.name.clone())
        .collect()
}

/// Returns whether all triggers are readers that were added or removed.
#[must_use]
pub fn is_readers_alone(triggers: &[Trigger]) -> bool {
    !triggers.is_empty()
        && triggers
            .iter()
            .all(|t| matches!(t, Trigger::ReaderAdded | Trigger::ReaderRemoved))
}

/// Returns until when readers count as flapping; `None` if they do not.
#[must_use]
pub fn flapping_until(times: &[Timestamp], now: Timestamp) -> Option<Timestamp> {
    let last = times.last()?;
    let stormy = times
        .windows(FLAPPING_EPOCHS + 1)
        .any(|w| w[FLAPPING_EPOCHS].duration_since(w[0]) <= FLAPPING_SPAN);
    let until = last
        .saturating_add(FLAPPING_QUIET)
        .unwrap_or(Timestamp::MAX);
    (stormy && now < until).then_some(until)
}

/// Returns the open times to keep after one more reader-only epoch. Flapping that has calmed down is forgotten, so
/// that the next epoch does not revive it.
#[must_use]
pub fn record_reader_epoch(times: &[Timestamp], now: Timestamp) -> Vec<Timestamp> {
    let calm = times
        .last()
        .is_some_and(|last| now.duration_since(*last) >= FLAPPING_QUIET);
    let stormy = times
        .windows(FLAPPING_EPOCHS + 1)
        .any(|w| w[FLAPPING_EPOCHS].duration_since(w[0]) <= FLAPPING_SPAN);
    let mut kept = if calm && stormy {
        Vec::new()
    } else {
        times.to_vec()
    };
    kept.push(now);
    let excess = kept.len().saturating_sub(KEPT_TIMES);
    kept.drain(..excess);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(minutes * 60).unwrap_or_default()
    }

    #[test]
    fn three_epochs_of_readers_in_an_hour_are_no_flapping_and_four_are() {
        assert_eq!(flapping_until(&[at(0), at(10), at(20)], at(21)), None);
        assert_eq!(
            flapping_until(&[at(0), at(10), at(20), at(30)], at(31)),
            Some(at(60))
        );
        assert_eq!(
            flapping_until(&[at(0), at(30), at(60), at(90)], at(91)),
            None
        );
    }

    #[test]
    fn thirty_quiet_minutes_end_the_flapping_and_its_memory() {
        let times = [at(0), at(10), at(20), at(30)];
        assert_eq!(flapping_until(&times, at(60)), None);
        assert_eq!(record_reader_epoch(&times, at(60)), [at(60)]);
        assert_eq!(record_reader_epoch(&times, at(40)).len(), 5);
    }

    #[test]
    fn the_memory_of_times_is_bounded() {
        let mut times = Vec::new();
        for minute in 0..100 {
            times = record_reader_epoch(&times, at(minute));
        }
        assert_eq!(times.len(), KEPT_TIMES);
    }
}
