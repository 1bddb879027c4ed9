//! Schedules reads of pods' sockets, and keeps the readings.
//!
//! Pods are read as often as requested, within the limits over all policies. Pods that do not answer do not delay others.
//! `dbbalance_kube::sockets` reads one pod; `dbbalance_core::evidence` evaluates the readings. Delays use tokio's clock,
//! times of readings the injected one.

mod schedule;
mod state;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use schedule::{HeartbeatPace, MaxAge, TargetKey};
pub use state::{AT_ONCE, HEARTBEAT, NoReadStats, PER_SECOND, ProbeConfig, ReadStats, TIMEOUT};

use crate::rate_limit::Bucket;
use dbbalance_core::evidence::Measured;
use dbbalance_kube::sockets::PodToRead;
use schedule::ReadSchedule;
use state::ProbeShared;

/// Heartbeats may use one part in this many of [`ProbeConfig::per_second`]; the rest is for requested reads.
const BACKGROUND_PART: u32 = 2;

/// Reads the sockets of pods on a schedule. Clones share it.
#[derive(Clone)]
pub struct Probe {
    shared: Arc<ProbeShared>,
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

impl Probe {
    /// Returns a probe without targets. `stop` ends it.
    ///
    /// Must be called within a tokio runtime.
    #[must_use]
    pub fn new(config: ProbeConfig, stop: CancellationToken) -> Self {
        let rate = config.per_second.max(1);
        let shared = Arc::new(ProbeShared {
            book: Mutex::new(ReadSchedule::new(
                config.heartbeat,
                (rate / BACKGROUND_PART).max(1),
                background_slots(config.at_once),
                namespace_slots(config.at_once),
            )),
            wake: Notify::new(),
            bucket: Bucket::new(Duration::from_secs(1) / rate, 1),
            slots: Arc::new(Semaphore::new(config.at_once.max(1))),
            listeners: Mutex::default(),
            stop: stop.clone(),
            config,
        });
        let task = task::run_probe(Arc::clone(&shared));
        tokio::spawn(stop.run_until_cancelled_owned(task));
        Self { shared }
    }

    /// Measures exactly these pods of the target from now on, and drops its other pods. Each reconcile calls it; a
    /// repeated call changes nothing.
    pub fn measure(&self, key: &TargetKey, pods: Vec<PodToRead>, freshness: MaxAge) {
        self.measure_each(key, pods.into_iter().map(|p| (p, freshness)).collect());
    }

    /// Measures pods as [`Probe::measure`] does, with a maximum age for each pod.
    pub fn measure_each(&self, key: &TargetKey, pods: Vec<(PodToRead, MaxAge)>) {
        let (wall, now) = ((self.shared.config.clock)(), Instant::now());
        let mut book = self.shared.lock_schedule();
        let before = book.pace();
        book.set_pods(key, pods, wall, now);
        let after = book.pace();
        drop(book);
        log_pace_change(before, after);
        self.shared.wake.notify_one();
    }

    /// Returns the last readings of the target's pods. A pod that was never read has no entry.
    #[must_use]
    pub fn measured(&self, key: &TargetKey) -> Measured {
        self.shared.lock_schedule().measured(key)
    }

    /// Returns since when this process has been asked to read pods of the target; `None` while there are none.
    #[must_use]
    pub fn requested_since(&self, key: &TargetKey) -> Option<Timestamp> {
        self.shared.lock_schedule().requested_since(key)
    }

    /// Returns whether no read of the target is due or in progress.
    #[must_use]
    pub fn is_quiet(&self, key: &TargetKey) -> bool {
        self.shared.lock_schedule().is_quiet(key, Instant::now())
    }

    /// Drops all other targets.
    pub fn retain(&self, keys: &HashSet<TargetKey>) {
        self.shared.lock_schedule().retain(keys);
    }

    /// Returns the interval of heartbeats.
    #[must_use]
    pub fn pace(&self) -> HeartbeatPace {
        self.shared.lock_schedule().pace()
    }

    /// Returns the targets whose reads have finished from now on: once a round, not once a read.
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<TargetKey> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}

/// Returns how many reads at once may be heartbeats: pods that hang must not delay requested reads.
fn background_slots(at_once: usize) -> usize {
    (at_once - at_once / 4).max(1)
}

/// Returns how many reads at once may be of one namespace: its pods that hang must not delay those of others.
fn namespace_slots(at_once: usize) -> usize {
    at_once.div_ceil(2)
}

fn log_pace_change(before: HeartbeatPace, after: HeartbeatPace) {
    if after.slowed && !before.slowed {
        tracing::warn!(
            pods = after.pods,
            heartbeat_seconds = after.heartbeat.as_secs(),
            "Too many pods to read at the configured interval, slowing heartbeats; requested reads come first"
        );
    } else if before.slowed && !after.slowed {
        tracing::info!(
            pods = after.pods,
            "Heartbeats are back at the configured interval"
        );
    }
}
