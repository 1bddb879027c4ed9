//! Reads clusters through the RDS API: `DescribeDBClusters` and `DescribeDBInstances`, for up to a hundred
//! clusters a call.
//!
//! It does not retry, because `poller` backs off. `validate` checks that the answers are complete.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use aws_sdk_rds::Client;
use aws_sdk_rds::config::Builder;
use aws_sdk_rds::config::retry::RetryConfig;
use aws_sdk_rds::types::{DbCluster, DbInstance, Filter};

use super::access::SourceKey;
use super::account_buckets::{AccountBuckets, BucketShare};
use super::error::{ReadingError, SourceError};
use super::rds_fault::{RdsFault, classify_error};
use super::source::ClusterSource;
use super::validate;
use super::whole_body::WholeBody;
use crate::rate_limit::Bucket;
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

/// The most values that AWS accepts in one filter (cloud-custodian PR 10133 quotes the error).
const IDS_PER_CALL: usize = 100;

/// The most rows on one page, which is also AWS's default.
const ROWS_PER_PAGE: i32 = 100;

/// Pages after which an answer is considered endless: a hundred clusters have at most 1,600 instances.
const MAX_PAGES: usize = 32;

/// How often a rejected batch may be split in one poll, to find the ID that it was rejected for: 8 splits find one among
/// a hundred, and cost at most 16 calls, once.
const MAX_SPLITS: usize = 8;

/// The most refused IDs that are remembered: more than an operator follows clusters.
const MAX_REFUSED: usize = 1_000;

/// The filter that both calls have.
const CLUSTER_FILTER: &str = "db-cluster-id";

const CLUSTERS: &str = "rds:DescribeDBClusters";
const INSTANCES: &str = "rds:DescribeDBInstances";

/// Reads clusters of one account and region by one identity.
#[derive(Debug)]
pub struct RdsSource {
    client: Client,
    bucket: Mutex<BucketShare>,
    /// The buckets of all accounts, and the source that this one is for.
    accounts: Option<(Arc<AccountBuckets>, SourceKey)>,
    shunned: Mutex<RefusedIds>,
    /// Calls of the read that runs or ran last.
    calls: AtomicU32,
}

/// IDs for which AWS rejected a whole batch. They are requested separately, one a poll in turn, so that they neither fail
/// the others nor add to the call rate.
#[derive(Debug, Default)]
struct RefusedIds {
    errors: BTreeMap<ClusterId, ReadingError>,
    turn: VecDeque<ClusterId>,
}

impl RefusedIds {
    /// Adds an ID. IDs that no poll asks for any more stay until newer ones need their place: a poll may ask for new
    /// clusters alone, so that an ID which it leaves out is not one that nobody wants.
    fn add(&mut self, id: ClusterId, error: ReadingError) {
        if self.errors.insert(id.clone(), error).is_none() {
            self.turn.push_back(id);
        }
        if self.turn.len() > MAX_REFUSED
            && let Some(oldest) = self.turn.pop_front()
        {
            self.errors.remove(&oldest);
        }
    }

    /// Returns the ID to request in this poll of these IDs, and moves it to the end of the queue.
    fn next(&mut self, asked: &BTreeSet<ClusterId>) -> Option<ClusterId> {
        let place = self.turn.iter().position(|id| asked.contains(id))?;
        let id = self.turn.remove(place)?;
        self.turn.push_back(id.clone());
        Some(id)
    }

    fn remove(&mut self, id: &ClusterId) {
        if self.errors.remove(id).is_some() {
            self.turn.retain(|other| other != id);
        }
    }
}

