//! The probe's task: one place and one token for each read, then the most important one.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout};

use super::Shared;
use super::book::{Next, Read};
use dbbalance_core::evidence::{Unreadable, UnreadableReason};

/// Reads for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        wait_for_work(&shared).await;
        // Place and token first: what is most important is decided as late as can be.
        let Ok(place) = Arc::clone(&shared.slots).acquire_owned().await else {
            return;
        };
        shared.bucket.take().await;
        let wall = (shared.config.clock)();
        let read = shared.book().take(wall, Instant::now());
        if let Some(read) = read {
            let stop = shared.stop.clone();
            let work = work(Arc::clone(&shared), read, place);
            tokio::spawn(stop.run_until_cancelled_owned(work));
        }
    }
}

async fn wait_for_work(shared: &Shared) {
    loop {
        let next = shared.book().next(Instant::now());
        match next {
            Next::Now => return,
            Next::At(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = shared.wake.notified() => {}
            },
            Next::Idle => shared.wake.notified().await,
        }
    }
}

async fn work(shared: Arc<Shared>, read: Read, place: OwnedSemaphorePermit) {
    let limit = shared.config.timeout;
    let result = timeout(limit, shared.config.reader.read(&read.pod))
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
        .read(result.as_ref().map(drop).map_err(|why| why.reason));
    if let Err(why) = &result {
        tracing::debug!(
            reason = why.reason.as_str(),
            message = why.message,
            "a pod was not read"
        );
    }
    let ended = shared.book().finish(&read, result, Instant::now());
    if ended {
        shared.tell(&read.key);
    }
    shared.wake.notify_one();
}
