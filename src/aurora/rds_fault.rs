//! Classifies errors of the AWS SDK by code and HTTP status.
//!
//! Texts are AWS's code and message, or the chain of causes. Neither contains a credential.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_rds::config::http::HttpResponse;
use aws_sdk_rds::error::{ConnectorError, ProvideErrorMetadata, SdkError};

use super::error::SourceError;
use super::whole_body::Truncated;
use dbbalance_core::error_chain::format_error_chain;

/// Codes that mean "ask less often": the SDK's own list of throttling codes (aws-runtime 1.10, `THROTTLING_ERRORS`).
const THROTTLING: [&str; 14] = [
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// Codes of expired credentials (IAM's list of common errors).
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired"];

/// Codes of credentials or signatures that AWS rejects (IAM's list of common errors).
const UNUSABLE: [&str; 7] = [
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
];

/// Codes of a missing right (IAM's list of common errors). Others have status 403.
const DENIED: [&str; 4] = [
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "OptInRequired",
];

/// Codes of temporary errors although their status is 400 (aws-runtime 1.10, `TRANSIENT_ERRORS`).
const PASSING: [&str; 2] = ["RequestTimeout", "RequestTimeoutException"];

/// The action that provides credentials.
const ASSUME_ROLE: &str = "sts:AssumeRole";

/// The longest text of AWS in a message, in bytes: conditions and events have little room.
const MAX_DETAIL: usize = 300;

/// The meaning of a failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RdsFault {
    /// A requested cluster or instance does not exist.
    Missing(String),
    /// AWS rejects the request, so one of its values may be wrong.
    Refused(String),
    /// The source as a whole cannot be read now.
    Source(SourceError),
}

/// Classifies an error of `action`.
pub(super) fn classify_error<E>(action: &'static str, error: &SdkError<E, HttpResponse>) -> RdsFault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(service) = error {
        let (status, error) = (service.raw().status().as_u16(), service.err());
        return classify_code(action, status, error.code(), error.message());
    }
    RdsFault::Source(match error {
        SdkError::ConstructionFailure(_) => SourceError::Rejected {
            action,
            detail: error_text(error),
        },
        _ if find_cause::<CredentialsError>(error).is_some() => classify_credentials_error(error),
        _ => match find_cause::<Truncated>(error) {
            Some(truncated) => SourceError::NotWhole {
                action,
                detail: truncated.to_string(),
            },
            None => SourceError::Transient {
                action,
                detail: error_text(error),
            },
        },
    })
}

/// Classifies an answer by its code and HTTP status.
fn classify_code(
    action: &'static str,
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
) -> RdsFault {
    let code = code.unwrap_or_default();
    let detail = match (code, message) {
        ("", None) => format!("HTTP status {status}"),
        ("", Some(message)) => shorten_text(message),
        (code, None) => code.to_owned(),
        (code, Some(message)) => shorten_text(&format!("{code}: {message}")),
    };
    RdsFault::Source(match code {
        _ if THROTTLING.contains(&code) || status == 429 => {
            SourceError::Throttled { action, detail }
        }
        _ if EXPIRED.contains(&code) => SourceError::CredentialsExpired { detail },
        _ if UNUSABLE.contains(&code) => SourceError::Credentials { detail },
        _ if DENIED.contains(&code) || status == 403 => {
            SourceError::AccessDenied { action, detail }
        }
        _ if PASSING.contains(&code) || status >= 500 => SourceError::Transient { action, detail },
        // The SDK reports XML that it cannot parse as an error of the service.
        _ if (200..300).contains(&status) => SourceError::NotWhole { action, detail },
        "DBClusterNotFoundFault" | "DBInstanceNotFound" | "DBInstanceNotFoundFault" => {
            return RdsFault::Missing(detail);
        }
        _ => return RdsFault::Refused(detail),
    })
}

/// Classifies a failure to get credentials, mostly from STS.
fn classify_credentials_error(error: &(dyn Error + 'static)) -> SourceError {
    let detail = error_text(error);
    if EXPIRED.iter().any(|code| detail.contains(code)) {
        return SourceError::CredentialsExpired { detail };
    }
    // An unreachable STS is temporary. The SDK wraps all of this as a failure to connect, so only the causes below the
    // last provider count. If no provider has credentials, that is not temporary.
    let (mut unreachable, mut slow) = (false, false);
    for cause in error_causes(error) {
        if let Some(provider) = cause.downcast_ref::<CredentialsError>() {
            (unreachable, slow) = (
                false,
                matches!(provider, CredentialsError::ProviderTimedOut(_)),
            );
            if matches!(provider, CredentialsError::CredentialsNotLoaded(_)) {
                break;
            }
        }
        unreachable |= cause.is::<ConnectorError>();
    }
    if unreachable || slow || THROTTLING.iter().any(|code| detail.contains(code)) {
        return SourceError::Transient {
            action: ASSUME_ROLE,
            detail,
        };
    }
    SourceError::Credentials { detail }
}

/// Returns the first cause of this type.
fn find_cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    error_causes(error).find_map(|cause| cause.downcast_ref::<T>())
}

fn error_causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> + 'a {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// Returns the error with its causes on one line: the SDK's own text is just "service error".
fn error_text(error: &(dyn Error + 'static)) -> String {
    shorten_text(&format_error_chain(error))
}

/// Returns at most [`MAX_DETAIL`] bytes of a text, on one line and without its full stop.
fn shorten_text(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.');
    if line.len() <= MAX_DETAIL {
        return line.to_owned();
    }
    let end = (0..=MAX_DETAIL)
        .rev()
        .find(|at| line.is_char_boundary(*at))
        .unwrap_or_default();
    format!("{}…", &line[..end])
}

#[cfg(test)]
mod tests;
