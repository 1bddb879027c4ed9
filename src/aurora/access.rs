//! By whose right a cluster is read: the account role and the region, and which roles may be used at all.
//!
//! Decides, and asks nobody: the credentials themselves are made in `factory`, after this has agreed.

use std::collections::BTreeSet;

use super::error::SourceError;
use dbbalance_core::topology::ClusterId;

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleKey {
    /// The role's ARN.
    pub arn: String,
    /// The external id that its trust policy asks for.
    pub external_id: Option<String>,
}

/// What is polled by one poller: one role (none: the operator's own identity) in one region.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// The role to assume; none is the operator's own identity.
    pub role: Option<RoleKey>,
    /// The region, as in `eu-west-1`.
    pub region: String,
}

/// One cluster, and by whose right it is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// The account role and the region.
    pub source: SourceKey,
    /// The cluster.
    pub cluster: ClusterId,
}

/// The roles that policies may name: exact ARNs, given by whoever runs the operator. An empty list allows none,
/// since a policy's author could else borrow any role that trusts the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleAllowList(BTreeSet<String>);

impl RoleAllowList {
    /// A list of exact role ARNs; blanks around them do not count.
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(arns: I) -> Self {
        let trimmed = arns.into_iter().map(|arn| arn.into().trim().to_owned());
        Self(trimmed.filter(|arn| !arn.is_empty()).collect())
    }

    /// Whether this source may be used. The operator's own identity always may.
    ///
    /// # Errors
    /// [`SourceError::RoleNotAllowed`] for a role that is not on the list, letter by letter.
    pub fn check(&self, key: &SourceKey) -> Result<(), SourceError> {
        match &key.role {
            Some(role) if !self.0.contains(&role.arn) => Err(SourceError::RoleNotAllowed {
                arn: role.arn.clone(),
            }),
            _ => Ok(()),
        }
    }
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