impl RdsSource {
    /// Returns a source with this configuration, which takes a token from the bucket for each request. Retries are always
    /// off, because they would bypass the bucket. A truncated answer is always an error.
    #[must_use]
    pub fn new(config: Builder, bucket: Arc<Bucket>) -> Self {
        let config = config
            .retry_config(RetryConfig::disabled())
            .interceptor(WholeBody);
        let client = Client::from_conf(config.build());
        Self {
            client,
            bucket: Mutex::new(BucketShare::whole(bucket)),
            accounts: None,
            shunned: Mutex::default(),
            calls: AtomicU32::new(0),
        }
    }

    /// Returns the source with the buckets of all accounts: it takes its tokens from that of its account once AWS has
    /// answered it.
    #[must_use]
    pub fn with_accounts(mut self, accounts: Arc<AccountBuckets>, key: &SourceKey) -> Self {
        self.bucket = Mutex::new(accounts.share_for(key));
        self.accounts = Some((accounts, key.clone()));
        self
    }

    async fn take_token(&self) {
        let share = self.bucket.lock().clone();
        share.take_token().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Switches to the bucket of the account that has answered with these rows.
    fn follow_account(&self, rows: &[DbCluster]) {
        if let Some((accounts, key)) = &self.accounts {
            let arn = rows.iter().find_map(DbCluster::db_cluster_arn);
            *self.bucket.lock() = accounts.join_account(key, arn);
        }
    }

    fn lock_refused(&self) -> MutexGuard<'_, RefusedIds> {
        self.shunned.lock()
    }

    /// Returns the batches of a poll: at most a hundred IDs each, and one rejected ID separately.
    fn next_batches(&self, ids: &BTreeSet<ClusterId>) -> Vec<Vec<ClusterId>> {
        let mut shunned = self.lock_refused();
        let alone = shunned.next(ids);
        let together: Vec<ClusterId> = ids
            .iter()
            .filter(|id| !shunned.errors.contains_key(id))
            .cloned()
            .collect();
        let mut batches: Vec<_> = together.chunks(IDS_PER_CALL).map(<[_]>::to_vec).collect();
        batches.extend(alone.map(|id| vec![id]));
        batches
    }

    /// Returns the rows of all clusters that exist. IDs that AWS rejects are requested separately from then on.
    async fn read_cluster_rows(
        &self,
        ids: &BTreeSet<ClusterId>,
    ) -> Result<Vec<DbCluster>, SourceError> {
        let mut batches = self.next_batches(ids);
        let mut splits = 0;
        let mut rows = Vec::new();
        while let Some(mut batch) = batches.pop() {
            let (missing, detail) = match self.read_cluster_pages(&batch).await {
                Ok(found) => {
                    rows.extend(found);
                    if let [id] = batch.as_slice() {
                        self.lock_refused().remove(id);
                    }
                    continue;
                }
                Err(RdsFault::Source(error)) => return Err(error),
                Err(RdsFault::Missing(detail)) => (true, detail),
                Err(RdsFault::Refused(detail)) => (false, detail),
            };
            if batch.len() > 1 {
                splits += 1;
                if splits > MAX_SPLITS {
                    return Err(SourceError::Rejected {
                        action: CLUSTERS,
                        detail,
                    });
                }
                let rest = batch.split_off(batch.len() / 2);
                batches.extend([batch, rest]);
                continue;
            }
            for id in batch {
                let error = if missing {
                    ReadingError::NotFound(id.clone())
                } else {
                    ReadingError::Rejected {
                        id: id.clone(),
                        detail: detail.clone(),
                    }
                };
                self.lock_refused().add(id, error);
            }
        }
        Ok(rows)
    }

    /// Returns the rows of all instances of these clusters.
    async fn read_instance_rows(&self, ids: &[ClusterId]) -> Result<Vec<DbInstance>, SourceError> {
        let mut rows = Vec::new();
        for batch in ids.chunks(IDS_PER_CALL) {
            match self.read_instance_pages(batch).await {
                Ok(found) => rows.extend(found),
                // A cluster was deleted between the two calls. The next poll does not request it.
                Err(RdsFault::Missing(_)) => {}
                Err(RdsFault::Refused(detail)) => {
                    return Err(SourceError::Rejected {
                        action: INSTANCES,
                        detail,
                    });
                }
                Err(RdsFault::Source(error)) => return Err(error),
            }
        }
        Ok(rows)
    }

