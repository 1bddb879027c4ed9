//! Writes claims, stamps and topology annotations on pods. Each function is one patch, which fails rather than overwrites
//! when the pod is not as expected.

use http::header::CONTENT_TYPE;
use k8s_openapi::api::core::v1::Pod;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use serde_json::{Map, Value, json};

use super::api_reply::{self, RequestError};
use super::{API_TIMEOUT, EffectFault, EffectOutcome, PodRef};
use crate::refusal::is_lost_race;
use dbbalance_api::status::{RoleStatus, TopologyStatus};
use dbbalance_api::{FIELD_MANAGER, annotations};

const GRANT: &str = "the operator needs patch on pods in this namespace";

/// The outcome of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// The claim stands; the effect may follow.
    Claimed,
    /// The pod has changed since it was read; it may be claimed after it is read again.
    LostRace,
    /// The pod is not there any more.
    Gone,
    /// It was tried and failed.
    Failed {
        /// The kind of failure.
        fault: EffectFault,
        /// The message.
        message: String,
    },
}

/// The outcome of a stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StampOutcome {
    /// The pod carries the stamp.
    Stamped,
    /// The pod does not carry the expected claim any more, changed, or is another of that name:
    /// look again.
    LostRace,
    /// The pod is not there any more.
    Gone,
    /// It was tried and failed.
    Failed {
        /// The kind of failure.
        fault: EffectFault,
        /// The message.
        message: String,
    },
}

/// The topology in the form that pods get it in annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopologyNote {
    /// The writer's identifier; empty while there is none.
    pub writer: String,
    /// The readers' identifiers, comma separated and sorted.
    pub readers: String,
}

impl TopologyNote {
    /// Formats the recorded topology for pods; empty while none is recorded.
    #[must_use]
    pub fn from_status(topology: Option<&TopologyStatus>) -> Self {
        let Some(topology) = topology else {
            return Self::default();
        };
        let mut readers: Vec<&str> = topology
            .members
            .iter()
            .filter(|m| m.role == RoleStatus::Reader)
            .map(|m| m.instance.as_str())
            .collect();
        readers.sort_unstable();
        Self {
            writer: topology.writer.clone().unwrap_or_default(),
            readers: readers.join(","),
        }
    }

    fn entries(&self) -> [(&'static str, &str); 2] {
        [
            (annotations::WRITER, self.writer.as_str()),
            (annotations::READERS, self.readers.as_str()),
        ]
    }
}

/// Sets the claim, and the annotations `beside` it, if the pod is still at the seen resourceVersion. `pod` is as an API
/// server sent it, or from `k8s::watch`, which keeps an empty map of annotations apart from a missing one.
pub async fn claim_pod(
    client: &Client,
    pod: &Pod,
    value: &str,
    beside: &[(&str, String)],
) -> ClaimOutcome {
    let (Some(of), Some(version)) = (
        PodRef::from_pod(pod),
        pod.metadata.resource_version.as_deref(),
    ) else {
        return ClaimOutcome::LostRace; // never read from an API server: look again
    };
    let mut ops = vec![json!({
        "op": "test", "path": "/metadata/resourceVersion", "value": version
    })];
    if pod.metadata.annotations.is_none() {
        ops.push(json!({"op": "add", "path": "/metadata/annotations", "value": {}}));
    }
    ops.push(json!({"op": "add", "path": annotation_path(annotations::CLAIM), "value": value}));
    for (name, value) in beside {
        ops.push(json!({"op": "add", "path": annotation_path(name), "value": value}));
    }
    match json_patch(client, &of, ops).await {
        Ok(()) => ClaimOutcome::Claimed,
        Err(failure) => match classify_refusal(&failure, &of, "claiming") {
            PatchRefusal::LostRace => ClaimOutcome::LostRace,
            PatchRefusal::Gone => ClaimOutcome::Gone,
            PatchRefusal::Failed(fault, message) => ClaimOutcome::Failed { fault, message },
        },
    }
}

/// Ends a claim after its effect: tests uid and claim, removes the claim, and sets stamp, topology
/// and the count of recycles, in one patch.
pub async fn stamp_pod(
    client: &Client,
    pod: &PodRef,
    expected_claim: &str,
    stamp: &str,
    topology: &TopologyNote,
    recycles: u32,
) -> StampOutcome {
    let claim = annotation_path(annotations::CLAIM);
    let mut ops = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": pod.uid}),
        json!({"op": "test", "path": claim, "value": expected_claim}),
        json!({"op": "remove", "path": claim}),
        json!({"op": "add", "path": annotation_path(annotations::EPOCH), "value": stamp}),
    ];
    for (name, value) in topology.entries() {
        ops.push(json!({"op": "add", "path": annotation_path(name), "value": value}));
    }
    ops.push(json!({
        "op": "add", "path": annotation_path(annotations::RECYCLES), "value": recycles.to_string()
    }));
    stamp_outcome(json_patch(client, pod, ops).await, pod, "stamping")
}

/// Removes the claim of an effect that was not made.
pub async fn release_claim(client: &Client, pod: &PodRef, expected_claim: &str) -> StampOutcome {
    let claim = annotation_path(annotations::CLAIM);
    let ops = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": pod.uid}),
        json!({"op": "test", "path": claim, "value": expected_claim}),
        json!({"op": "remove", "path": claim}),
    ];
    stamp_outcome(json_patch(client, pod, ops).await, pod, "releasing")
}

