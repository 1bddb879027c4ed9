//! Times as the status holds them: whole seconds.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Returns a time as the status holds it, rounded up to the second.
#[must_use]
pub fn status_time(time: Timestamp) -> Time {
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Time(Timestamp::from_second(seconds).unwrap_or(time))
}

/// Rounds a time down to the second that a claim made now will hold.
pub(crate) fn truncate_to_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Returns the time after this duration, or the last time that can be held.
pub(crate) fn add_duration(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}
