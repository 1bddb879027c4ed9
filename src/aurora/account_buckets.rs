//! One token bucket for each account and region, whatever roles lead to it.
//!
//! AWS counts requests by account and region. A source joins the bucket of its account once AWS has answered it; until then it
//! has one of its own, so that policies with a wrong role or external ID use up nothing of others.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use super::access::{SourceKey, account_of};
use crate::rate_limit::Bucket;

/// The buckets of all accounts.
#[derive(Debug, Default)]
pub struct AccountBuckets(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    /// Of sources that AWS has not answered yet.
    unanswered: HashMap<SourceKey, Arc<Bucket>>,
    /// The account of each source that AWS has answered.
    accounts: HashMap<SourceKey, String>,
    /// By account and region.
    by_account: HashMap<(String, String), Arc<Bucket>>,
}

impl AccountBuckets {
    /// Returns the bucket of a source: that of its account if AWS has answered it before.
    #[must_use]
    pub fn bucket_for(&self, key: &SourceKey) -> Arc<Bucket> {
        let mut buckets = self.0.lock();
        let account = buckets.accounts.get(key).cloned();
        let account = account.map(|account| (account, key.region.clone()));
        let bucket = match account.and_then(|account| buckets.by_account.get(&account)) {
            Some(bucket) => bucket,
            None => buckets.unanswered.entry(key.clone()).or_default(),
        };
        Arc::clone(bucket)
    }

    /// Returns the bucket of a source that AWS has answered. The account is that of its role, or that of a cluster in the
    /// answer for the operator's own identity. If nobody else reads the account, the source keeps the bucket that it has.
    #[must_use]
    pub fn join_account(&self, key: &SourceKey, cluster_arn: Option<&str>) -> Arc<Bucket> {
        let role = key.role.as_ref();
        let by_role = role.and_then(|role| account_of(&role.arn));
        let Some(account) = by_role.or_else(|| account_of(cluster_arn?)) else {
            return self.bucket_for(key);
        };
        let mut buckets = self.0.lock();
        let own = buckets.unanswered.remove(key).unwrap_or_default();
        buckets.accounts.insert(key.clone(), account.to_owned());
        let account = (account.to_owned(), key.region.clone());
        Arc::clone(buckets.by_account.entry(account).or_insert(own))
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
            let bucket = buckets.join_account(&key, Some(CLUSTER));
            assert!(
                Arc::ptr_eq(&bucket, &buckets.bucket_for(&key)),
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
        let account = buckets.join_account(&source(Some((ROLE, None)), "eu-west-1"), None);
        let wrong = source(Some((ROLE, Some("wrong"))), "eu-west-1");
        assert!(!Arc::ptr_eq(&account, &buckets.bucket_for(&wrong)));
        let own = source(None, "eu-west-1");
        let unknown = buckets.join_account(&own, None);
        assert!(Arc::ptr_eq(&unknown, &buckets.bucket_for(&own)));
        assert!(!Arc::ptr_eq(&account, &unknown), "its account is not known");
    }

    #[test]
    fn the_first_source_of_an_account_keeps_its_bucket() {
        let buckets = AccountBuckets::default();
        let own = source(None, "eu-west-1");
        let before = buckets.bucket_for(&own);
        assert!(Arc::ptr_eq(
            &buckets.join_account(&own, Some(CLUSTER)),
            &before
        ));
    }
}
