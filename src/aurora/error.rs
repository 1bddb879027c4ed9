//! What goes wrong when a cluster is read, sorted by what somebody can do about it.
//!
//! An error of the source concerns all clusters of a poll, an error of a reading one cluster. Neither ever
//! changes a topology. Messages tell the user what to do, and hold no credential.

use thiserror::Error;

use dbbalance_core::topology::ClusterId;

/// What an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Ask less often.
    Throttled,
    /// Somebody must grant something.
    Denied,
    /// Ask again; it may pass by itself.
    Transient,
    /// The answer was not whole. Ask again.
    NotWhole,
    /// Somebody must correct the policy, or the operator's set-up.
    Permanent,
}

/// The whole poll failed: nothing is known about any of its clusters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// The account's request quota is used up, by whomever.
    #[error(
        "AWS throttles {action} ({detail}): the account's request quota for the RDS API in this region is used \
         up; find who else calls it often, or ask AWS to raise the quota. Reading goes on more slowly"
    )]
    Throttled {
        /// The IAM action.
        action: &'static str,
        /// What AWS said.
        detail: String,
    },
    /// The identity is known and may not do it.
    #[error(
        "AWS denies {action}: {detail}. Allow rds:DescribeDBClusters and rds:DescribeDBInstances on \"*\" to the \
         operator's role, or to the role that the policy names"
    )]
    AccessDenied {
        /// The IAM action.
        action: &'static str,
        /// What AWS said.
        detail: String,
    },
    /// The credentials were good once.
    #[error(
        "the AWS credentials have expired ({detail}): they are fetched anew; if this stays, check the service \
         account's IRSA or Pod Identity association, and the node's clock"
    )]
    CredentialsExpired {
        /// What AWS said.
        detail: String,
    },
    /// There are no credentials, or AWS does not accept them.
    #[error(
        "no usable AWS credentials: {detail}. Give the operator's service account a role, by IRSA or Pod Identity; \
         for a role that the policy names, that role's trust policy must allow sts:AssumeRole to the operator's \
         role, with the policy's external id"
    )]
    Credentials {
        /// What the provider said.
        detail: String,
    },
    /// The policy names a role that the operator may not use.
    #[error(
        "role {arn} is not on the operator's allow-list: add its exact ARN to the operator's allowed roles, or \
         remove roleARN from the policy's cluster"
    )]
    RoleNotAllowed {
        /// The role.
        arn: String,
    },
    /// A time-out, a broken connection, or an answer that AWS itself failed to give.
    #[error("cannot reach AWS for {action}: {detail}. It is tried again")]
    Transient {
        /// The IAM action.
        action: &'static str,
        /// What happened.
        detail: String,
    },
    /// The answer ended early, or its pages did not come to an end.
    #[error("the answer to {action} is not whole: {detail}. It is read again")]
    NotWhole {
        /// The IAM action.
        action: &'static str,
        /// What is missing.
        detail: String,
    },
    /// AWS understood the request and refuses it.
    #[error("AWS refuses {action}: {detail}. Check the policy's cluster identifier and region")]
    Rejected {
        /// The IAM action.
        action: &'static str,
        /// What AWS said.
        detail: String,
    },
}

impl SourceError {
    /// What it asks for.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Throttled { .. } => ErrorClass::Throttled,
            Self::AccessDenied { .. }
            | Self::CredentialsExpired { .. }
            | Self::Credentials { .. }
            | Self::RoleNotAllowed { .. } => ErrorClass::Denied,
            Self::Transient { .. } => ErrorClass::Transient,
            Self::NotWhole { .. } => ErrorClass::NotWhole,
            Self::Rejected { .. } => ErrorClass::Permanent,
        }
    }

    /// The word for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "Throttled",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::CredentialsExpired { .. } => "CredentialsExpired",
            Self::Credentials { .. } => "NoCredentials",
            Self::RoleNotAllowed { .. } => "RoleNotAllowed",
            Self::Transient { .. } => "ReadFailed",
            Self::NotWhole { .. } => NOT_WHOLE,
            Self::Rejected { .. } => "RequestRejected",
        }
    }
}

/// The reason of answers that are not whole, of one cluster or of all.
const NOT_WHOLE: &str = "ReadingNotWhole";

/// One cluster could not be read; the others of the same poll are not concerned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadingError {
    /// There is no such cluster here.
    #[error(
        "the RDS API knows no cluster {0} in this account and region: check the policy's cluster identifier, region \
         and roleARN"
    )]
    NotFound(ClusterId),
    /// The cluster is being deleted. That is no change: its pods have nowhere to go.
    #[error("cluster {0} is being deleted")]
    Deleting(ClusterId),
    /// Multi-AZ clusters, Neptune and `DocumentDB` come in the same answers.
    #[error(
        "cluster {id} has the engine {engine}: dbbalance follows aurora-mysql and aurora-postgresql only"
    )]
    NotAurora {
        /// The asked cluster.
        id: ClusterId,
        /// Its engine.
        engine: String,
    },
    /// Something that every whole answer has is missing, or contradicts itself.
    #[error("the answer about cluster {id} is not whole: {detail}. The last good topology is kept")]
    NotWhole {
        /// The asked cluster.
        id: ClusterId,
        /// What is missing.
        detail: String,
    },
    /// AWS refuses to tell about this one.
    #[error(
        "AWS refuses to describe cluster {id}: {detail}. Check the policy's cluster identifier"
    )]
    Rejected {
        /// The asked cluster.
        id: ClusterId,
        /// What AWS said.
        detail: String,
    },
}

impl ReadingError {
    /// What it asks for.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::NotWhole { .. } => ErrorClass::NotWhole,
            _ => ErrorClass::Permanent,
        }
    }

    /// The word for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::Deleting(_) => "ClusterNotFound",
            Self::NotAurora { .. } => "NotAurora",
            Self::NotWhole { .. } => NOT_WHOLE,
            Self::Rejected { .. } => "RequestRejected",
        }
    }
}
