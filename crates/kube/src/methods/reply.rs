//! How answers of the API server become outcomes, in the same words for every method.
//!
//! Holds only what all methods share; what a status means for one method is said there.

use std::future::Future;
use std::time::Duration;

use kube::core::Status;

use super::{BlockedBy, Fault, Outcome};
pub(super) use crate::clients::chain;

/// Why a request brought no object.
#[derive(Debug)]
pub(super) enum Failure {
    /// The API server said no.
    Refused(Box<Status>),
    /// It did not answer in time.
    Timeout(Duration),
    /// It could not be asked, or its answer not be read.
    Broken(String),
}

/// Makes one request, at most for the given time.
pub(super) async fn within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(kube::Error::Api(status))) => Err(Failure::Refused(status)),
        Ok(Err(other)) => Err(Failure::Broken(chain(&other))),
        Err(_) => Err(Failure::Timeout(limit)),
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
        || (status.code == 422 && status.message.contains("metadata.uid"))
}

/// True if the namespace is being deleted, which the API server answers with 403 too.
pub(super) fn is_terminating(status: &Status) -> bool {
    status.code == 403
        && (has_cause(status, "NamespaceTerminating")
            || status.message.contains("is being terminated"))
}

/// True if a cause of that reason is given.
pub(super) fn has_cause(status: &Status, reason: &str) -> bool {
    cause(status, reason).is_some()
}

/// The message of the cause of that reason.
pub(super) fn cause<'a>(status: &'a Status, reason: &str) -> Option<&'a str> {
    let details = status.details.as_ref()?;
    details
        .causes
        .iter()
        .find(|c| c.reason == reason)
        .map(|c| c.message.as_str())
}

/// The outcome of a failure that means the same for every method. `what` names the effect and its
/// object, `grant` says what gives the permission that a 403 misses.
pub(super) fn outcome(failure: &Failure, what: &str, grant: &str) -> Outcome {
    let status = match failure {
        Failure::Refused(status) => status,
        Failure::Timeout(limit) => {
            return Outcome::failed(
                Fault::Timeout,
                format!(
                    "{what}: no answer within {} s; it may or may not have happened",
                    limit.as_secs()
                ),
            );
        }
        Failure::Broken(cause) => {
            return Outcome::failed(Fault::Connection, format!("{what}: {cause}"));
        }
    };
    let said = &status.message;
    if is_gone(status) {
        return Outcome::Gone;
    }
    if is_terminating(status) {
        return Outcome::Blocked {
            by: BlockedBy::NamespaceTerminating,
            message: format!("{what}: {said}"),
        };
    }
    match status.code {
        403 => Outcome::failed(Fault::Forbidden, format!("{what}: {said}; {grant}")),
        429 | 503 => Outcome::Blocked {
            by: BlockedBy::ApiServerBusy,
            message: format!("{what}: the API server is busy: {said}"),
        },
        422 => Outcome::failed(Fault::Invalid, format!("{what}: {said}")),
        code => Outcome::failed(
            Fault::ApiError,
            format!("{what}: the API server answered {code}: {said}"),
        ),
    }
}
