//! Computes the delay to the next poll of a source: short while its topology changes, longer when it is stable, with a
//! backoff when it fails.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// The delays of a poller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cadence {
    /// The delay while the topology is stable. AWS's own test tools read every 5 s, and two calls each 5 s are 0.4 of the
    /// account's 12 requests/s (docs/adr/0003).
    pub quiet: Duration,
    /// The longest delay while the topology is stable, however many calls a poll makes, unless [`Self::quiet`] is longer: DNS tells of a failover sooner, but
    /// not of a reader that comes (docs/adr/0003).
    pub quiet_max: Duration,
    /// The delay while the topology changes: a failover takes 10 to 30 s, and this delay is its detection time
    /// (docs/adr/0003).
    pub moving: Duration,
    /// How long a poller keeps the short delay after the last different answer: an instance may be `stopped` for days.
    pub restless_for: Duration,
    /// The delay after the first failure; it doubles with each further one.
    pub backoff: Duration,
    /// The longest delay after failures (docs/adr/0003).
    pub backoff_max: Duration,
    /// The fraction by which delays vary in both directions, so that pollers do not synchronize.
    pub jitter: f64,
    /// How long a new cluster waits for others, so that many new policies are one batch.
    pub gather: Duration,
}

impl Default for Cadence {
    fn default() -> Self {
        Self {
            quiet: Duration::from_secs(5),
            quiet_max: Duration::from_secs(10),
            moving: Duration::from_secs(1),
            restless_for: Duration::from_mins(10),
            backoff: Duration::from_secs(2),
            backoff_max: Duration::from_secs(30),
            jitter: 0.1,
            gather: Duration::from_millis(50),
        }
    }
}

impl Cadence {
    /// Returns the delay after a successful poll of this many calls: a stable source whose answers have several pages is
    /// polled less often, so that it takes no more of the account's quota than one with few clusters. `die` is a random number between 0 and 1.
    #[must_use]
    pub fn after_success(&self, moving: bool, calls: u32, die: f64) -> Duration {
        // Two calls are the least that a poll can make.
        let quiet = self.quiet.saturating_mul(calls.max(2)) / 2;
        let quiet = quiet.min(self.quiet_max).max(self.quiet);
        self.add_jitter(if moving { self.moving } else { quiet }, die)
    }

    /// Returns the delay after the `failures`-th failed poll in a row, at most [`Self::backoff_max`]. `die` is a random
    /// number between 0 and 1.
    #[must_use]
    pub fn after_failure(&self, failures: u32, die: f64) -> Duration {
        // Doubled 16 times, any delay exceeds the maximum.
        let doubled = self
            .backoff
            .saturating_mul(1 << failures.saturating_sub(1).min(16));
        self.add_jitter(doubled.min(self.backoff_max), die)
            .min(self.backoff_max)
    }

    fn add_jitter(&self, delay: Duration, die: f64) -> Duration {
        delay.mul_f64((1.0 + self.jitter * (2.0 * die - 1.0)).max(0.0))
    }
}

/// Returns a random number between 0 and 1, good enough to spread delays. The standard library has no other source of
/// randomness.
pub(super) fn random_fraction() -> f64 {
    let high = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or_default();
    f64::from(high) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_vary_by_a_tenth() {
        let cadence = Cadence::default();
        assert_eq!(cadence.after_success(false, 2, 0.5), Duration::from_secs(5));
        assert_eq!(
            cadence.after_success(false, 2, 0.0),
            Duration::from_millis(4500)
        );
        assert_eq!(
            cadence.after_success(true, 2, 1.0),
            Duration::from_millis(1100)
        );
        for _ in 0..1000 {
            assert!((0.0..=1.0).contains(&random_fraction()));
        }
    }

    #[test]
    fn a_stable_source_of_several_pages_makes_no_more_calls_than_one_of_two() {
        let cadence = Cadence::default();
        for calls in 1..=4 {
            let delay = cadence.after_success(false, calls, 0.5);
            assert!(f64::from(calls) / delay.as_secs_f64() <= 0.4, "{calls}");
        }
        let seconds = |calls| cadence.after_success(false, calls, 0.5).as_secs_f64();
        assert!((seconds(3) - 7.5).abs() < 1e-9, "{}", seconds(3));
        assert!((seconds(60) - 10.0).abs() < 1e-9, "at most ten seconds");
        assert_eq!(
            cadence.after_success(true, 60, 0.5),
            cadence.after_success(true, 2, 0.5),
            "a topology that changes is read at once"
        );
    }

    #[test]
    fn failures_double_the_delay_up_to_half_a_minute() {
        let cadence = Cadence::default();
        let seconds = |n| cadence.after_failure(n, 0.5).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6].map(seconds), [2, 4, 8, 16, 30, 30]);
        assert_eq!(
            cadence.after_failure(u32::MAX, 1.0),
            Duration::from_secs(30)
        );
    }
}
