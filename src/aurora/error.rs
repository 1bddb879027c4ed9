//! Errors of reading clusters, classified by what can be done about them.
//!
//! A [`SourceError`] concerns all clusters of a poll, a [`ReadingError`] one cluster. Neither changes a topology.
//! Messages say what to do and never contain a credential.

use thiserror::Error;

use dbbalance_core::topology::ClusterId;

/// What can be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Send fewer requests.
    Throttled,
    /// A right or credentials must be granted.
    Denied,
    /// Retry: the error may be temporary.
    Transient,
    /// Retry: the answer was incomplete.
    NotWhole,
    /// The policy or the operator's configuration must be corrected.
    Permanent,
}

/// The whole poll failed: nothing is known about any of its clusters.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SourceError {
    /// The account's request quota is used up.
    #[error(
        "AWS throttles {action} ({detail}): the account's request quota for the RDS API in this region is used \
         up; find other frequent callers, or ask AWS to raise the quota. Polling continues more slowly"
    )]
    Throttled {
        /// The IAM action.
        action: &'static str,
        /// What AWS said.
        detail: String,
    },
    /// The identity lacks a right.
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
    /// The credentials have expired.
    #[error(
        "the AWS credentials have expired ({detail}): they are refreshed; if this persists, check the service \
         account's IRSA or Pod Identity association, and the node's clock"
    )]
    CredentialsExpired {
        /// What AWS said.
        detail: String,
    },
    /// There are no credentials, or AWS rejects them.
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
    /// A timeout, a broken connection, or a server error of AWS.
    #[error("cannot reach AWS for {action}: {detail}. It is retried")]
    Transient {
        /// The IAM action.
        action: &'static str,
        /// What happened.
        detail: String,
    },
    /// The answer ended early, or its pages did not end.
    #[error("the answer to {action} is incomplete: {detail}. It is retried")]
    NotWhole {
        /// The IAM action.
        action: &'static str,
        /// What is missing.
        detail: String,
    },
    /// AWS rejects the request.
    #[error("AWS rejects {action}: {detail}. Check the policy's cluster identifier and region")]
    Rejected {
        /// The IAM action.
        action: &'static str,
        /// What AWS said.
        detail: String,
    },
}

impl SourceError {
    /// Returns what can be done about the error.
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

    /// Returns the reason for conditions, events and metrics.
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

/// The reason of incomplete answers, about one cluster or all.
const NOT_WHOLE: &str = "ReadingNotWhole";

/// One cluster could not be read. The others of the same poll are not affected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadingError {
    /// The cluster does not exist in this account and region.
    #[error(
        "the RDS API has no cluster {0} in this account and region: check the policy's cluster identifier, region \
         and roleARN"
    )]
    NotFound(ClusterId),
    /// The cluster is being deleted. That is not a change of topology: its pods have no other instance to use.
    #[error("cluster {0} is being deleted")]
    Deleting(ClusterId),
    /// The cluster is stopped, or on its way there or back. That is not a change of topology: its instances all stop with
    /// it, and return.
    #[error(
        "cluster {id} is {status}: its topology is not observed, and nothing is recycled, until it is available again"
    )]
    Stopped {
        /// The asked cluster.
        id: ClusterId,
        /// Its status.
        status: String,
    },
    /// Another engine: the same API also returns Multi-AZ clusters, Neptune and `DocumentDB`.
    #[error(
        "cluster {id} has the engine {engine}: dbbalance supports aurora-mysql and aurora-postgresql only"
    )]
    NotAurora {
        /// The asked cluster.
        id: ClusterId,
        /// Its engine.
        engine: String,
    },
    /// A required field is missing, or two fields contradict each other.
    #[error(
        "the answer about cluster {id} is incomplete: {detail}. The last complete topology is kept"
    )]
    NotWhole {
        /// The asked cluster.
        id: ClusterId,
        /// What is missing.
        detail: String,
    },
    /// AWS rejects the request for this cluster.
    #[error(
        "AWS rejects the request for cluster {id}: {detail}. Check the policy's cluster identifier"
    )]
    Rejected {
        /// The asked cluster.
        id: ClusterId,
        /// What AWS said.
        detail: String,
    },
}

impl ReadingError {
    /// Returns what can be done about the error.
    #[must_use]
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::NotWhole { .. } => ErrorClass::NotWhole,
            _ => ErrorClass::Permanent,
        }
    }

    /// Returns the reason for conditions, events and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::Deleting(_) => "ClusterNotFound",
            Self::Stopped { .. } => "ClusterStopped",
            Self::NotAurora { .. } => "NotAurora",
            Self::NotWhole { .. } => NOT_WHOLE,
            Self::Rejected { .. } => "RequestRejected",
        }
    }
}
