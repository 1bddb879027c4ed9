#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::*;
use crate::aurora::testing::parse_reading;

fn entry(readings: &[&str]) -> PolledCluster {
    let mut entry = PolledCluster::new(None);
    for text in readings {
        entry.record_reading(
            parse_reading("c", text),
            Timestamp::UNIX_EPOCH,
            Instant::now(),
        );
    }
    entry
}

#[test]
fn two_failures_in_a_row_are_failing_and_keep_the_view() {
    let mut entry = entry(&["w1 r2", "w1 r2"]);
    assert!(!entry.record_failure("Throttled", "a"));
    assert_eq!(entry.snapshot().observation, ObservationState::Current);
    assert!(entry.record_failure("Throttled", "b"));
    assert!(
        !entry.record_failure("Throttled", "c"),
        "the same again is no news"
    );
    let message = "b".to_owned();
    assert_eq!(
        entry.snapshot().observation,
        ObservationState::Failing {
            reason: "Throttled",
            message
        }
    );
    assert!(entry.snapshot().view.is_some());
    assert!(
        entry.record_failure("AccessDenied", "d"),
        "another reason is news"
    );
}

#[test]
fn one_whole_reading_ends_failing() {
    let mut entry = entry(&["w1 r2", "w1 r2"]);
    entry.record_failure("Throttled", "a");
    entry.record_failure("Throttled", "b");
    assert!(entry.record_reading(
        parse_reading("c", "w1 r2"),
        Timestamp::UNIX_EPOCH,
        Instant::now()
    ));
    assert_eq!(entry.snapshot().observation, ObservationState::Current);
    assert!(
        !entry.record_failure("Throttled", "c"),
        "the count starts again"
    );
}

#[test]
fn failures_before_the_first_topology_are_pending_and_then_failing() {
    let mut entry = PolledCluster::new(None);
    assert!(entry.is_new());
    entry.record_failure("ClusterNotFound", "a");
    assert_eq!(entry.snapshot().observation, ObservationState::Pending);
    entry.record_failure("ClusterNotFound", "b");
    assert!(matches!(
        entry.snapshot().observation,
        ObservationState::Failing { .. }
    ));
}

#[test]
fn equal_readings_are_no_news_and_keep_the_same_view() {
    let mut entry = entry(&["w1 r2", "w1 r2"]);
    let view = entry.snapshot().view.clone().unwrap();
    assert!(!entry.record_reading(parse_reading("c", "w1 r2"), Timestamp::MAX, Instant::now()));
    assert!(Arc::ptr_eq(&view, entry.snapshot().view.as_ref().unwrap()));
}

#[test]
fn member_that_stays_stopped_is_not_restless_for_ever() {
    let entry = entry(&["w1 r2:stopped", "w1 r2:stopped"]);
    let span = Duration::from_mins(10);
    assert!(entry.snapshot().moving);
    assert!(entry.is_restless(Instant::now(), span));
    assert!(!entry.is_restless(Instant::now() + span, span));
}
