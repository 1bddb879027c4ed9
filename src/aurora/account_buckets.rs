//! One token bucket for each account and region, whatever roles lead to it.
//!
//! AWS counts requests by account and region. The account of a role is part of its ARN; that of the operator's own identity
//! is known once an answer names a cluster.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use super::access::{SourceKey, account_of};
use crate::rate_limit::Bucket;

/// An account, `None` for that of the operator's own identity while it is unknown, and a region.
type AccountRegion = (Option<String>, String);

/// The buckets of all accounts.
#[derive(Debug, Default)]
pub struct AccountBuckets(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    by_account: HashMap<AccountRegion, Arc<Bucket>>,
    /// The account of the operator's own identity.
    own_account: Option<String>,
}

impl AccountBuckets {
    /// Returns the bucket of a source, as far as its account is known.
    #[must_use]
    pub fn bucket_for(&self, key: &SourceKey) -> Arc<Bucket> {
        let mut buckets = self.0.lock();
        let account = match &key.role {
            Some(role) => account_of(&role.arn).map(str::to_owned),
            None => buckets.own_account.clone(),
        };
        buckets.bucket(account, &key.region)
    }

    /// Returns the bucket of a source after an answer has named this cluster, which belongs to the source's account.
    #[must_use]
    pub fn learn_account(&self, key: &SourceKey, cluster_arn: &str) -> Arc<Bucket> {
        let Some(account) = account_of(cluster_arn) else {
            return self.bucket_for(key);
        };
        let mut buckets = self.0.lock();
        let account = Some(account.to_owned());
        if key.role.is_none() {
            buckets.own_account.clone_from(&account);
            // What the own identity has used so far counts, unless the account's bucket is in use already.
            let unknown = (None, key.region.clone());
            if let Some(used) = buckets.by_account.remove(&unknown) {
                let known = (account.clone(), key.region.clone());
                buckets.by_account.entry(known).or_insert(used);
            }
        }
        buckets.bucket(account, &key.region)
    }
}

impl Buckets {
    fn bucket(&mut self, account: Option<String>, region: &str) -> Arc<Bucket> {
        let key = (account, region.to_owned());
        Arc::clone(self.by_account.entry(key).or_default())
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

    #[test]
    fn roles_of_an_account_share_a_bucket_in_each_region() {
        let buckets = AccountBuckets::default();
        let a = source(
            Some(("arn:aws:iam::123456789012:role/a", None)),
            "eu-west-1",
        );
        let b = source(
            Some(("arn:aws:iam::123456789012:role/b", Some("x"))),
            "eu-west-1",
        );
        let elsewhere = source(
            Some(("arn:aws:iam::123456789012:role/a", None)),
            "eu-west-2",
        );
        let other = source(
            Some(("arn:aws:iam::210987654321:role/a", None)),
            "eu-west-1",
        );
        let first = buckets.bucket_for(&a);
        assert!(Arc::ptr_eq(&first, &buckets.bucket_for(&b)));
        assert!(!Arc::ptr_eq(&first, &buckets.bucket_for(&elsewhere)));
        assert!(!Arc::ptr_eq(&first, &buckets.bucket_for(&other)));
    }

    #[test]
    fn the_own_identity_joins_the_bucket_of_its_account_once_that_is_known() {
        let buckets = AccountBuckets::default();
        let own = source(None, "eu-west-1");
        let role = source(
            Some(("arn:aws:iam::123456789012:role/a", None)),
            "eu-west-1",
        );
        let before = buckets.bucket_for(&own);
        let of_account = buckets.bucket_for(&role);
        assert!(!Arc::ptr_eq(&before, &of_account));
        assert!(Arc::ptr_eq(
            &buckets.learn_account(&own, CLUSTER),
            &of_account
        ));
        assert!(
            Arc::ptr_eq(&buckets.bucket_for(&own), &of_account),
            "a source that is built again, too"
        );
    }

    #[test]
    fn the_own_identity_keeps_its_bucket_if_nobody_else_reads_the_account() {
        let buckets = AccountBuckets::default();
        let own = source(None, "eu-west-1");
        let before = buckets.bucket_for(&own);
        assert!(Arc::ptr_eq(&buckets.learn_account(&own, CLUSTER), &before));
    }
}
