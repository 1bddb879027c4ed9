//! Reads the header of a hook from its Secret: by name, at the moment of use, and kept no longer than the request.

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::super::api_reply::{self, RequestError};
use super::super::{API_TIMEOUT, EffectFault, EffectOutcome};
use dbbalance_api::spec::HeaderSecretRef;

const GRANT: &str = "list the Secret in the chart's value http.headerSecrets";

/// Reads the header. Its value is marked as sensitive, so that it is printed nowhere.
///
/// # Errors
/// The outcome to report if the Secret cannot be read or has no such value. Nothing of the value is in its message.
pub(super) async fn read_header(
    client: &Client,
    namespace: &str,
    reference: &HeaderSecretRef,
) -> Result<(HeaderName, HeaderValue), EffectOutcome> {
    let HeaderSecretRef { name, key, header } = reference;
    let what = format!("reading Secret {namespace}/{name} for the hook's header");
    let missing = |why: String| {
        let message = format!("{what}: {why}: correct recycle.http.headerSecretRef");
        EffectOutcome::failed(EffectFault::NoSuchSecret, message)
    };
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = match api_reply::request_within(API_TIMEOUT, secrets.get(name)).await {
        Ok(secret) => secret,
        Err(RequestError::Refused(status)) if status.code == 404 => {
            return Err(missing("there is none of this name".to_owned()));
        }
        Err(failure) => return Err(api_reply::classify_failure(&failure, &what, GRANT)),
    };
    let Some(value) = secret.data.as_ref().and_then(|data| data.get(key)) else {
        return Err(missing(format!("it has no key {key}")));
    };
    // Editors and `echo` end a file with a newline, which no header may contain.
    let value = value.0.trim_ascii_end();
    match (
        HeaderName::from_bytes(header.as_bytes()),
        HeaderValue::from_bytes(value),
    ) {
        (Ok(name), Ok(mut value)) => {
            value.set_sensitive(true);
            Ok((name, value))
        }
        _ => Err(missing(format!(
            "the value of key {key} cannot be the header {header}"
        ))),
    }
}
