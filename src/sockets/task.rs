//! The task of the probe: waits for a free slot and a token, then starts the most important read.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::schedule::{NextRead, ScheduledRead};
use super::state::ProbeShared;
use dbbalance_core::evidence::{Unreadable, UnreadableReason};
use dbbalance_kube::sockets::CommandPace;

/// Reads until the probe is stopped.
pub(super) async fn run_probe(shared: Arc<ProbeShared>) {
    loop {
        wait_for_work(&shared).await;
        // Slot and token first, so that the most important read is chosen as late as possible.
        let Ok(place) = Arc::clone(&shared.slots).acquire_owned().await else {
            return;
        };
        shared.bucket.acquire().await;
        let wall = (shared.config.clock)();
        let read = shared.lock_schedule().take_read(wall, Instant::now());
        if let Some(read) = read {
            let stop = shared.stop.clone();
            let work = read_pod(Arc::clone(&shared), read, place);
            tokio::spawn(stop.run_until_cancelled_owned(work));
        }
    }
}

async fn wait_for_work(shared: &ProbeShared) {
    loop {
        let next = shared.lock_schedule().next_read(Instant::now());
        match next {
            NextRead::Now => return,
            NextRead::At(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = shared.wake.notified() => {}
            },
            NextRead::Idle => shared.wake.notified().await,
        }
    }
}

/// Takes a token of the probe's rate for each command, so that pods without a reader use no more than others.
struct ProbePace<'a>(&'a ProbeShared);

#[async_trait]
impl CommandPace for ProbePace<'_> {
    async fn wait_for_command(&self) {
        self.0.bucket.acquire().await;
    }
}

async fn read_pod(shared: Arc<ProbeShared>, read: ScheduledRead, place: OwnedSemaphorePermit) {
    let limit = shared.config.timeout;
    let pace = ProbePace(&shared);
    let result = timeout(limit, shared.config.reader.read(&read.pod, &pace))
        .await
        .unwrap_or_else(|_| {
            Err(Unreadable::new(
                UnreadableReason::Timeout,
                format!(
                    "{}: not read within {} s",
                    read.pod.describe(),
                    limit.as_secs()
                ),
            ))
        });
    drop(place);
    shared
        .config
        .stats
        .count_read(result.as_ref().map(drop).map_err(|why| why.reason));
    if let Err(why) = &result {
        tracing::debug!(
            namespace = read.key.namespace,
            policy = read.key.policy,
            target = read.key.target,
            reason = why.reason.as_str(),
            error = why.message,
            "Cannot read pod"
        );
    }
    let ended = shared
        .lock_schedule()
        .finish_read(&read, result, Instant::now());
    if ended {
        shared.notify_listeners(&read.key);
    }
    shared.wake.notify_one();
}
