//! What the probe and its task share: the configuration, the schedule, and who listens to finished rounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::schedule::{ReadSchedule, TargetKey};
use crate::clock::Clock;
use crate::rate_limit::Bucket;
use dbbalance_core::evidence::UnreadableReason;
use dbbalance_kube::sockets::ConnectionReader;

/// The most reads at once, over all policies: each is a WebSocket through the API server to a kubelet.
pub const AT_ONCE: usize = 8;

/// The most commands a second, over all policies; a read is one as a rule. An exec costs the API server about as much as a few reads of an object,
/// and its node the start of a process.
pub const PER_SECOND: u32 = 20;

/// The time between two rounds of a target without requested reads: drift is seen within minutes.
pub const HEARTBEAT: Duration = Duration::from_mins(1);

/// How long one read may take; it takes about a tenth of a second.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Counts reads. It must not block.
pub trait ReadStats: Send + Sync {
    /// Counts a read: successful, or failed for that reason.
    fn count_read(&self, result: Result<(), UnreadableReason>);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReadStats;

impl ReadStats for NoReadStats {
    fn count_read(&self, _: Result<(), UnreadableReason>) {}
}

/// The configuration of the probe.
#[derive(Clone)]
pub struct ProbeConfig {
    /// Reads one pod.
    pub reader: Arc<dyn ConnectionReader>,
    /// The time of readings.
    pub clock: Clock,
    /// Counts reads.
    pub stats: Arc<dyn ReadStats>,
    /// The most reads at once.
    pub at_once: usize,
    /// The most commands a second.
    pub per_second: u32,
    /// The shortest time between two rounds of a target without requested reads.
    pub heartbeat: Duration,
    /// How long one read may take.
    pub timeout: Duration,
}

impl ProbeConfig {
    /// Returns the defaults, with this reader and the system's clock.
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

pub(super) struct ProbeShared {
    pub(super) config: ProbeConfig,
    pub(super) book: Mutex<ReadSchedule>,
    /// Signals that the schedule has changed.
    pub(super) wake: Notify,
    pub(super) bucket: Bucket,
    pub(super) slots: Arc<Semaphore>,
    pub(super) listeners: Mutex<Vec<mpsc::UnboundedSender<TargetKey>>>,
    pub(super) stop: CancellationToken,
}

impl ProbeShared {
    pub(super) fn lock_schedule(&self) -> MutexGuard<'_, ReadSchedule> {
        self.book.lock()
    }

    pub(super) fn lock_listeners(&self) -> MutexGuard<'_, Vec<mpsc::UnboundedSender<TargetKey>>> {
        self.listeners.lock()
    }

    pub(super) fn notify_listeners(&self, key: &TargetKey) {
        // Closed channels are removed.
        self.lock_listeners()
            .retain(|listener| listener.unbounded_send(key.clone()).is_ok());
    }
}
