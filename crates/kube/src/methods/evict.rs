//! Evicts one pod by the Eviction API, so that `PodDisruptionBudgets` hold.
//!
//! Never deletes. The eviction carries the pod's uid, so it cannot take a successor of the same name.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions};
use kube::api::PostParams;
use kube::{Api, Client};

use super::api_reply::{self, RequestError};
use super::{API_TIMEOUT, BlockedBy, EffectFault, EffectOutcome, PodRef};

const GRANT: &str = "the operator needs create on pods/eviction in this namespace";

/// Timeout of the read after an eviction timed out. It is one small read.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests the eviction of one pod. `client` must be the one without retries: there, a 429
/// (a disruption budget) would be tried again for minutes.
pub async fn evict_pod(client: &Client, pod: &PodRef) -> EffectOutcome {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    // Not `Api::evict`: kube serialises its delete options under a name that the API ignores.
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(pod.uid.clone()),
                resource_version: None,
            }),
            ..DeleteOptions::default()
        }),
    };
    let params = PostParams::default();
    let request =
        pods.create_subresource::<_, serde_json::Value>("eviction", &pod.name, &params, &eviction);
    match api_reply::request_within(API_TIMEOUT, request).await {
        Ok(_) => EffectOutcome::Done,
        Err(failure @ RequestError::Timeout(_)) => match check_after_timeout(&pods, pod).await {
            Some(outcome) => outcome,
            None => interpret_refusal(&failure, pod),
        },
        Err(failure) => interpret_refusal(&failure, pod),
    }
}

/// Finds out what a timed-out eviction did. The API server tries an eviction again for 10 s when the uid is another
/// one, before it says so (`EvictionsRetry` in its pod storage; seen with 1.36).
async fn check_after_timeout(pods: &Api<Pod>, pod: &PodRef) -> Option<EffectOutcome> {
    match api_reply::request_within(LOOK_TIMEOUT, pods.get_metadata(&pod.name)).await {
        Ok(found) if found.metadata.uid.as_deref() != Some(&pod.uid) => Some(EffectOutcome::Gone),
        Ok(found) => found
            .metadata
            .deletion_timestamp
            .map(|_| EffectOutcome::Done),
        Err(RequestError::Refused(status)) if status.code == 404 => Some(EffectOutcome::Gone),
        Err(_) => None,
    }
}

fn interpret_refusal(failure: &RequestError, pod: &PodRef) -> EffectOutcome {
    let what = format!("evicting pod {}/{}", pod.namespace, pod.name);
    if let RequestError::Refused(status) = failure {
        let budget = api_reply::cause_message(status, "DisruptionBudget");
        // Without that cause a 429 is the API server's own load shedding.
        if status.code == 429 && (budget.is_some() || status.message.contains("disruption budget"))
        {
            return EffectOutcome::blocked(
                BlockedBy::DisruptionBudget,
                format!("{what}: {}", budget.unwrap_or(&status.message)),
            );
        }
        if status.code == 500 && status.message.contains("more than one PodDisruptionBudget") {
            return EffectOutcome::Blocked {
                by: BlockedBy::TooManyDisruptionBudgets,
                message: format!(
                    "{what}: the pod matches more than one PodDisruptionBudget, which the Eviction \
                     API refuses; let only one select it"
                ),
            };
        }
        if status.code == 409 && !api_reply::is_gone(status) {
            // The budget's status changed under the API server's hands.
            return EffectOutcome::failed(
                EffectFault::ApiError,
                format!("{what}: {}", status.message),
            );
        }
    }
    api_reply::classify_failure(failure, &what, GRANT)
}

#[cfg(test)]
mod tests;
