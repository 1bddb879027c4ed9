//! Classifies answers of the API server as outcomes, with the same messages for every method. A status that means
//! something else for one method is classified in that method's module.

use std::future::Future;
use std::time::Duration;

use kube::core::Status;

use super::{BlockedBy, EffectFault, EffectOutcome};
use crate::refusal::is_about_field;
pub(super) use dbbalance_core::error_chain::format_error_chain;

/// A reason why a request returned no object.
#[derive(Debug)]
pub(super) enum RequestError {
    /// The API server refused.
    Refused(Box<Status>),
    /// It did not answer within the timeout.
    Timeout(Duration),
    /// The request failed, or its answer could not be read.
    Broken(String),
}

/// Makes one request with a timeout.
pub(super) async fn request_within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(RequestError::Refused(status)),
        Ok(Err(other)) => Err(RequestError::Broken(format_error_chain(&other))),
        Err(_) => Err(RequestError::Timeout(limit)),
    }
}

/// True if the answer says that the object of this uid is not there any more.
pub(super) fn is_gone(status: &Status) -> bool {
    // A test of the uid is answered as a conflict (in one of three wordings), or as a change of an
    // immutable field (422). The wordings are those of kube-apiserver 1.36.
    const OTHER_UID: [&str; 3] = [
        "UID in precondition",
        "UID in the precondition",
        "uid mismatch",
    ];
    status.code == 404
        || (status.code == 409 && OTHER_UID.iter().any(|words| status.message.contains(words)))
        || (status.code == 422 && is_about_field(status, "metadata.uid"))
}

/// True if the namespace is being deleted, which the API server answers with 403 too.
pub(super) fn is_terminating(status: &Status) -> bool {
    status.code == 403
        && (has_cause(status, "NamespaceTerminating")
            || status.message.contains("is being terminated"))
}

/// True if a cause of that reason is given.
pub(super) fn has_cause(status: &Status, reason: &str) -> bool {
    cause_message(status, reason).is_some()
}

/// The message of the cause of that reason.
pub(super) fn cause_message<'a>(status: &'a Status, reason: &str) -> Option<&'a str> {
    let details = status.details.as_ref()?;
    details
        .causes
        .iter()
        .find(|c| c.reason == reason)
        .map(|c| c.message.as_str())
}

/// Classifies a failure that means the same for every method. `what` names the effect and its object, `grant` the
/// permission that a 403 misses.
pub(super) fn classify_failure(failure: &RequestError, what: &str, grant: &str) -> EffectOutcome {
    let status = match failure {
        RequestError::Refused(status) => status,
        RequestError::Timeout(limit) => {
            return EffectOutcome::failed(
                EffectFault::Timeout,
                format!(
                    "{what}: no answer within {} s; it may or may not have happened",
                    limit.as_secs()
                ),
            );
        }
        RequestError::Broken(cause) => {
            return EffectOutcome::failed(EffectFault::Connection, format!("{what}: {cause}"));
        }
    };
    let said = &status.message;
    if is_gone(status) {
        return EffectOutcome::Gone;
    }
    if is_terminating(status) {
        return EffectOutcome::blocked(BlockedBy::NamespaceTerminating, format!("{what}: {said}"));
    }
    match status.code {
        403 => EffectOutcome::failed(EffectFault::Forbidden, format!("{what}: {said}; {grant}")),
        429 | 503 => EffectOutcome::blocked(
            BlockedBy::ApiServerBusy,
            format!("{what}: the API server is busy: {said}"),
        ),
        422 => EffectOutcome::failed(EffectFault::Invalid, format!("{what}: {said}")),
        code => EffectOutcome::failed(
            EffectFault::ApiError,
            format!("{what}: the API server answered {code}: {said}"),
        ),
    }
}
