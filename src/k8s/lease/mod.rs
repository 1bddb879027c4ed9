//! Leader election among the replicas, by one `Lease` object.
//!
//! A leader fences itself: [`Leadership::is_leading`] compares the local clock with a deadline that counts from before
//! the renewal was sent. A leader that is partitioned or frozen therefore stops before another replica may start. Clocks
//! of different machines are never compared: the lease of another replica expires by how long it was seen unchanged.
//!
//! `Instant` is `CLOCK_MONOTONIC`, which continues while a process is stopped, but not while a virtual machine is
//! suspended. The claims on pods protect against the latter.

mod keeper;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use keeper::LeaseKeeper;

/// The configuration of the lease.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// The lease's namespace.
    pub namespace: String,
    /// The lease's name.
    pub name: String,
    /// The name of this replica. It must be unique: a replica treats a lease with its own name as its own.
    pub identity: String,
    /// How long a renewal is valid, in whole seconds.
    pub duration: Duration,
    /// The time between renewals; less than half the duration.
    pub renew: Duration,
}

impl LeaseConfig {
    /// Returns how much earlier the holder stops than another replica may start. It covers an effect that was checked and
    /// not yet sent, and different clock rates.
    #[must_use]
    pub fn margin(&self) -> Duration {
        self.duration / 5
    }

    /// Returns the longest time between two rounds of a live keeper, with an API server that does not answer. For the
    /// liveness probe.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        keeper::longest_round(self.duration) + self.renew.max(keeper::CHECK_INTERVAL)
    }

    /// Returns how long a renewal is valid for the holder itself.
    fn held_for(&self) -> Duration {
        self.duration.saturating_sub(self.margin())
    }
}

/// The leader, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// The holder; `None` if there is none or it is unknown.
    pub holder: Option<Arc<str>>,
    /// If this replica is the holder, when it stops unless it renews; else when this replica may take over.
    pub valid_until: Instant,
}

/// Reports whether this replica is the leader. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leadership {
    identity: Arc<str>,
    claim: watch::Receiver<LeaseState>,
    tick: watch::Receiver<Option<Instant>>,
}

impl Leadership {
    /// Returns whether this replica is the leader now. Call it immediately before each effect.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        let claim = self.claim.borrow();
        claim.holder.as_ref() == Some(&self.identity) && Instant::now() < claim.valid_until
    }

    /// Returns the last known state.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        self.claim.borrow().clone()
    }

    /// Returns the name of this replica.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Returns when the keeper started or last finished a round, for the liveness probe; `None` before it has started.
    #[must_use]
    pub fn last_tick(&self) -> Option<Instant> {
        *self.tick.borrow()
    }

    /// Waits until this replica is the leader. Waits forever if the keeper has ended.
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

    /// Waits until this replica is not the leader, at the latest until its own deadline.
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

    /// Returns a leadership with these states, for tests.
    #[must_use]
    pub fn from_states(identity: &str, claim: watch::Receiver<LeaseState>) -> Self {
        let (_, tick) = watch::channel(Some(Instant::now()));
        Self {
            identity: identity.into(),
            claim,
            tick,
        }
    }
}
