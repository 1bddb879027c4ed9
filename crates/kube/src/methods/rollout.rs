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

/// A reference to one workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadTarget {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID. Without it, server-side apply would create a workload that was just deleted.
    pub uid: String,
}

/// Sets the stamp on the workload's pod template. Returns the workload's generation with it, which
/// tells a stale cache from a stamp that another writer removed.
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
mod tests;
