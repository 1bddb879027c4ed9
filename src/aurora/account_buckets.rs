//! One token bucket for each account and region, whatever roles lead to it.
//!
//! AWS counts requests by account and region. A source joins the bucket of its account once AWS has answered it; until then it
//! has one of its own, so that policies with a wrong role or external ID use up nothing of others. Roles take turns: one that
//! many policies name with external IDs of their own, each a source, gets no more than any other.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use super::access::{SourceKey, account_of};
use crate::rate_limit::Bucket;

/// A source's share of a bucket.
#[derive(Clone, Debug, Default)]
pub struct BucketShare {
    bucket: Arc<Bucket>,
    /// Held while waiting for a token, by one of the role's sources at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl BucketShare {
    /// Returns the share of a source that has the bucket for itself.
    #[must_use]
    pub fn whole(bucket: Arc<Bucket>) -> Self {
        Self {
            bucket,
            turn: Arc::default(),
        }
    }

    /// Waits for a token and takes it.
    pub async fn take_token(&self) {
        let _turn = self.turn.lock().await;
        self.bucket.acquire().await;
    }
}

/// The buckets of all accounts.
#[derive(Debug, Default)]
pub struct AccountBuckets(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// Of sources that AWS has not answered yet.
    unanswered: HashMap<SourceKey, BucketShare>,
    /// The account of each source that AWS has answered.
    accounts: HashMap<SourceKey, String>,
    /// By account and region.
    by_account: HashMap<(String, String), Arc<Bucket>>,
    /// The turn of each role, `None` for the own identity, in a region.
    turns: HashMap<(Option<String>, String), Arc<tokio::sync::Mutex<()>>>,
}

impl AccountBuckets {
    /// Returns the share of a source: in the bucket of its account if AWS has answered it before.
    #[must_use]
    pub fn share_for(&self, key: &SourceKey) -> BucketShare {
        let mut buckets = self.0.lock();
        match buckets.accounts.get(key).cloned() {
            Some(account) => buckets.share_of(key, account, Arc::default()),
            None => buckets.unanswered.entry(key.clone()).or_default().clone(),
        }
    }

    /// Returns the share of a source that AWS has answered. The account is that of its role, or that of a cluster in the
    /// answer for the operator's own identity. If nobody else reads the account, the source keeps the bucket that it has.
    #[must_use]
    pub fn join_account(&self, key: &SourceKey, cluster_arn: Option<&str>) -> BucketShare {
        let role = key.role.as_ref();
        let by_role = role.and_then(|role| account_of(&role.arn));
        let Some(account) = by_role.or_else(|| account_of(cluster_arn?)) else {
            return self.share_for(key);
        };
        let mut buckets = self.0.lock();
        let own = buckets.unanswered.remove(key).unwrap_or_default();
        buckets.accounts.insert(key.clone(), account.to_owned());
        buckets.share_of(key, account.to_owned(), own.bucket)
    }
}

impl Buckets {
    /// Returns a source's share of its account's bucket, which is `first` if there is none yet.
    fn share_of(&mut self, key: &SourceKey, account: String, first: Arc<Bucket>) -> BucketShare {
        let region = key.region.clone();
        let bucket = self.by_account.entry((account, region.clone()));
        let role = key.role.as_ref().map(|role| role.arn.clone());
        BucketShare {
            bucket: Arc::clone(bucket.or_insert(first)),
            turn: Arc::clone(self.turns.entry((role, region)).or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aurora::access::RoleKey;

    const CLUSTER: &str = "arn:aws:rds:eu-west-1:123456789012:cluster:orders-db";

    fn source(role: Option<(&str, Option<&str>)>, region: &str) -> SourceKey {
        SourceKey {
            role: role.map(|(arn, external_id)| RoleKey {
                arn: arn.to_owned(),
                external_id: external_id.map(str::to_owned),
            }),
            region: region.to_owned(),
        }
    }

    const ROLE: &str = "arn:aws:iam::123456789012:role/a";

    #[test]
    fn sources_of_an_account_share_a_bucket_in_each_region() {
        let buckets = AccountBuckets::default();
        let other_role = "arn:aws:iam::123456789012:role/b";
        let other_account = "arn:aws:iam::210987654321:role/a";
        let joined = |role, region| {
            let key = source(role, region);
            let bucket = buckets.join_account(&key, Some(CLUSTER)).bucket;
            assert!(
                Arc::ptr_eq(&bucket, &buckets.share_for(&key).bucket),
                "a source that is built again has it too"
            );
            bucket
        };
        let first = joined(Some((ROLE, None)), "eu-west-1");
        for same in [Some((ROLE, Some("x"))), Some((other_role, Some("x"))), None] {
            assert!(Arc::ptr_eq(&first, &joined(same, "eu-west-1")), "{same:?}");
        }
        assert!(!Arc::ptr_eq(
            &first,
            &joined(Some((ROLE, None)), "eu-west-2")
        ));
        let elsewhere = joined(Some((other_account, None)), "eu-west-1");
        assert!(!Arc::ptr_eq(&first, &elsewhere));
    }

    #[test]
    fn a_source_that_aws_never_answers_uses_up_no_bucket_of_others() {
        let buckets = AccountBuckets::default();
        let answered = source(Some((ROLE, None)), "eu-west-1");
        let account = buckets.join_account(&answered, None).bucket;
        let wrong = source(Some((ROLE, Some("wrong"))), "eu-west-1");
        assert!(!Arc::ptr_eq(&account, &buckets.share_for(&wrong).bucket));
        let own = source(None, "eu-west-1");
        let unknown = buckets.join_account(&own, None).bucket;
        assert!(Arc::ptr_eq(&unknown, &buckets.share_for(&own).bucket));
        assert!(!Arc::ptr_eq(&account, &unknown), "its account is not known");
    }

    #[test]
    fn the_first_source_of_an_account_keeps_its_bucket() {
        let buckets = AccountBuckets::default();
        let own = source(None, "eu-west-1");
        let before = buckets.share_for(&own).bucket;
        assert!(Arc::ptr_eq(
            &buckets.join_account(&own, Some(CLUSTER)).bucket,
            &before
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_role_with_many_external_ids_does_not_starve_the_other_readers_of_the_account() {
        let buckets = AccountBuckets::default();
        let many = (0..50).map(|n| source(Some((ROLE, Some(&format!("x{n}")))), "eu-west-1"));
        for key in many {
            let share = buckets.join_account(&key, None);
            tokio::spawn(async move {
                loop {
                    share.take_token().await;
                }
            });
        }
        let own = buckets.join_account(&source(None, "eu-west-1"), Some(CLUSTER));
        let began = tokio::time::Instant::now();
        for _ in 0..10 {
            own.take_token().await;
        }
        // Ten tokens at two a second, every other one of which is the role's.
        let took = began.elapsed().as_secs();
        assert!(took <= 11, "{took} s");
    }
}
