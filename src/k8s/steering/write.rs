//! Narrows and widens one object. Each is one PATCH of where it leads and of the annotation that says so, which the API
//! server refuses if the object has changed since it was read.

use std::net::Ipv4Addr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cache::{NameKey, NameState, SteeredNames};
use super::observed::normalize_host;
use super::watch::list_other_slices;
use dbbalance_api::spec::SteeringVia;
use dbbalance_api::{FIELD_MANAGER, annotations};
use dbbalance_core::error_chain::format_error_chain;
use dbbalance_core::narrow::NarrowClaim;
use dbbalance_kube::refusal::is_lost_race;

/// The longest time that a write may take: as long as the margin by which a leader stops before another replica may start,
/// with the default lease.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);

/// Where a name is to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameDestination {
    /// To one instance alone.
    Instance {
        /// Who narrows it, and to which instance.
        claim: NarrowClaim,
        /// The instance's endpoint, which a Service gets.
        host: String,
        /// The endpoint's address, which a slice gets; `None` for a Service.
        address: Option<Ipv4Addr>,
    },
    /// To Aurora's own answer.
    Aurora {
        /// The reader endpoint, which a Service gets. `None` if the topology is not known: then what the Service led to
        /// before it was narrowed.
        reader: Option<String>,
    },
}

/// The outcome of [`write_name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameWrite {
    /// The name leads where it should.
    Written,
    /// The object has changed since it was read, or is not there any more: look again.
    LostRace,
    /// It was tried and failed.
    Failed(String),
}

/// Leads a name, by its last known state. `client` must be the client without retries. Whether and when is the caller's
/// decision, as is the lease.
pub async fn write_name(
    client: &Client,
    names: &SteeredNames,
    key: &NameKey,
    lead: &NameDestination,
) -> NameWrite {
    let Some(state) = names.state(key) else {
        return NameWrite::LostRace;
    };
    let body = match patch_body(&state, lead) {
        Ok(Some(body)) => body,
        Ok(None) => return NameWrite::LostRace,
        Err(message) => return NameWrite::Failed(message),
    };
    let written = match state {
        NameState::Service(_) => {
            let api = Api::<Service>::namespaced(client.clone(), &key.namespace);
            patch_object(&api, key, &body)
                .await
                .map(|service| NameState::Service(service.into()))
        }
        NameState::Slice { .. } => {
            let api = Api::<EndpointSlice>::namespaced(client.clone(), &key.namespace);
            patch_slice(&api, names, key, lead, &body).await
        }
        NameState::Unread | NameState::Missing | NameState::Forbidden => {
            return NameWrite::LostRace;
        }
    };
    match written {
        Ok(state) => {
            names.record(key, state);
            NameWrite::Written
        }
        Err(outcome) => outcome,
    }
}

/// Reads an object again, because a write has found that it has changed.
///
/// # Errors
/// When it cannot be read.
pub async fn refresh_name(
    client: &Client,
    names: &SteeredNames,
    key: &NameKey,
) -> Result<(), String> {
    let state = match key.via {
        SteeringVia::Service => {
            let api = Api::<Service>::namespaced(client.clone(), &key.namespace);
            let read = read_object(&api, key).await?;
            read.map_or(NameState::Missing, |service| {
                NameState::Service(service.into())
            })
        }
        SteeringVia::Slice => {
            let api = Api::<EndpointSlice>::namespaced(client.clone(), &key.namespace);
            let read = read_object(&api, key).await?;
            let others = match names.state(key) {
                Some(NameState::Slice { others, .. }) => others,
                _ => Vec::new(),
            };
            read.map_or(NameState::Missing, |slice| NameState::Slice {
                slice: slice.into(),
                others,
            })
        }
    };
    names.record(key, state);
    Ok(())
}

async fn read_object<K>(api: &Api<K>, key: &NameKey) -> Result<Option<K>, String>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let read = within_limit(api.get_opt(&key.name)).await;
    read.map_err(|failure| match to_outcome(&failure, key, "reading") {
        NameWrite::Failed(message) => message,
        _ => format!(
            "reading {} {}/{}",
            key.via.as_str(),
            key.namespace,
            key.name
        ),
    })
}

/// Patches a slice. Just before it is narrowed, other slices of its Service are looked for: DNS would merge them.
async fn patch_slice(
    api: &Api<EndpointSlice>,
    names: &SteeredNames,
    key: &NameKey,
    lead: &NameDestination,
    body: &Value,
) -> Result<NameState, NameWrite> {
    let mut others = Vec::new();
    if matches!(lead, NameDestination::Instance { .. }) {
        others = within_limit(list_other_slices(api, &key.name))
            .await
            .map_err(|e| to_outcome(&e, key, "listing the slices of"))?;
        if !others.is_empty() {
            if let Some(NameState::Slice { slice, .. }) = names.state(key) {
                names.record(key, NameState::Slice { slice, others });
            }
            return Err(NameWrite::LostRace);
        }
    }
    let slice = patch_object(api, key, body).await?.into();
    Ok(NameState::Slice { slice, others })
}

