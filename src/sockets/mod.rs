//! The probe: reads the pods of all targets that are measured, as often as is wanted and no more than is allowed.
//!
//! Decides when which pod is read, and keeps what was read. It must not judge it, and pods that do not answer must
//! not hold up others. Time comes from tokio for the pace, and from the injected clock for what is told.

mod schedule;
mod task;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::rate_limit::Bucket;
use dbbalance_core::evidence::{Measured, UnreadableReason};
use dbbalance_kube::sockets::{ConnectionReader, PodToRead};
use schedule::ReadSchedule;

/// Reads at once, over all policies: each is a WebSocket through the API server to a kubelet.
pub const AT_ONCE: usize = 8;

/// Reads a second, over all policies: an exec costs the API server about as much as a few reads of an object, and
/// its node the start of a process.
pub const PER_SECOND: u32 = 20;

/// The time between two rounds of a target that nobody waits for: even then drift is seen within minutes.
pub const HEARTBEAT: Duration = Duration::from_mins(1);

/// How long one read may take; it takes about a tenth of a second.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// The part of [`ProbeConfig::per_second`] that heartbeats may use; the rest is for reads that somebody waits for.
const BACKGROUND_PART: u32 = 2;

/// A target of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub policy: String,
    /// The policy's UID.
    pub uid: String,
    /// The target's name.
    pub target: String,
}

/// How new the readings of a target must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAge {
    /// Nobody waits for them: as old as a heartbeat is long.
    Heartbeat,
    /// Each begun at this time or later: a run, an episode or somebody who verifies waits for them. A time to
    /// come is waited for. A read that fails for a reason that passes is repeated.
    Since(Timestamp),
}

/// Tells what time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Counts reads; metrics implement it. It must not block.
pub trait ReadStats: Send + Sync {
    /// A read has ended: well, or for that reason.
    fn count_read(&self, result: Result<(), UnreadableReason>);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReadStats;

impl ReadStats for NoReadStats {
    fn count_read(&self, _: Result<(), UnreadableReason>) {}
}

/// What the probe works with.
#[derive(Clone)]
pub struct ProbeConfig {
    /// Reads one pod.
    pub reader: Arc<dyn ConnectionReader>,
    /// Dates readings.
    pub clock: Clock,
    /// Counts reads.
    pub stats: Arc<dyn ReadStats>,
    /// The most reads at once.
    pub at_once: usize,
    /// The most reads a second.
    pub per_second: u32,
    /// The least time between two rounds of a target that nobody waits for.
    pub heartbeat: Duration,
    /// How long one read may take.
    pub timeout: Duration,
}

impl ProbeConfig {
    /// The defaults, with this reader and the machine's clock.
    #[must_use]
    pub fn new(reader: Arc<dyn ConnectionReader>) -> Self {
        Self {
            reader,
            clock: Arc::new(Timestamp::now),
            stats: Arc::new(NoReadStats),
            at_once: AT_ONCE,
            per_second: PER_SECOND,
            heartbeat: HEARTBEAT,
            timeout: TIMEOUT,
        }
    }
}

impl fmt::Debug for ProbeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeConfig")
            .field("at_once", &self.at_once)
            .field("per_second", &self.per_second)
            .field("heartbeat", &self.heartbeat)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// How fast heartbeats are, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPace {
    /// Pods that are measured, over all policies.
    pub pods: usize,
    /// The time between two rounds of a target: that of the configuration, or longer where the pods are too many for
    /// the reads that are allowed.
    pub heartbeat: Duration,
    /// Whether it is longer.
    pub slowed: bool,
}

/// The probe. Clones are the same probe.
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

struct ProbeShared {
    config: ProbeConfig,
    book: Mutex<ReadSchedule>,
    /// There is more to do than before.
    wake: Notify,
    bucket: Bucket,
    slots: Arc<Semaphore>,
    listeners: Mutex<Vec<mpsc::UnboundedSender<TargetKey>>>,
    stop: CancellationToken,
}

impl Probe {
    /// A probe that reads nothing yet; it ends with `stop`.
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

    /// Measures exactly these pods of the target from now on, with that freshness. Other pods of it are
    /// forgotten. Said again, it does nothing; a pass says it each time.
    pub fn measure(&self, key: &TargetKey, pods: Vec<PodToRead>, freshness: MaxAge) {
        self.measure_each(key, pods.into_iter().map(|p| (p, freshness)).collect());
    }

    /// As [`Probe::want`], with a freshness for each pod: those that change now are read more often.
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

    /// What is known of the target's pods now. A pod that was never tried has no entry.
    #[must_use]
    pub fn measured(&self, key: &TargetKey) -> Measured {
        self.shared.lock_schedule().measured(key)
    }

    /// Whether no read of the target is due or in progress.
    #[must_use]
    pub fn is_quiet(&self, key: &TargetKey) -> bool {
        self.shared.lock_schedule().is_quiet(key, Instant::now())
    }

    /// Forgets all other targets.
    pub fn retain(&self, keys: &HashSet<TargetKey>) {
        self.shared.lock_schedule().retain(keys);
    }

    /// The pace of heartbeats.
    #[must_use]
    pub fn pace(&self) -> HeartbeatPace {
        self.shared.lock_schedule().pace()
    }

    /// The targets of which a round of reads has ended, from now on: once for each round, not for each read.
    #[must_use]
    pub fn changes(&self) -> mpsc::UnboundedReceiver<TargetKey> {
        let (sender, receiver) = mpsc::unbounded();
        self.shared.lock_listeners().push(sender);
        receiver
    }
}

/// The places that heartbeats may take: pods that hang must not hold up what somebody waits for.
fn background_slots(at_once: usize) -> usize {
    (at_once - at_once / 4).max(1)
}

fn log_pace_change(before: HeartbeatPace, after: HeartbeatPace) {
    if after.slowed && !before.slowed {
        tracing::warn!(
            pods = after.pods,
            heartbeat_seconds = after.heartbeat.as_secs(),
            "more pods are measured than can be read in the ordinary time: heartbeats are slower; reads that are waited for come first"
        );
    } else if before.slowed && !after.slowed {
        tracing::info!(pods = after.pods, "heartbeats are as fast as wanted again");
    }
}

impl ProbeShared {
    fn lock_schedule(&self) -> MutexGuard<'_, ReadSchedule> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<TargetKey>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn notify_listeners(&self, key: &TargetKey) {
        // A listener that is gone is forgotten.
        self.lock_listeners()
            .retain(|listener| listener.unbounded_send(key.clone()).is_ok());
    }
}
