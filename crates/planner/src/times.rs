//! Times as the status holds them, in whole seconds, and when to reconcile again.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use dbbalance_core::dns::agreement::DnsWait;

/// How soon to reconcile again for DNS samples alone, which trigger no pass: eight are taken in a second.
const SAMPLE_INTERVAL: SignedDuration = SignedDuration::from_millis(500);
/// How soon to reconcile in any case while DNS is waited for.
const WAIT_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

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

/// Returns how soon to reconcile again for what DNS is waited for.
pub(crate) const fn dns_wait_interval(waiting: &DnsWait) -> SignedDuration {
    if waiting.looking {
        SAMPLE_INTERVAL
    } else {
        WAIT_INTERVAL
    }
}
