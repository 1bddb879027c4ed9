//! Token bucket of an account's requests. Pure: the caller passes the time.

use std::time::Instant;

use serde::{Deserialize, Serialize};

/// How many requests an account may make.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestQuota {
    /// Requests at once, after a rest.
    pub burst: u32,
    /// Requests a second, for ever.
    pub rate: f64,
}

impl Default for RequestQuota {
    /// AWS: 300 at once and 12 a second, for the account and region (RDS quotas, "API request rate").
    fn default() -> Self {
        Self {
            burst: 300,
            rate: 12.0,
        }
    }
}

impl RequestQuota {
    /// Never refuses: for tests that are about something else.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            burst: u32::MAX,
            rate: f64::from(u32::MAX),
        }
    }
}

/// Tokens left of a quota.
#[derive(Debug)]
pub(super) struct TokenBucket {
    quota: RequestQuota,
    left: f64,
    at: Instant,
}

impl TokenBucket {
    /// Returns a full bucket.
    pub(super) fn new(quota: RequestQuota, now: Instant) -> Self {
        Self {
            quota,
            left: f64::from(quota.burst),
            at: now,
        }
    }

    /// Takes a token; returns false, and takes none, if fewer than one is left.
    pub(super) fn try_acquire(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + since * self.quota.rate).min(f64::from(self.quota.burst));
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn after_the_burst_only_the_rate_is_left() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(RequestQuota::default(), start);
        assert_eq!((0..400).filter(|_| bucket.try_acquire(start)).count(), 300);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..400).filter(|_| bucket.try_acquire(later)).count(), 24);
        let rested = later + Duration::from_hours(1);
        assert_eq!((0..400).filter(|_| bucket.try_acquire(rested)).count(), 300);
    }
}
