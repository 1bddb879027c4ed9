//! A token bucket. Every request to the RDS API, each page included, takes a token first.
//!
//! There is one bucket for each account and region. The SDK's own retries are off, so nothing bypasses it.

use parking_lot::Mutex;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time between two requests when the bucket is empty: 2 requests/s, a sixth of the 12 requests/s that an
/// account has in a region, which consoles and exporters share (docs/adr/0003).
pub const INTERVAL: Duration = Duration::from_millis(500);

/// Requests that may be sent at once: two polls of two calls. The account's own burst is 300.
pub const BURST: u32 = 4;

/// Holds a limited number of tokens and gains one each interval; by default [`BURST`] and [`INTERVAL`].
#[derive(Debug)]
pub struct Bucket {
    interval: Duration,
    burst: u32,
    /// When the bucket is full again. Each request moves it by one interval.
    full_at: Mutex<Option<Instant>>,
}

impl Default for Bucket {
    fn default() -> Self {
        Self::new(INTERVAL, BURST)
    }
}

impl Bucket {
    /// Returns a full bucket of `burst` tokens that gains one each `interval`.
    #[must_use]
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self {
            interval,
            burst: burst.max(1),
            full_at: Mutex::new(None),
        }
    }

    /// Waits for a token and takes it. A caller that gives up while waiting has used its token.
    pub async fn acquire(&self) {
        let now = Instant::now();
        let at = self.reserve(now);
        // Even a sleep of zero takes a millisecond.
        if at > now {
            sleep_until(at).await;
        }
    }

    /// Reserves a token and returns when its request may be sent.
    fn reserve(&self, now: Instant) -> Instant {
        let mut full_at = self.full_at.lock();
        let next = full_at.map_or(now, |at| at.max(now)) + self.interval;
        *full_at = Some(next);
        let ahead = self.interval * self.burst;
        next.checked_sub(ahead).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_goes_at_once_and_the_rest_at_the_rate() {
        let bucket = Bucket::default();
        let started = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..8 {
            bucket.acquire().await;
            waits.push(started.elapsed().as_millis());
        }
        assert_eq!(waits, [0, 0, 0, 0, 500, 1000, 1500, 2000]);
    }

    #[tokio::test(start_paused = true)]
    async fn bucket_never_holds_more_than_its_burst() {
        let bucket = Bucket::default();
        bucket.acquire().await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        let started = Instant::now();
        for _ in 0..6 {
            bucket.acquire().await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn two_callers_share_the_rate() {
        let bucket = Bucket::default();
        let started = Instant::now();
        let taker = || async {
            for _ in 0..10 {
                bucket.acquire().await;
            }
        };
        tokio::join!(taker(), taker());
        assert_eq!(started.elapsed(), Duration::from_secs(8));
    }
}
