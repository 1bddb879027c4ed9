//! What is known of one cluster now: the confirmed view, and whether reading it works.
//!
//! Readings and errors update a [`ClusterSnapshot`] one after the other. An error never removes the view: it says that
//! nothing is known, not that something has changed.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use dbbalance_core::topology::{ClusterView, InstanceId, Topology};
use dbbalance_core::tracker::{ClusterReading, Tracker};

/// Failed or incomplete readings in a row after which the topology is not observed any more (docs/adr/0002).
const FAILURES_UNTIL_BLIND: u32 = 2;

/// Whether the topology is observed.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ObservationState {
    /// No topology has been confirmed yet, and nothing has failed twice.
    #[default]
    Pending,
    /// The last readings were complete, or only the last one was not.
    Current,
    /// Two or more readings in a row have failed or were incomplete. The view, if any, is the last confirmed one.
    Failing {
        /// The reason of the condition.
        reason: &'static str,
        /// What happened and what to do. It is that of the first reading that failed for this reason, so that it does
        /// not change with each poll.
        message: String,
    },
}

/// What is known of a cluster now.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ClusterSnapshot {
    /// The last confirmed view; kept while reading fails.
    pub view: Option<Arc<ClusterView>>,
    /// Whether the topology is observed.
    pub observation: ObservationState,
    /// The last complete reading had another topology, which is not confirmed.
    pub unconfirmed: bool,
    /// A member or the cluster is not `available`, or a change is unconfirmed.
    pub moving: bool,
    /// Failed or incomplete readings since the last complete one.
    pub failures: u32,
    /// When the last complete reading was made.
    pub last_read_ok: Option<Timestamp>,
    /// When the topology of `view` was confirmed.
    pub confirmed_at: Option<Timestamp>,
}

/// One cluster of a poller.
#[derive(Debug, Default)]
pub(super) struct PolledCluster {
    tracker: Tracker,
    snapshot: ClusterSnapshot,
    last: Option<ClusterReading>,
    /// When an answer last differed from the one before.
    last_difference: Option<Instant>,
}

impl PolledCluster {
    pub(super) fn new(hint: Option<Topology>) -> Self {
        let tracker = hint.map_or_else(Tracker::default, Tracker::with_hint);
        Self {
            tracker,
            ..Self::default()
        }
    }

    /// Sets the topology to expect until the first reading, see [`Tracker::set_hint`].
    pub(super) fn seed(&mut self, hint: Topology) {
        if self.last.is_none() {
            self.tracker.set_hint(hint);
        }
    }

    /// Sets the writer that DNS agrees on, see [`Tracker::set_dns_writer`].
    pub(super) fn set_dns_writer(&mut self, writer: Option<InstanceId>) {
        self.tracker.set_dns_writer(writer);
    }

    pub(super) fn snapshot(&self) -> &ClusterSnapshot {
        &self.snapshot
    }

    /// Returns whether the cluster has not been polled yet.
    pub(super) fn is_new(&self) -> bool {
        self.last.is_none() && self.snapshot.failures == 0
    }

    /// Returns whether it should be read soon: a change is unconfirmed, or it moves and its answers have differed within
    /// `restless_for`.
    pub(super) fn is_restless(&self, now: Instant, restless_for: std::time::Duration) -> bool {
        let stirring = self
            .last_difference
            .is_some_and(|at| now.duration_since(at) < restless_for);
        self.snapshot.unconfirmed || (stirring && self.snapshot.moving)
    }

    /// Records a complete reading. Returns whether its policies must be reconciled.
    pub(super) fn record_reading(
        &mut self,
        reading: ClusterReading,
        now: Timestamp,
        tick: Instant,
    ) -> bool {
        let observed = self.tracker.observe(&reading, now);
        if self.last.as_ref() != Some(&reading) {
            self.last_difference = Some(tick);
            self.last = Some(reading);
        }
        let before = self.snapshot.clone();
        let snapshot = &mut self.snapshot;
        // An equal view stays the same allocation, so that holders can compare pointers.
        if self.tracker.view() != snapshot.view.as_deref() {
            snapshot.view = self.tracker.view().cloned().map(Arc::new);
        }
        if observed.changed {
            snapshot.confirmed_at = Some(now);
        }
        snapshot.observation = if snapshot.view.is_some() {
            ObservationState::Current
        } else {
            ObservationState::Pending
        };
        snapshot.unconfirmed = observed.unconfirmed;
        snapshot.moving = observed.moving;
        snapshot.failures = 0;
        snapshot.last_read_ok = Some(now);
        before.differs_from(snapshot)
    }

    /// Records a failed or incomplete reading. Returns whether its policies must be reconciled.
    pub(super) fn record_failure(&mut self, reason: &'static str, message: &str) -> bool {
        let snapshot = &mut self.snapshot;
        snapshot.failures = snapshot.failures.saturating_add(1);
        let is_known = matches!(&snapshot.observation, ObservationState::Failing { reason: r, .. } if *r == reason);
        if snapshot.failures >= FAILURES_UNTIL_BLIND {
            self.tracker.interrupt();
        }
        if snapshot.failures < FAILURES_UNTIL_BLIND || is_known {
            return false;
        }
        snapshot.observation = ObservationState::Failing {
            reason,
            message: message.to_owned(),
        };
        true
    }

    /// Records that the cluster must not be read. Unlike a failure, this counts at once.
    pub(super) fn record_refusal(&mut self, reason: &'static str, message: &str) -> bool {
        self.snapshot.failures = self.snapshot.failures.max(FAILURES_UNTIL_BLIND - 1);
        self.record_failure(reason, message)
    }
}

impl ClusterSnapshot {
    /// Returns whether a reconcile could decide differently. Times and counts do not matter.
    fn differs_from(&self, other: &Self) -> bool {
        self.view != other.view
            || self.observation != other.observation
            || self.unconfirmed != other.unconfirmed
            || self.moving != other.moving
    }
}

#[cfg(test)]
mod tests;
