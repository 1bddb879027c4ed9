//! Leadership: who of the replicas may act now, by one `Lease` object.
//!
//! Decides only that. A leader fences itself: `Leadership::leads` compares the local clock with a
//! deadline that counts from before the renewal was sent, so a leader that is cut off or frozen
//! stops acting before another may begin, without being told. Clocks of machines are never
//! compared: another's lease expires by how long we have seen it unchanged.
//!
//! `Instant` is `CLOCK_MONOTONIC`, which goes on while a process is stopped but not while a virtual
//! machine is suspended; against that, the claims on pods are the second line.

mod keeper;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use keeper::LeaseKeeper;

/// Which lease, by whom, for how long.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// This replica. Must be unlike every other running replica's: whoever has the holder's name
    /// takes the lease for its own.
    pub identity: String,
    /// How long a renewal holds, in whole seconds.
    pub duration: Duration,
    /// The time between renewals; less than half the duration.
    pub renew: Duration,
}

impl LeaseConfig {
    /// The part of the duration that the holder does not use: it stops so much earlier than another
    /// may begin. Covers an effect that was checked and not yet sent, and unequal clock rates.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.duration / 5
    }

    /// The longest time between two rounds of a keeper that is alive, on a hung API server. For
    /// liveness.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        keeper::longest_round(self.duration) + self.renew.max(keeper::CHECK_INTERVAL)
    }

    /// How long a renewal holds for ourselves.
    fn held_for(&self) -> Duration {
        self.duration.saturating_sub(self.margin())
    }
}

/// Who leads, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// The holder; `None` if there is none or it is not known yet.
    pub holder: Option<Arc<str>>,
    /// For ourselves: when we stop, unless renewed. For another: when we may take over.
    pub valid_until: Instant,
}

/// A handle to ask whether this replica leads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    identity: Arc<str>,
    claim: watch::Receiver<LeaseState>,
    tick: watch::Receiver<Instant>,
}

impl Leadership {
    /// True if this replica leads at this moment. Ask right before each effect.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        let claim = self.claim.borrow();
        claim.holder.as_ref() == Some(&self.identity) && Instant::now() < claim.valid_until
    }

    /// The last known claim.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.claim.borrow().clone()
    }

    /// This replica's identity.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// When the keeper last went round its loop; for liveness.
    #[must_use]
    pub fn last_tick(&self) -> Instant {
        *self.tick.borrow()
    }

    /// Waits until this replica leads. Never ends if the keeper has ended.
    pub async fn wait_until_acquired(&self) {
        let mut claim = self.claim.clone();
        loop {
            claim.mark_unchanged();
            if self.is_leading() {
                return;
            }
            if claim.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this replica does not lead, be it by its own deadline.
    pub async fn wait_until_lost(&self) {
        let mut claim = self.claim.clone();
        loop {
            claim.mark_unchanged();
            if !self.is_leading() {
                return;
            }
            let until = self.claim.borrow().valid_until;
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = claim.changed() => if changed.is_err() {
                    tokio::time::sleep_until(until).await;
                },
            }
        }
    }

    /// A leadership that somebody else keeps; for tests of what asks it.
    #[must_use]
    pub fn from_states(identity: &str, claim: watch::Receiver<LeaseState>) -> Self {
        let (_, tick) = watch::channel(Instant::now());
        Self {
            identity: identity.into(),
            claim,
            tick,
        }
    }
}
