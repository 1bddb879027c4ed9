//! Names the role and region by which a cluster is read, and checks which roles are allowed.
//!
//! Credentials are made in `factory`, only for allowed roles.

use std::collections::BTreeSet;

use super::error::SourceError;
use dbbalance_core::topology::ClusterId;

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleKey {
    /// The role's ARN.
    pub arn: String,
    /// The external ID that its trust policy requires.
    pub external_id: Option<String>,
}

/// The source of one poller: a role in a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The role to assume; `None` is the operator's own identity.
    pub role: Option<RoleKey>,
    /// The region, as in `eu-west-1`.
    pub region: String,
}

/// A cluster, and the role and region by which it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// The role and the region.
    pub source: SourceKey,
    /// The cluster.
    pub cluster: ClusterId,
}

/// The roles that policies may use: exact ARNs from the operator's configuration. An empty list allows none, because the
/// author of a policy could otherwise use any role that trusts the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleAllowList(BTreeSet<String>);

impl RoleAllowList {
    /// Returns a list of exact role ARNs, without the spaces around them.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(arns: I) -> Self {
        let trimmed = arns.into_iter().map(|arn| arn.into().trim().to_owned());
        Self(trimmed.filter(|arn| !arn.is_empty()).collect())
    }

    /// Checks that the role of a source is allowed. The operator's own identity always is.
    ///
    /// # Errors
    /// [`SourceError::RoleNotAllowed`] for a role whose ARN is not exactly on the list.
    pub fn check(&self, key: &SourceKey) -> Result<(), SourceError> {
        match &key.role {
            Some(role) if !self.0.contains(&role.arn) => Err(SourceError::RoleNotAllowed {
                arn: role.arn.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the account of an ARN: its fifth part.
#[must_use]
pub fn account_of(arn: &str) -> Option<&str> {
    arn.split(':').nth(4).filter(|account| !account.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(arn: Option<&str>) -> SourceKey {
        let role = arn.map(|arn| RoleKey {
            arn: arn.to_owned(),
            external_id: None,
        });
        SourceKey {
            role,
            region: "eu-west-1".to_owned(),
        }
    }

    #[test]
    fn empty_list_allows_no_role_and_the_own_identity() {
        let list = RoleAllowList::default();
        assert!(list.check(&key(None)).is_ok());
        assert!(list.check(&key(Some("arn:aws:iam::1:role/a"))).is_err());
    }

    #[test]
    fn only_exact_arns_are_allowed() {
        let list = RoleAllowList::new([" arn:aws:iam::1:role/a ", "arn:aws:iam::1:role/*", ""]);
        assert!(list.check(&key(Some("arn:aws:iam::1:role/a"))).is_ok());
        for arn in [
            "arn:aws:iam::1:role/ab",
            "arn:aws:iam::1:role/A",
            "arn:aws:iam::1:role/",
            "",
        ] {
            assert!(list.check(&key(Some(arn))).is_err(), "{arn}");
        }
    }
}