    async fn read_cluster_pages(&self, ids: &[ClusterId]) -> Result<Vec<DbCluster>, RdsFault> {
        let mut pages = PageMarkers::new(CLUSTERS);
        let mut rows = Vec::new();
        loop {
            self.take_token().await;
            let call = self
                .client
                .describe_db_clusters()
                .filters(cluster_filter(ids));
            let call = call.max_records(ROWS_PER_PAGE).set_marker(pages.marker());
            let page = call
                .send()
                .await
                .map_err(|error| classify_error(CLUSTERS, &error))?;
            rows.extend(page.db_clusters.unwrap_or_default());
            if pages.is_last(page.marker)? {
                return Ok(rows);
            }
        }
    }

    async fn read_instance_pages(&self, ids: &[ClusterId]) -> Result<Vec<DbInstance>, RdsFault> {
        let mut pages = PageMarkers::new(INSTANCES);
        let mut rows = Vec::new();
        loop {
            self.take_token().await;
            let call = self
                .client
                .describe_db_instances()
                .filters(cluster_filter(ids));
            let call = call.max_records(ROWS_PER_PAGE).set_marker(pages.marker());
            let page = call
                .send()
                .await
                .map_err(|error| classify_error(INSTANCES, &error))?;
            rows.extend(page.db_instances.unwrap_or_default());
            if pages.is_last(page.marker)? {
                return Ok(rows);
            }
        }
    }
}

#[async_trait]
impl ClusterSource for RdsSource {
    async fn read(
        &self,
        ids: &BTreeSet<ClusterId>,
    ) -> Result<BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>, SourceError> {
        self.calls.store(0, Ordering::Relaxed);
        let clusters = self.read_cluster_rows(ids).await?;
        self.follow_account(&clusters);
        let followable: Vec<ClusterId> = ids
            .iter()
            .filter(|id| clusters.iter().any(|row| validate::is_followable(row, id)))
            .cloned()
            .collect();
        let instances = self.read_instance_rows(&followable).await?;
        let shunned = self.lock_refused();
        let read = |id: &ClusterId| match shunned.errors.get(id) {
            Some(error) => Err(error.clone()),
            None => validate::build_reading(id, &clusters, &instances),
        };
        Ok(ids.iter().map(|id| (id.clone(), read(id))).collect())
    }

    fn count_last_calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }
}

fn cluster_filter(ids: &[ClusterId]) -> Filter {
    let values = ids.iter().map(|id| id.0.clone()).collect();
    Filter::builder()
        .name(CLUSTER_FILTER)
        .set_values(Some(values))
        .build()
}

/// The markers of an answer with several pages.
#[derive(Debug)]
struct PageMarkers {
    action: &'static str,
    seen: Vec<String>,
}

impl PageMarkers {
    fn new(action: &'static str) -> Self {
        Self {
            action,
            seen: Vec::new(),
        }
    }

    /// Returns the marker that requests the next page.
    fn marker(&self) -> Option<String> {
        self.seen.last().cloned()
    }

    /// Returns whether the page with this marker was the last one.
    fn is_last(&mut self, marker: Option<String>) -> Result<bool, RdsFault> {
        let Some(marker) = marker.filter(|marker| !marker.is_empty()) else {
            return Ok(true);
        };
        if self.seen.contains(&marker) || self.seen.len() + 1 >= MAX_PAGES {
            let detail = format!(
                "more pages than expected ({} were read)",
                self.seen.len() + 1
            );
            return Err(RdsFault::Source(SourceError::NotWhole {
                action: self.action,
                detail,
            }));
        }
        self.seen.push(marker);
        Ok(false)
    }
}
