//! The task of one source: waits, reads all its clusters in one poll, records the answers and notifies listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::state::{PolledSource, PollerShared};
use crate::aurora::access::ClusterKey;
use crate::aurora::cadence::random_fraction;
use crate::aurora::error::{ReadingError, SourceError};
use crate::aurora::source::ClusterSource;
use crate::aurora::stats::PollResult;
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

/// How long one poll may take. The source's own timeouts end each request after seconds; a thousand clusters are about
/// forty pages at two a second.
const POLL_TIMEOUT: Duration = Duration::from_mins(2);

type SourceAnswers = BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>;

/// Polls until the source is stopped.
pub(super) async fn run_poller(shared: Arc<PollerShared>, polled_source: Arc<PolledSource>) {
    let mut poller = Poller {
        shared,
        polled_source: Arc::clone(&polled_source),
        source: None,
        failures: 0,
    };
    tokio::select! {
        () = polled_source.stop.cancelled() => {}
        () = poller.poll_forever() => {}
    }
}

struct Poller {
    shared: Arc<PollerShared>,
    polled_source: Arc<PolledSource>,
    /// Built when first needed, and again after its credentials have failed.
    source: Option<Arc<dyn ClusterSource>>,
    /// Consecutive failed polls.
    failures: u32,
}

impl Poller {
    async fn poll_forever(&mut self) {
        let mut due = Instant::now() + self.gather_time();
        loop {
            let newcomers = self.wait_until_due(due).await;
            let ids = self.ids_to_poll(newcomers);
            if !ids.is_empty() {
                self.poll_clusters(&ids).await;
            }
            let next = Instant::now() + self.next_delay();
            // New clusters do not delay the others.
            due = if newcomers && self.failures == 0 {
                due.min(next)
            } else {
                next
            };
        }
    }

    fn gather_time(&self) -> Duration {
        self.shared.config.cadence.gather
    }

    /// Waits until the next poll is due, or until new clusters have gathered. Returns true for new clusters. They do not
    /// shorten the backoff of a failing source.
    async fn wait_until_due(&self, due: Instant) -> bool {
        if self.failures > 0 {
            sleep_until(due).await;
            return false;
        }
        tokio::select! {
            () = sleep_until(due) => false,
            () = self.polled_source.poll_request.notified() => false,
            () = self.polled_source.new_cluster.notified() => {
                sleep(self.gather_time()).await;
                Instant::now() < due
            }
        }
    }

    /// Returns all clusters, or only those that were never polled.
    fn ids_to_poll(&self, newcomers: bool) -> BTreeSet<ClusterId> {
        let clusters = self.polled_source.lock_clusters();
        let asked = clusters
            .iter()
            .filter(|(_, entry)| !newcomers || entry.is_new());
        asked.map(|(id, _)| id.clone()).collect()
    }

    async fn poll_clusters(&mut self, ids: &BTreeSet<ClusterId>) {
        let answer = timeout(POLL_TIMEOUT, self.read_source(ids))
            .await
            .unwrap_or_else(|_| {
                let detail = format!("no answer within {} s", POLL_TIMEOUT.as_secs());
                Err(SourceError::Transient {
                    action: "rds:DescribeDBClusters",
                    detail,
                })
            });
        let now = (self.shared.config.clock)();
        let result = match answer {
            Ok(answers) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!(
                        region = self.polled_source.source.region,
                        "Reading clusters works again"
                    );
                }
                self.record_answers(ids, answers, now)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.record_failure(ids, &error)
            }
        };
        self.shared
            .config
            .stats
            .count_poll(&self.polled_source.source, result, now);
    }

    async fn read_source(
        &mut self,
        ids: &BTreeSet<ClusterId>,
    ) -> Result<SourceAnswers, SourceError> {
        let source = match &self.source {
            Some(source) => Arc::clone(source),
            None => {
                self.shared
                    .config
                    .factory
                    .make_source(&self.polled_source.source)
                    .await?
            }
        };
        let answer = source.read(ids).await;
        let keep = !matches!(
            answer,
            Err(SourceError::Credentials { .. } | SourceError::CredentialsExpired { .. })
        );
        self.source = keep.then_some(source);
        answer
    }

    /// Records the answers, cluster by cluster.
    fn record_answers(
        &self,
        ids: &BTreeSet<ClusterId>,
        mut answers: SourceAnswers,
        now: jiff::Timestamp,
    ) -> PollResult {
        let mut result = PollResult::Ok;
        let mut changed = Vec::new();
        let mut clusters = self.polled_source.lock_clusters();
        for id in ids {
            // No policy names it any more.
            let Some(entry) = clusters.get_mut(id) else {
                continue;
            };
            let answer = answers.remove(id).unwrap_or_else(|| {
                let detail = "the source did not return it".to_owned();
                Err(ReadingError::NotWhole {
                    id: id.clone(),
                    detail,
                })
            });
            let is_changed = match answer {
                Ok(reading) => entry.record_reading(reading, now, Instant::now()),
                Err(error) => {
                    if let ReadingError::NotWhole { .. } = error {
                        result = PollResult::NotWhole;
                    }
                    entry.record_failure(error.reason(), &error.to_string())
                }
            };
            if is_changed {
                changed.push(id.clone());
            }
        }
        drop(clusters);
        self.notify_changed(changed);
        result
    }

    /// Records that nothing could be read.
    fn record_failure(&self, ids: &BTreeSet<ClusterId>, error: &SourceError) -> PollResult {
        let (reason, message) = (error.reason(), error.to_string());
        if self.failures == 1 {
            tracing::warn!(
                region = self.polled_source.source.region,
                reason,
                error = message,
                "Reading clusters failed, retrying"
            );
        }
        let mut clusters = self.polled_source.lock_clusters();
        let mut changed = Vec::new();
        for id in ids {
            if clusters
                .get_mut(id)
                .is_some_and(|entry| entry.record_failure(reason, &message))
            {
                changed.push(id.clone());
            }
        }
        drop(clusters);
        self.notify_changed(changed);
        error.class().into()
    }

    fn notify_changed(&self, changed: Vec<ClusterId>) {
        for cluster in changed {
            self.shared.notify_listeners(&ClusterKey {
                source: self.polled_source.source.clone(),
                cluster,
            });
        }
    }

    /// Returns the delay to the next poll.
    fn next_delay(&self) -> Duration {
        let cadence = &self.shared.config.cadence;
        if self.failures > 0 {
            return cadence.after_failure(self.failures, random_fraction());
        }
        let (now, span) = (Instant::now(), cadence.restless_for);
        let moving = self
            .polled_source
            .lock_clusters()
            .values()
            .any(|entry| entry.is_restless(now, span));
        let calls = self.source.as_ref().map_or(0, |s| s.count_last_calls());
        cadence.after_success(moving, calls, random_fraction())
    }
}
