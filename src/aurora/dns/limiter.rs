//! The rate of lookups over all clusters, in two priorities.
//!
//! What an epoch or a run waits for goes first: in one queue, the eight lookups of a failover would wait behind those
//! of hundreds of quiet clusters. Every fifth lookup is a routine one nevertheless, so that a storm of failovers does
//! not stop the others for ever.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

/// How many lookups that are waited for may go before a routine one whose turn it is.
pub(super) const OVERTAKING: usize = 4;

/// Whether something waits for a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupPriority {
    /// An epoch or a run waits for it.
    Awaited,
    /// It keeps what is known up to date.
    Routine,
}

/// Lets lookups pass one by one, at least an interval apart.
#[derive(Debug)]
pub(super) struct LookupLimiter {
    interval: Duration,
    /// When the next lookup may go.
    next: parking_lot::Mutex<Option<Instant>>,
    /// Lookups of [`LookupPriority::Awaited`] that have not gone yet.
    awaited: AtomicUsize,
    /// A routine lookup was overtaken often enough: the next slot is its own.
    insisting: AtomicBool,
    /// Each priority is served in the order of its requests.
    awaited_turn: Mutex<()>,
    routine_turn: Mutex<()>,
}

/// Counts a lookup that is waited for until it goes, or its task is dropped.
struct AwaitedCount<'a>(&'a AtomicUsize);

impl Drop for AwaitedCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Keeps the next slot for a routine lookup until it goes, or its task is dropped.
struct InsistingTurn<'a>(&'a AtomicBool);

impl Drop for InsistingTurn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl LookupLimiter {
    /// Returns a limiter of so many lookups a second. It has no burst: that would ask one cache at one moment.
    pub(super) fn new(lookups_per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / lookups_per_second.max(1),
            next: parking_lot::Mutex::new(None),
            awaited: AtomicUsize::new(0),
            insisting: AtomicBool::new(false),
            awaited_turn: Mutex::new(()),
            routine_turn: Mutex::new(()),
        }
    }

    /// Waits until a lookup of this priority may go.
    pub(super) async fn acquire(&self, priority: LookupPriority) {
        match priority {
            LookupPriority::Awaited => {
                self.awaited.fetch_add(1, Ordering::AcqRel);
                let count = AwaitedCount(&self.awaited);
                let turn = self.awaited_turn.lock().await;
                let may_go = || !self.insisting.load(Ordering::Acquire);
                while !self.take_slot(may_go).await {
                    sleep(self.interval / 2).await;
                }
                drop((turn, count));
            }
            LookupPriority::Routine => {
                let _turn = self.routine_turn.lock().await;
                let insisting = InsistingTurn(&self.insisting);
                let may_go = || {
                    insisting.0.load(Ordering::Acquire) || self.awaited.load(Ordering::Acquire) == 0
                };
                let mut overtaken = 0;
                while !self.take_slot(may_go).await {
                    overtaken += 1;
                    insisting
                        .0
                        .store(overtaken >= OVERTAKING, Ordering::Release);
                    sleep(self.interval / 2).await;
                }
            }
        }
    }

    /// Waits for the next slot, and takes it if nobody else did and it may be taken.
    async fn take_slot(&self, may_take: impl Fn() -> bool) -> bool {
        let slot = *self.next.lock();
        let now = Instant::now();
        // Even a sleep of zero takes a millisecond.
        if let Some(at) = slot.filter(|at| *at > now) {
            sleep_until(at).await;
        }
        let mut next = self.next.lock();
        if *next != slot || !may_take() {
            return false;
        }
        *next = Some(slot.map_or(now, |at| at.max(now)) + self.interval);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    async fn timed(limiter: &LookupLimiter, priority: LookupPriority, since: Instant) -> u128 {
        limiter.acquire(priority).await;
        since.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_pass_at_the_rate() {
        let limiter = LookupLimiter::new(50);
        let since = Instant::now();
        let all = (0..51).map(|_| timed(&limiter, LookupPriority::Routine, since));
        let last = join_all(all).await.into_iter().max();
        assert!(
            last.is_some_and(|ms| (1000..1100).contains(&ms)),
            "{last:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_that_are_waited_for_do_not_wait_behind_thousands_of_routine_ones() {
        let limiter = LookupLimiter::new(50);
        let since = Instant::now();
        let routine = join_all((0..500).map(|_| timed(&limiter, LookupPriority::Routine, since)));
        let awaited = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let awaited = (0..8).map(|_| timed(&limiter, LookupPriority::Awaited, since));
            join_all(awaited).await
        };
        let (routine, awaited) = tokio::join!(routine, awaited);
        let last = awaited.into_iter().max();
        assert!(last.is_some_and(|ms| ms < 1_300), "{last:?}");
        let last = routine.into_iter().max();
        assert!(last.is_some_and(|ms| ms > 10_000), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_lookups_that_are_waited_for_leaves_routine_ones_a_share() {
        let limiter = LookupLimiter::new(50);
        let since = Instant::now();
        let awaited = join_all((0..500).map(|_| timed(&limiter, LookupPriority::Awaited, since)));
        let routine = join_all((0..20).map(|_| timed(&limiter, LookupPriority::Routine, since)));
        let (_, routine) = tokio::join!(awaited, routine);
        let last = routine.into_iter().max();
        assert!(last.is_some_and(|ms| ms < 5_000), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_is_given_up_holds_no_other() {
        let limiter = LookupLimiter::new(1);
        limiter.acquire(LookupPriority::Awaited).await;
        let given_up = limiter.acquire(LookupPriority::Awaited);
        let timeout = tokio::time::timeout(Duration::from_millis(100), given_up).await;
        assert!(timeout.is_err());
        let since = Instant::now();
        limiter.acquire(LookupPriority::Routine).await;
        assert!(since.elapsed() <= Duration::from_secs(1));
    }
}
