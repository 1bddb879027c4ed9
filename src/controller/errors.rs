//! Errors that fail a reconcile. A problem of the policy itself is not one of them: validation reports it in `Ready`.

use crate::k8s::events::OpenEpochError;

/// Describes why a reconcile failed. It is retried after a delay.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The object does not match the operator's version of the CRD.
    #[error("cannot parse the policy: {0}; apply it again with the CRD of this operator's version")]
    Malformed(String),
    /// A request to the API server failed.
    #[error("{doing}: {source}")]
    Kube {
        /// The operation and its object, as in `reading policy shop/orders`.
        doing: String,
        /// The client's error.
        source: Box<kube::Error>,
    },
    /// The event of an epoch could not be written, so the epoch cannot open.
    #[error(transparent)]
    OpenEpoch(#[from] OpenEpochError),
    /// The policy has changed since it was read.
    #[error("the policy has changed since it was read")]
    Conflict,
}

impl ReconcileError {
    /// Returns the reason for metrics and logs.
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
