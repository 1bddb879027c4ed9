//! What can go wrong in a pass, and how it is tried again.
//!
//! What is wrong with a policy is no error but a problem (`validate`); these are failures of the
//! way to the API server.

use crate::k8s::events::OpenEpochError;

/// A failed pass.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The policy cannot be read as one.
    #[error(
        "the policy cannot be read: {0}; apply it again with the CRD of this operator's version"
    )]
    Malformed(String),
    /// The API server did not do it.
    #[error("{doing}: {source}")]
    Kube {
        /// The operation and its object.
        doing: String,
        /// What kube says.
        source: Box<kube::Error>,
    },
    /// The epoch's event could not be made, so that the epoch could not open.
    #[error(transparent)]
    OpenEpoch(#[from] OpenEpochError),
    /// Somebody else wrote the policy between our read and our write.
    #[error("the policy was changed meanwhile")]
    Conflict,
}

impl ReconcileError {
    /// A word for metrics and logs.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "Malformed",
            Self::Kube { .. } => "KubernetesAPI",
            Self::OpenEpoch(_) => "OpenEpoch",
            Self::Conflict => "Conflict",
        }
    }
}
