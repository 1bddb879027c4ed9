//! Decides which targets an epoch concerns, and whether readers flap.
//!
//! The targets are fixed when the epoch is recorded, by the spec of that moment: enabling a trigger or adding a pool
//! later recycles nothing.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::change::Change;
use dbbalance_api::spec::{DbBalancePolicySpec, Endpoint, TargetSpec, Triggers};
use dbbalance_api::status::{ReaderChangeStatus, ReaderDirection, Trigger};

/// More reversals than this within [`FLAPPING_SPAN`] count as flapping.
pub const FLAPPING_REVERSALS: usize = 3;
/// The span in which reversals are counted, and in which a reader that came and went is one.
pub const FLAPPING_SPAN: SignedDuration = SignedDuration::from_hours(1);
/// How long no reader may reverse before changes of readers count again.
pub const FLAPPING_QUIET: SignedDuration = SignedDuration::from_mins(30);
/// How many changes of readers are kept: two for each of the 15 readers that a cluster may have, and a little more.
const KEPT_CHANGES: usize = 32;

/// Returns whether a trigger concerns a target: changes of readers concern Reader pools, all others every pool.
#[must_use]
pub fn is_target_concerned(trigger: Trigger, target: &TargetSpec) -> bool {
    match trigger {
        Trigger::ReaderAdded | Trigger::ReaderRemoved | Trigger::Drain => {
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
        Trigger::Manual | Trigger::Imbalance | Trigger::Drain => true,
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
///
/// A reversal is a reader that came and went within an hour, or went and came. Readers that only come, as in the ramp of
/// an auto scaler, are none, however many epochs they raise.
#[must_use]
pub fn flapping_until(changes: &[ReaderChangeStatus], now: Timestamp) -> Option<Timestamp> {
    let reversals = reversal_times(changes);
    let until = flapping_end(&reversals)?;
    (now < until).then_some(until)
}

/// Returns the changes of readers to keep after these. Flapping that has calmed down is forgotten, so that the next
/// change does not revive it.
#[must_use]
pub fn record_reader_changes<'a>(
    known: &[ReaderChangeStatus],
    changes: impl IntoIterator<Item = &'a Change>,
    now: Timestamp,
) -> Vec<ReaderChangeStatus> {
    let calm = flapping_end(&reversal_times(known)).is_some_and(|until| until <= now);
    let mut kept = if calm { Vec::new() } else { known.to_vec() };
    let new = changes.into_iter().filter_map(|change| {
        let (direction, member) = match change {
            Change::ReaderAdded(member) => (ReaderDirection::Added, member),
            Change::ReaderRemoved(member) => (ReaderDirection::Removed, member),
            Change::Failover(_) | Change::Replaced(_) => return None,
        };
        Some(ReaderChangeStatus {
            instance: member.instance.0.clone(),
            direction,
            time: Time(now),
        })
    });
    kept.extend(new);
    let excess = kept.len().saturating_sub(KEPT_CHANGES);
    kept.drain(..excess);
    kept
}

/// Returns when readers reversed, oldest first.
fn reversal_times(changes: &[ReaderChangeStatus]) -> Vec<Timestamp> {
    let reverses = |(index, change): (usize, &ReaderChangeStatus)| {
        let mut earlier = changes[..index].iter().rev();
        let before = earlier.find(|c| c.instance == change.instance)?;
        let is_reversal = before.direction != change.direction
            && change.time.0.duration_since(before.time.0) <= FLAPPING_SPAN;
        is_reversal.then_some(change.time.0)
    };
    changes.iter().enumerate().filter_map(reverses).collect()
}

/// Returns when flapping ends if no reader reverses before; `None` if there were too few reversals.
fn flapping_end(reversals: &[Timestamp]) -> Option<Timestamp> {
    let last = reversals.last()?;
    let mut windows = reversals.windows(FLAPPING_REVERSALS + 1);
    windows
        .any(|w| w[FLAPPING_REVERSALS].duration_since(w[0]) <= FLAPPING_SPAN)
        .then(|| {
            last.saturating_add(FLAPPING_QUIET)
                .unwrap_or(Timestamp::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{InstanceId, MemberId, ResourceId};

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(minutes * 60).unwrap_or_default()
    }

    /// Records changes: `+r` came and `-r` went, each with its minute.
    fn record(changes: &[(&str, i64)]) -> Vec<ReaderChangeStatus> {
        changes.iter().fold(vec![], |known, (change, minute)| {
            let member = MemberId {
                instance: InstanceId(change[1..].to_owned()),
                resource: ResourceId(format!("db-{minute}")),
            };
            let change = if change.starts_with('+') {
                Change::ReaderAdded(member)
            } else {
                Change::ReaderRemoved(member)
            };
            record_reader_changes(&known, [&change], at(*minute))
        })
    }

    const RESTLESS: [(&str, i64); 5] = [("+r", 0), ("-r", 10), ("+r", 20), ("-r", 30), ("+r", 40)];

    #[test]
    fn a_ramp_of_readers_that_only_come_is_no_flapping() {
        let names = ["+a", "+b", "+c", "+d", "+e", "+f", "+g", "+h"];
        let ramp: Vec<_> = names.into_iter().zip((0..).step_by(7)).collect();
        assert_eq!(flapping_until(&record(&ramp), at(50)), None);
        let names = names.map(|n| n.replace('+', "-"));
        let down: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip((0..).step_by(7))
            .collect();
        assert_eq!(flapping_until(&record(&down), at(50)), None);
    }

    #[test]
    fn three_reversals_in_an_hour_are_no_flapping_and_four_are() {
        assert_eq!(flapping_until(&record(&RESTLESS[..4]), at(31)), None);
        assert_eq!(flapping_until(&record(&RESTLESS), at(41)), Some(at(70)));
        let slow = RESTLESS.map(|(change, minute)| (change, minute * 3));
        assert_eq!(flapping_until(&record(&slow), at(121)), None);
    }

    #[test]
    fn readers_that_each_come_and_go_under_a_new_name_flap_too() {
        let names = ["+a", "-a", "+b", "-b", "+c", "-c", "+d", "-d"];
        let restless: Vec<_> = names.into_iter().zip((0..).step_by(5)).collect();
        assert_eq!(flapping_until(&record(&restless), at(36)), Some(at(65)));
    }

    #[test]
    fn readers_that_are_replaced_one_by_one_by_others_do_not_flap() {
        let names = ["+e", "-a", "+f", "-b", "+g", "-c", "+h", "-d"];
        let rolling: Vec<_> = names.into_iter().zip((0..).step_by(5)).collect();
        assert_eq!(flapping_until(&record(&rolling), at(36)), None);
    }

    #[test]
    fn a_reader_that_comes_while_others_flap_does_not_prolong_it() {
        let mut changes = RESTLESS.to_vec();
        changes.push(("+s", 60));
        assert_eq!(flapping_until(&record(&changes), at(61)), Some(at(70)));
    }

    #[test]
    fn thirty_minutes_without_a_reversal_end_the_flapping_and_its_memory() {
        let changes = record(&RESTLESS);
        assert_eq!(flapping_until(&changes, at(70)), None);
        let change = Change::ReaderRemoved(MemberId {
            instance: InstanceId("r".into()),
            resource: ResourceId("db".into()),
        });
        assert_eq!(record_reader_changes(&changes, [&change], at(70)).len(), 1);
        assert_eq!(record_reader_changes(&changes, [&change], at(50)).len(), 6);
    }

    #[test]
    fn the_memory_of_changes_is_bounded() {
        let many: Vec<_> = (0..100).map(|minute| ("+r", minute)).collect();
        assert_eq!(record(&many).len(), KEPT_CHANGES);
    }

    #[test]
    fn a_status_that_counted_epochs_is_still_read() {
        let old = serde_json::json!({ "epoch": 7, "readerEpochTimes": ["2026-05-04T03:02:01Z"] });
        let status: dbbalance_api::status::DbBalancePolicyStatus =
            serde_json::from_value(old).unwrap_or_default();
        assert_eq!((status.epoch, status.reader_changes.len()), (Some(7), 0));
    }
}
