//! Errors that fail a reconcile. A problem of the policy itself is not one of them: validation reports it in `Ready`.

use std::time::Duration;

use crate::k8s::events::OpenEpochError;
use crate::k8s::watch::ObjectKind;

/// How long the API server may take for one request of a reconcile; the client retries inside. Without a limit, a server
/// that vanishes without a word would keep the reconcile, and with it the policy, until the connection breaks.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The API server did not answer in time. What was asked may have been done.
    #[error("{doing}: the API server gave no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer {
        /// The operation and its object.
        doing: String,
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
            Self::NamespaceUnread { .. } => "NamespaceUnread",
            Self::Kube { .. } | Self::NoAnswer { .. } => "KubernetesAPI",
            Self::OpenEpoch(_) => "OpenEpoch",
            Self::Conflict => "Conflict",
        }
    }
}

/// Waits for the API server's answer to a request, for [`ANSWER_TIMEOUT`] at most. `doing`: the operation and its object.
///
/// # Errors
/// [`ReconcileError::NoAnswer`] when there is none by then. The answer itself may be an error.
pub async fn await_answer<T>(
    doing: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Result<T, kube::Error>, ReconcileError> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, request).await;
    answer.map_err(|_| ReconcileError::NoAnswer {
        doing: doing.to_owned(),
    })
}

fn describe_kinds(kinds: &[ObjectKind]) -> String {
    let names: Vec<String> = kinds.iter().map(|kind| format!("{kind:?}s")).collect();
    names.join(", ")
}
