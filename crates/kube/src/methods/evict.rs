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

/// How long the look after a time-out may take; it is one small read.
const LOOK_TIMEOUT: Duration = Duration::from_secs(3);

/// Asks for the eviction of that very pod. `client` must be the one without retries: there, a 429
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

/// What a time-out came to. The API server tries an eviction again for 10 s when the uid is another
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
            return EffectOutcome::Blocked {
                by: BlockedBy::DisruptionBudget,
                message: match budget {
                    Some(budget) => format!("{what}: {budget}"),
                    None => format!("{what}: {}", status.message),
                },
            };
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::super::testing::{
        client_answering, client_silent_then, failure_body, failure_body_with_cause, pod_ref,
        silent_client,
    };
    use super::*;

    async fn answered(code: u16, body: serde_json::Value) -> EffectOutcome {
        let (client, _seen) = client_answering(code, body);
        evict_pod(&client, &pod_ref()).await
    }

    #[tokio::test]
    async fn an_eviction_carries_the_uid_as_a_precondition() {
        let (client, seen) = client_answering(201, json!({"kind": "Status", "status": "Success"}));
        assert_eq!(evict_pod(&client, &pod_ref()).await, EffectOutcome::Done);
        let seen = seen.await.unwrap();
        assert_eq!(seen.method, "POST");
        assert!(
            seen.uri
                .starts_with("/api/v1/namespaces/shop/pods/web-1/eviction")
        );
        assert_eq!(
            seen.body,
            json!({
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": "web-1", "namespace": "shop"},
                "deleteOptions": {"preconditions": {"uid": "u-1"}}
            })
        );
    }

    #[tokio::test]
    async fn a_disruption_budget_is_a_gate_and_is_named() {
        let said = failure_body_with_cause(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
            (
                "DisruptionBudget",
                "The disruption budget web needs 3 healthy pods and has 3 currently",
            ),
        );
        let EffectOutcome::Blocked { by, message } = answered(429, said).await else {
            panic!("not a gate");
        };
        assert_eq!(by, BlockedBy::DisruptionBudget);
        assert!(
            message.contains("The disruption budget web needs 3"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn load_shedding_is_not_taken_for_a_disruption_budget() {
        let said = failure_body(
            429,
            "TooManyRequests",
            "Too many requests, please try again later.",
        );
        let EffectOutcome::Blocked { by, .. } = answered(429, said).await else {
            panic!("not a gate");
        };
        assert_eq!(by, BlockedBy::ApiServerBusy);
    }

    #[tokio::test]
    async fn a_pod_of_two_budgets_can_never_be_evicted_and_the_message_says_why() {
        let said = failure_body(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        );
        let EffectOutcome::Blocked { by, message } = answered(500, said).await else {
            panic!("not a gate");
        };
        assert_eq!(by, BlockedBy::TooManyDisruptionBudgets);
        assert!(message.contains("let only one select it"));
    }

    #[tokio::test]
    async fn a_pod_that_left_or_was_replaced_is_gone() {
        let left = failure_body(404, "NotFound", "pods \"web-1\" not found");
        assert_eq!(answered(404, left).await, EffectOutcome::Gone);
        let replaced = failure_body(
            409,
            "Conflict",
            "Operation cannot be fulfilled on Pod \"web-1\": the UID in the precondition (u-1) does not match the UID in record (u-2). The object might have been deleted and then recreated",
        );
        assert_eq!(answered(409, replaced).await, EffectOutcome::Gone);
    }

    #[tokio::test]
    async fn a_terminating_namespace_is_told_from_a_missing_permission() {
        let ending = failure_body_with_cause(
            403,
            "Forbidden",
            "unable to create new content in namespace shop because it is being terminated",
            ("NamespaceTerminating", "namespace shop is being terminated"),
        );
        let EffectOutcome::Blocked { by, .. } = answered(403, ending).await else {
            panic!("not a gate");
        };
        assert_eq!(by, BlockedBy::NamespaceTerminating);
        let forbidden = failure_body(403, "Forbidden", "User cannot create resource");
        let EffectOutcome::Failed { fault, message } = answered(403, forbidden).await else {
            panic!("not a failure");
        };
        assert_eq!(fault, EffectFault::Forbidden);
        assert!(fault.is_structural());
        assert!(message.contains("pods/eviction"));
    }

    #[tokio::test]
    async fn other_errors_of_the_server_are_no_gates() {
        let EffectOutcome::Failed { fault, .. } =
            answered(500, failure_body(500, "InternalError", "etcd")).await
        else {
            panic!("not a failure");
        };
        assert_eq!(fault, EffectFault::ApiError);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hung_server_ends_in_a_time_out() {
        let EffectOutcome::Failed { fault, .. } = evict_pod(&silent_client(), &pod_ref()).await
        else {
            panic!("not a failure");
        };
        assert_eq!(fault, EffectFault::Timeout);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_time_out_the_pod_says_what_happened() {
        let found = |uid: &str, ends: Option<&str>| json!({"metadata": {"name": "web-1", "uid": uid, "deletionTimestamp": ends}});
        for (code, body, wanted) in [
            (
                404,
                failure_body(404, "NotFound", "not found"),
                EffectOutcome::Gone,
            ),
            (200, found("u-2", None), EffectOutcome::Gone),
            (
                200,
                found("u-1", Some("2026-11-22T10:00:00Z")),
                EffectOutcome::Done,
            ),
        ] {
            let client = client_silent_then(code, body);
            assert_eq!(evict_pod(&client, &pod_ref()).await, wanted);
        }
    }
}