async fn patch_object<K>(api: &Api<K>, key: &NameKey, body: &Value) -> Result<K, NameWrite>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    within_limit(api.patch(&key.name, &params, &Patch::Merge(body)))
        .await
        .map_err(|e| to_outcome(&e, key, "patching"))
}

/// Why a request gave no object; `None` if there was no answer in time.
type RequestFailure = Option<Box<kube::Error>>;

async fn within_limit<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, RequestFailure> {
    match tokio::time::timeout(WRITE_TIMEOUT, request).await {
        Ok(done) => done.map_err(|e| Some(Box::new(e))),
        Err(_) => Err(None),
    }
}

fn to_outcome(failure: &RequestFailure, key: &NameKey, doing: &str) -> NameWrite {
    let what = format!(
        "{doing} {} {}/{}",
        key.via.as_str(),
        key.namespace,
        key.name
    );
    match failure.as_deref() {
        Some(kube::Error::Api(status)) if status.code == 404 || is_lost_race(status) => {
            NameWrite::LostRace
        }
        Some(kube::Error::Api(status)) if status.code == 403 => NameWrite::Failed(format!(
            "{what}: {}; list it in the chart's value steering",
            status.message
        )),
        Some(error) => NameWrite::Failed(format!("{what}: {}", format_error_chain(error))),
        None => NameWrite::Failed(format!(
            "{what}: no answer within {} s; it may or may not have happened",
            WRITE_TIMEOUT.as_secs()
        )),
    }
}

/// Returns the merge patch that leads the object; `None` if there is nothing to patch.
fn patch_body(state: &NameState, lead: &NameDestination) -> Result<Option<Value>, String> {
    let (meta, leading) = match state {
        NameState::Service(service) => {
            let now = service.spec.as_ref().and_then(|s| s.external_name.clone());
            let now = now.unwrap_or_default();
            let host = match lead {
                NameDestination::Instance { host, .. } => Some(host.clone()),
                NameDestination::Aurora { reader } => {
                    host_to_widen(state, &now, reader.as_deref())?
                }
            };
            let leading = host.map(|host| ("spec", json!({"externalName": host})));
            (annotations_patch(service.as_ref(), lead, &now), leading)
        }
        NameState::Slice { slice, .. } => {
            let endpoints = match lead {
                NameDestination::Instance {
                    address: Some(address),
                    ..
                } => json!([{"addresses": [address], "conditions": {"ready": true}}]),
                NameDestination::Instance { address: None, .. } => {
                    return Err("a slice needs an address".to_owned());
                }
                NameDestination::Aurora { .. } => json!([]),
            };
            let meta = annotations_patch(slice.as_ref(), lead, "");
            (meta, Some(("endpoints", endpoints)))
        }
        NameState::Unread | NameState::Missing | NameState::Forbidden => return Ok(None),
    };
    let mut body = json!({"metadata": meta});
    if let Some((field, value)) = leading {
        body[field] = value;
    }
    Ok(Some(body))
}

/// Returns what a Service that leads to `now` is to lead to when it is widened; `None` to leave that as it is, because
/// somebody has led it elsewhere since it was narrowed.
fn host_to_widen(
    state: &NameState,
    now: &str,
    reader: Option<&str>,
) -> Result<Option<String>, String> {
    let now = normalize_host(now);
    let led_to = now.split('.').next().unwrap_or_default();
    let Some(claim) = state.claim() else {
        return Ok(None);
    };
    // A claim that cannot be read names no instance.
    let is_ours = claim.instance.0 == led_to || claim.instance.0.is_empty();
    if !is_ours {
        return Ok(None);
    }
    let host = reader.or_else(|| state.widens_to()).ok_or_else(|| {
        format!(
            "it is not known where the Service led before it was narrowed: the topology is not read, and the annotation \
             {} is missing",
            annotations::WIDENS_TO
        )
    })?;
    Ok(Some(host.to_owned()))
}

/// The annotations of a narrowed object, tested against its UID and version. `led_to` is where it leads now.
fn annotations_patch(object: &impl ResourceExt, lead: &NameDestination, led_to: &str) -> Value {
    let (claim, widens_to) = match lead {
        NameDestination::Instance { claim, .. } => {
            // Narrowed anew without having been widened: it still widens to the same.
            let notes = object.annotations();
            let is_narrowed = notes.contains_key(annotations::NARROWED);
            let before = notes.get(annotations::WIDENS_TO).filter(|_| is_narrowed);
            let widens_to = before.map_or(led_to, String::as_str);
            let widens_to = Some(widens_to).filter(|host| !host.is_empty());
            (json!(claim.to_string()), json!(widens_to))
        }
        NameDestination::Aurora { .. } => (Value::Null, Value::Null),
    };
    json!({
        "uid": object.uid(),
        "resourceVersion": object.resource_version(),
        "annotations": {annotations::NARROWED: claim, annotations::WIDENS_TO: widens_to},
    })
}

#[cfg(test)]
mod tests;
