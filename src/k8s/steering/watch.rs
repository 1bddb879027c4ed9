//! Follows one object by its name: reads it, then watches it by the field selector `metadata.name`, and begins again when
//! the watch ends. Neither needs the right to list.

use std::future::Future;
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::{NameKey, NameState, SteeredNames};
use super::observed::SERVICE_NAME;
use dbbalance_api::spec::SteeringVia;
use dbbalance_core::error_chain::format_error_chain;

/// How long one watch lasts, in seconds. API servers allow 5 minutes.
const SERVICE_WATCH: u32 = 290;
/// How long one watch of a slice lasts, in seconds: other slices of the Service are looked for between two watches, and
/// before each write.
const SLICE_WATCH: u32 = 60;
/// The pause after a failed read or watch. The object is patched with a test of its version, so that what is missed
/// meanwhile harms nothing.
const PAUSE: Duration = Duration::from_secs(2);
/// The pause after a refusal, which only an administrator ends.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// Follows all names until `stop` is cancelled.
pub fn watch_names(
    names: &SteeredNames,
    client: &Client,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    for key in names.keys() {
        let (names, client, stop) = (names.clone(), client.clone(), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(follow_name(names, client, key))
                .await;
        });
    }
}

async fn follow_name(names: SteeredNames, client: Client, key: NameKey) {
    match key.via {
        SteeringVia::Service => {
            let api: Api<Service> = Api::namespaced(client, &key.namespace);
            follow_object(&names, &key, &api, SERVICE_WATCH, async || {
                Ok(NameState::Service as fn(_) -> _)
            })
            .await;
        }
        SteeringVia::Slice => {
            let api: Api<EndpointSlice> = Api::namespaced(client, &key.namespace);
            follow_object(&names, &key, &api, SLICE_WATCH, async || {
                let others = list_other_slices(&api, &key.name).await?;
                Ok(move |slice| NameState::Slice {
                    slice,
                    others: others.clone(),
                })
            })
            .await;
        }
    }
}

/// Returns the names of other slices of the Service of this name.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn list_other_slices(
    api: &Api<EndpointSlice>,
    name: &str,
) -> Result<Vec<String>, kube::Error> {
    let params = ListParams::default().labels(&format!("{SERVICE_NAME}={name}"));
    let slices = api.list(&params).await?.items.into_iter();
    let names = slices.map(|slice| slice.name_any());
    Ok(names.filter(|other| other != name).collect())
}

/// Follows one object for ever. `surroundings` reads what belongs to its state besides the object.
async fn follow_object<K, S, F>(
    names: &SteeredNames,
    key: &NameKey,
    api: &Api<K>,
    watch_seconds: u32,
    surroundings: impl Fn() -> F,
) where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    S: Fn(std::sync::Arc<K>) -> NameState,
    F: Future<Output = Result<S, kube::Error>>,
{
    loop {
        if let Err(error) = follow_once(names, key, api, watch_seconds, &surroundings).await {
            let is_refused = matches!(&error, kube::Error::Api(status) if status.code == 403);
            if is_refused {
                names.record(key, NameState::Forbidden);
            }
            tracing::warn!(
                namespace = key.namespace,
                name = key.name,
                via = key.via.as_str(),
                error = %format_error_chain(&error),
                "Cannot follow the steered name, reading it again after a pause; on a 403, grant get, patch and watch by its name"
            );
            let pause = if is_refused { REFUSED_PAUSE } else { PAUSE };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Reads the object, and follows it until the watch ends. What was known of it stays when a request fails.
async fn follow_once<K, S, F>(
    names: &SteeredNames,
    key: &NameKey,
    api: &Api<K>,
    watch_seconds: u32,
    surroundings: &impl Fn() -> F,
) -> Result<(), kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
    S: Fn(std::sync::Arc<K>) -> NameState,
    F: Future<Output = Result<S, kube::Error>>,
{
    let read = api.get_opt(&key.name).await?;
    let to_state = surroundings().await?;
    // From the version that was read. Without an object there is none: then from what stands when the watch starts.
    let version = read.as_ref().and_then(ResourceExt::resource_version);
    let state = read.map_or(NameState::Missing, |object| to_state(object.into()));
    names.record(key, state);
    let params = WatchParams::default()
        .fields(&format!("metadata.name={}", key.name))
        .timeout(watch_seconds);
    let version = version.unwrap_or_else(|| "0".to_owned());
    let mut events = std::pin::pin!(api.watch(&params, &version).await?);
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                names.record(key, to_state(object.into()));
            }
            WatchEvent::Deleted(_) => names.record(key, NameState::Missing),
            WatchEvent::Bookmark(_) => {}
            // The version is too old: read again.
            WatchEvent::Error(status) if status.code == 410 => return Ok(()),
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
