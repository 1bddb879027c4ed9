//! Errors that fail a reconcile. A problem of the policy itself is not one of them: validation reports it in `Ready`.

use crate::k8s::events::OpenEpochError;
use crate::k8s::watch::ObjectKind;

/// Describes why a reconcile failed. It is retried after a delay.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The object does not match the operator's version of the CRD.
    #[error("cannot parse the policy: {0}; apply it again with the CRD of this operator's version")]
    Malformed(String),
    /// Objects that the policy depends on may not be listed, or are not listed yet.
    #[error(
        "the operator has not listed {} in namespace {namespace}, so the policy is not judged: grant list and watch",
        describe_kinds(kinds)
    )]
    NamespaceUnread {
        /// The policy's namespace.
        namespace: String,
        /// The kinds that are missing.
        kinds: Vec<ObjectKind>,
    },
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
    /// The API server has not answered for long.
    #[error("the API server has not answered within {} s: the reconcile is given up and repeated", .0.as_secs())]
    Unanswered(std::time::Duration),
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
            Self::NamespaceUnread { .. } => "NamespaceUnread",
            Self::Kube { .. } => "KubernetesAPI",
            Self::OpenEpoch(_) => "OpenEpoch",
            Self::Unanswered(_) => "Unanswered",
            Self::Conflict => "Conflict",
        }
    }
}

fn describe_kinds(kinds: &[ObjectKind]) -> String {
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}s")).collect();
    names.join(", ")
}