/// Replaces a claim by another one: a later time, or the record of a failure.
pub async fn replace_claim(
    client: &Client,
    pod: &PodRef,
    expected_claim: &str,
    claim: &str,
) -> StampOutcome {
    let at = annotation_path(annotations::CLAIM);
    let ops = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": pod.uid}),
        json!({"op": "test", "path": at, "value": expected_claim}),
        json!({"op": "replace", "path": at, "value": claim}),
    ];
    stamp_outcome(json_patch(client, pod, ops).await, pod, "claiming")
}

/// Replaces the mark of restarts that was written with a claim, if the pod still has the claim.
pub async fn replace_mark(
    client: &Client,
    pod: &PodRef,
    expected_claim: &str,
    mark: &str,
) -> StampOutcome {
    let claim = annotation_path(annotations::CLAIM);
    let ops = vec![
        json!({"op": "test", "path": "/metadata/uid", "value": pod.uid}),
        json!({"op": "test", "path": claim, "value": expected_claim}),
        json!({"op": "add", "path": annotation_path(annotations::RESTARTS), "value": mark}),
    ];
    stamp_outcome(json_patch(client, pod, ops).await, pod, "marking")
}

/// Stamps a pod that needs no effect, if it is still at the seen resourceVersion: its connections were
/// measured, and are where they should be. A claim whose maker died is taken away.
pub async fn stamp_without_effect(
    client: &Client,
    pod: &PodRef,
    resource_version: &str,
    stamp: &str,
    topology: &TopologyNote,
) -> StampOutcome {
    let mut values = topology_annotations(topology);
    values.insert(annotations::EPOCH.to_owned(), stamp.into());
    values.insert(annotations::CLAIM.to_owned(), Value::Null);
    let body = json!({"metadata": {
        "uid": pod.uid, "resourceVersion": resource_version, "annotations": values
    }});
    stamp_outcome(merge_patch(client, pod, &body).await, pod, "stamping")
}

/// Writes the topology on a pod that was created after its epoch opened.
pub async fn annotate_topology(
    client: &Client,
    pod: &PodRef,
    topology: &TopologyNote,
) -> StampOutcome {
    let body = json!({"metadata": {"uid": pod.uid, "annotations": topology_annotations(topology)}});
    stamp_outcome(merge_patch(client, pod, &body).await, pod, "annotating")
}

fn topology_annotations(topology: &TopologyNote) -> Map<String, Value> {
    topology
        .entries()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into_iter()
        .collect()
}

fn stamp_outcome(result: Result<(), RequestError>, pod: &PodRef, verb: &str) -> StampOutcome {
    match result {
        Ok(()) => StampOutcome::Stamped,
        Err(failure) => match classify_refusal(&failure, pod, verb) {
            PatchRefusal::LostRace => StampOutcome::LostRace,
            PatchRefusal::Gone => StampOutcome::Gone,
            PatchRefusal::Failed(fault, message) => StampOutcome::Failed { fault, message },
        },
    }
}

/// A JSON pointer to an annotation. RFC 6901: `~` is `~0` and `/` is `~1`.
fn annotation_path(annotation: &str) -> String {
    let escaped = annotation.replace('~', "~0").replace('/', "~1");
    format!("/metadata/annotations/{escaped}")
}

async fn json_patch(client: &Client, pod: &PodRef, ops: Vec<Value>) -> Result<(), RequestError> {
    send_patch(
        client,
        pod,
        "application/json-patch+json",
        &Value::Array(ops),
    )
    .await
}

async fn merge_patch(client: &Client, pod: &PodRef, body: &Value) -> Result<(), RequestError> {
    send_patch(client, pod, "application/merge-patch+json", body).await
}

async fn send_patch(
    client: &Client,
    pod: &PodRef,
    content_type: &str,
    body: &Value,
) -> Result<(), RequestError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let uri = format!(
        "{}/{}?fieldManager={FIELD_MANAGER}",
        pods.resource_url(),
        pod.name
    );
    let request = http::Request::patch(uri)
        .header(CONTENT_TYPE, content_type)
        .body(body.to_string().into_bytes())
        .map_err(|e| RequestError::Broken(e.to_string()))?;
    api_reply::request_within(
        API_TIMEOUT,
        client.request::<PartialObjectMeta<Pod>>(request),
    )
    .await
    .map(drop)
}

enum PatchRefusal {
    LostRace,
    Gone,
    Failed(EffectFault, String),
}

fn classify_refusal(failure: &RequestError, pod: &PodRef, verb: &str) -> PatchRefusal {
    if let RequestError::Refused(status) = failure
        && !api_reply::is_gone(status)
        && is_lost_race(status)
    {
        return PatchRefusal::LostRace;
    }
    let what = format!("{verb} pod {}/{}", pod.namespace, pod.name);
    match api_reply::classify_failure(failure, &what, GRANT) {
        EffectOutcome::Gone => PatchRefusal::Gone,
        EffectOutcome::Failed { fault, message } => PatchRefusal::Failed(fault, message),
        EffectOutcome::Blocked { message, .. } => {
            PatchRefusal::Failed(EffectFault::ApiError, message)
        }
        EffectOutcome::Done => PatchRefusal::LostRace, // a failure is never Done
    }
}

#[cfg(test)]
mod tests;
