//! Rolls one workload by a stamp on its pod template.
//!
//! A server-side apply of one annotation under our own manager, never forced: applying the same
//! stamp twice changes nothing, so no claim is needed. Whether the workload's strategy allows it is
//! decided before.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde_json::json;

use super::api_reply::{self, RequestError};
use super::{API_TIMEOUT, EffectFault, EffectOutcome};
use dbbalance_api::spec::WorkloadKind;
use dbbalance_api::{FIELD_MANAGER, annotations};

const GRANT: &str =
    "the operator needs patch on deployments, statefulsets and daemonsets in this namespace";

/// The one workload that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadTarget {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid; server-side apply would otherwise create what somebody has just deleted.
    pub uid: String,
}

/// Sets the stamp on the workload's pod template. Returns the workload's generation with it, by
/// which a cache that is behind is told from a stamp that somebody took away.
///
/// # Errors
/// The outcome, if it was not done.
pub async fn roll_workload(
    client: &Client,
    workload: &WorkloadTarget,
    stamp: &str,
) -> Result<i64, EffectOutcome> {
    match workload.kind {
        WorkloadKind::Deployment => apply_stamp::<Deployment>(client, workload, stamp).await,
        WorkloadKind::StatefulSet => apply_stamp::<StatefulSet>(client, workload, stamp).await,
        WorkloadKind::DaemonSet => apply_stamp::<DaemonSet>(client, workload, stamp).await,
    }
}

async fn apply_stamp<K>(
    client: &Client,
    workload: &WorkloadTarget,
    stamp: &str,
) -> Result<i64, EffectOutcome>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), &workload.namespace);
    let wanted = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": workload.name, "uid": workload.uid},
        "spec": {"template": {"metadata": {"annotations": {annotations::EPOCH: stamp}}}}
    });
    let params = PatchParams::apply(FIELD_MANAGER);
    let patch = Patch::Apply(&wanted);
    let request = api.patch(&workload.name, &params, &patch);
    match api_reply::request_within(API_TIMEOUT, request).await {
        Ok(rolled) => Ok(rolled.meta().generation.unwrap_or(0)),
        Err(failure) => Err(interpret_refusal(&failure, &K::kind(&()), workload)),
    }
}

fn interpret_refusal(
    failure: &RequestError,
    kind: &str,
    workload: &WorkloadTarget,
) -> EffectOutcome {
    let what = format!("rolling {kind} {}/{}", workload.namespace, workload.name);
    if let RequestError::Refused(status) = failure
        && status.code == 409
        && !api_reply::is_gone(status)
    {
        return match api_reply::cause_message(status, "FieldManagerConflict") {
            Some(owner) => EffectOutcome::failed(
                EffectFault::Conflict,
                format!(
                    "{what}: another field manager owns the annotation {} of the pod template: \
                     {owner}; remove it there, for dbbalance never takes it by force",
                    annotations::EPOCH
                ),
            ),
            // An ordinary write conflict: the next pass looks again.
            None => {
                EffectOutcome::failed(EffectFault::ApiError, format!("{what}: {}", status.message))
            }
        };
    }
    api_reply::classify_failure(failure, &what, GRANT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::testing::{client_answering, failure_body, failure_body_with_cause};
    use super::*;

    fn workload(kind: WorkloadKind) -> WorkloadTarget {
        WorkloadTarget {
            kind,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "u-9".to_owned(),
        }
    }

    #[tokio::test]
    async fn one_annotation_is_applied_under_our_manager_and_not_forced() {
        let (client, seen) = client_answering(200, json!({"metadata": {"name": "web"}}));
        let done = roll_workload(&client, &workload(WorkloadKind::Deployment), "ab/12-3f9c").await;
        assert_eq!(done, Ok(0));
        let seen = seen.await.unwrap();
        assert_eq!(seen.method, "PATCH");
        assert_eq!(seen.content_type, "application/apply-patch+yaml");
        assert!(
            seen.uri
                .starts_with("/apis/apps/v1/namespaces/shop/deployments/web?")
        );
        assert!(seen.uri.contains("fieldManager=dbbalance"));
        assert!(!seen.uri.contains("force"));
        assert_eq!(
            seen.body,
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "uid": "u-9"},
                "spec": {"template": {"metadata": {"annotations": {"dbbalance.io/epoch": "ab/12-3f9c"}}}}
            })
        );
    }

    #[tokio::test]
    async fn each_kind_has_its_own_path() {
        for (kind, path) in [
            (WorkloadKind::StatefulSet, "statefulsets"),
            (WorkloadKind::DaemonSet, "daemonsets"),
        ] {
            let (client, seen) = client_answering(200, json!({"metadata": {"name": "web"}}));
            assert_eq!(roll_workload(&client, &workload(kind), "s").await, Ok(0));
            assert!(seen.await.unwrap().uri.contains(path));
        }
    }

    #[tokio::test]
    async fn a_conflict_names_the_other_manager() {
        let (client, _seen) = client_answering(
            409,
            failure_body_with_cause(
                409,
                "Conflict",
                "Apply failed with 1 conflict",
                (
                    "FieldManagerConflict",
                    "conflict with \"helm\" using apps/v1",
                ),
            ),
        );
        let Err(EffectOutcome::Failed { fault, message }) =
            roll_workload(&client, &workload(WorkloadKind::Deployment), "s").await
        else {
            panic!("not a failure");
        };
        assert_eq!(fault, EffectFault::Conflict);
        assert!(message.contains("conflict with \"helm\""), "{message}");
    }

    #[tokio::test]
    async fn a_deleted_workload_is_gone_and_not_created_anew() {
        for (code, message) in [
            (404, "deployments.apps \"web\" not found"),
            (
                409,
                "uid mismatch: the provided object specified uid u-9, and no existing object was found",
            ),
            (
                422,
                "Deployment.apps \"web\" is invalid: metadata.uid: Invalid value: \"u-9\": field is immutable",
            ),
        ] {
            let (client, _seen) = client_answering(code, failure_body(code, "", message));
            let came = roll_workload(&client, &workload(WorkloadKind::Deployment), "s").await;
            assert_eq!(came, Err(EffectOutcome::Gone), "{code}");
        }
    }

    #[tokio::test]
    async fn a_plain_write_conflict_is_passing() {
        let (client, _seen) = client_answering(
            409,
            failure_body(409, "Conflict", "the object has been modified"),
        );
        let Err(EffectOutcome::Failed { fault, .. }) =
            roll_workload(&client, &workload(WorkloadKind::Deployment), "s").await
        else {
            panic!("not a failure");
        };
        assert!(!fault.is_structural());
    }
}
