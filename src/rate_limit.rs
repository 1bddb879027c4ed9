//! Token buckets. Every request to the RDS API, each page included, takes a token first, and so does every effect.
//!
//! There is one bucket for each account and region, and an [`EffectLimiter`] for the effects of all policies. The
//! SDK's own retries are off, so nothing bypasses them.

use std::time::Duration;

use parking_lot::Mutex as BlockingMutex;
use tokio::sync::Mutex;
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
    full_at: BlockingMutex<Option<Instant>>,
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
            full_at: BlockingMutex::new(None),
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

    /// Waits for a token and takes it, if there is one by the deadline. Else returns false at once.
    pub async fn acquire_by(&self, deadline: Instant) -> bool {
        let now = Instant::now();
        let Ok(at) = self.try_reserve(now, deadline, 0) else {
            return false;
        };
        if at > now {
            sleep_until(at).await;
        }
        true
    }

    /// Returns when the next token may be used.
    fn next_at(&self, now: Instant) -> Instant {
        self.next_token(*self.full_at.lock(), now, 0).1
    }

    /// Reserves a token and returns when its request may be sent.
    fn reserve(&self, now: Instant) -> Instant {
        let mut full_at = self.full_at.lock();
        let (next, at) = self.next_token(*full_at, now, 0);
        *full_at = Some(next);
        at
    }

    /// Reserves a token whose request may be sent by the deadline, and after which `spare` tokens are left. Returns when
    /// it may be sent.
    ///
    /// # Errors
    /// When such a token would be there, if nothing else is taken meanwhile. Nothing is reserved.
    fn try_reserve(&self, now: Instant, deadline: Instant, spare: u32) -> Result<Instant, Instant> {
        let mut full_at = self.full_at.lock();
        let (next, at) = self.next_token(*full_at, now, spare);
        if at > deadline {
            return Err(at);
        }
        *full_at = Some(next);
        Ok(at)
    }

    /// Returns when the bucket is full after one more token, and when that token may be used with `spare` left.
    fn next_token(&self, full_at: Option<Instant>, now: Instant, spare: u32) -> (Instant, Instant) {
        let next = full_at.map_or(now, |at| at.max(now)) + self.interval;
        let ahead = self.interval * self.burst.saturating_sub(spare);
        (next, next.checked_sub(ahead).map_or(now, |at| at.max(now)))
    }
}

/// Limits the rate of all effects. Claims go before the writes that only record something, which take what claims leave.
#[derive(Debug)]
pub struct EffectLimiter {
    bucket: Bucket,
    /// Held by the record that is next.
    records: Mutex<()>,
}

impl EffectLimiter {
    /// Returns a limiter that lets `burst` effects through at once, and then `per_second`.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            bucket: Bucket::new(Duration::from_secs(1) / per_second.max(1), burst),
            records: Mutex::new(()),
        }
    }

    /// Returns whether a claim that is asked for now may be made by the deadline.
    #[must_use]
    pub fn admits_claim(&self, deadline: Instant) -> bool {
        self.bucket.next_at(Instant::now()) <= deadline
    }

    /// Waits until one more claim may be made. Returns false at once if that is after the deadline.
    pub async fn acquire_claim(&self, deadline: Instant) -> bool {
        self.bucket.acquire_by(deadline).await
    }

    /// Waits until one more record may be written. It reserves nothing while it waits, and leaves half of the burst, so
    /// that a claim that comes next waits for one record at most.
    pub async fn acquire_record(&self) {
        let _first = self.records.lock().await;
        let spare = self.bucket.burst / 2;
        loop {
            let now = Instant::now();
            match self.bucket.try_reserve(now, now, spare) {
                Ok(_) => return,
                Err(at) => sleep_until(at).await,
            }
        }
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
    async fn claims_take_what_the_rate_allows_by_their_deadline_and_no_more() {
        let limiter = EffectLimiter::new(10, 20);
        let deadline = Instant::now() + Duration::from_secs(5);
        let asked = (0..1000).map(|_| limiter.acquire_claim(deadline));
        let taken = futures::future::join_all(asked).await;
        assert_eq!(taken.iter().filter(|t| **t).count(), 70);
        assert_eq!(Instant::now(), deadline);
        assert!(!limiter.admits_claim(deadline));
        // What was refused was not reserved.
        assert!(limiter.admits_claim(deadline + Duration::from_millis(100)));
        assert!(
            limiter
                .acquire_claim(deadline + Duration::from_millis(100))
                .await
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_goes_before_hundreds_of_records() {
        let limiter = std::sync::Arc::new(EffectLimiter::new(10, 20));
        for _ in 0..800 {
            let limiter = std::sync::Arc::clone(&limiter);
            tokio::spawn(async move { limiter.acquire_record().await });
        }
        tokio::time::sleep(Duration::from_millis(1050)).await;
        let started = Instant::now();
        let deadline = started + Duration::from_secs(5);
        for _ in 0..20 {
            assert!(limiter.acquire_claim(deadline).await);
        }
        // Half of the burst at once, and the rest at the rate.
        let waited = started.elapsed();
        assert!(waited <= Duration::from_millis(1100), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_written_at_the_rate_while_nothing_is_claimed() {
        let limiter = EffectLimiter::new(10, 20);
        let started = Instant::now();
        for _ in 0..60 {
            limiter.acquire_record().await;
        }
        assert_eq!(started.elapsed(), Duration::from_secs(5));
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
