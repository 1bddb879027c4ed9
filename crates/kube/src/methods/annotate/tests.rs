#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::testing::{client_answering, failure_body, pod_ref};
use super::*;

fn pod(with_annotations: bool) -> Pod {
    let mut pod = json!({"metadata": {
        "namespace": "shop", "name": "web-1", "uid": "u-1", "resourceVersion": "77"
    }});
    if with_annotations {
        pod["metadata"]["annotations"] = json!({});
    }
    serde_json::from_value(pod).unwrap()
}

fn topology() -> TopologyNote {
    TopologyNote {
        writer: "db-1".to_owned(),
        readers: "db-2,db-3".to_owned(),
    }
}

fn ok() -> Value {
    json!({"metadata": {"name": "web-1"}})
}

/// As kube-apiserver words a failed `test` operation.
fn test_failed() -> Value {
    failure_body(
        422,
        "Invalid",
        "the server rejected our request due to an error in our request",
    )
}

#[tokio::test]
async fn a_claim_tests_the_resource_version() {
    let (client, seen) = client_answering(200, ok());
    let came = claim_pod(&client, &pod(true), "ab/12 1 t", &[]).await;
    assert_eq!(came, ClaimOutcome::Claimed);
    let seen = seen.await.unwrap();
    assert_eq!(seen.method, "PATCH");
    assert_eq!(seen.content_type, "application/json-patch+json");
    assert_eq!(
        seen.uri,
        "/api/v1/namespaces/shop/pods/web-1?fieldManager=dbbalance"
    );
    assert_eq!(
        seen.body,
        json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": "77"},
            {"op": "add", "path": "/metadata/annotations/dbbalance.io~1claim", "value": "ab/12 1 t"}
        ])
    );
}

#[tokio::test]
async fn a_claim_counts_the_move_in_the_same_patch() {
    let (client, seen) = client_answering(200, ok());
    claim_pod(
        &client,
        &pod(true),
        "c",
        &[(annotations::MOVED, "ab/12@7 1 t".to_owned())],
    )
    .await;
    assert_eq!(
        seen.await.unwrap().body[2],
        json!({"op": "add", "path": "/metadata/annotations/dbbalance.io~1moved", "value": "ab/12@7 1 t"})
    );
}

#[tokio::test]
async fn a_stamp_without_effect_tests_the_resource_version() {
    let (client, seen) = client_answering(200, ok());
    let came = stamp_without_effect(&client, &pod_ref(), "77", "ab/12-3f9c", &topology()).await;
    assert_eq!(came, StampOutcome::Stamped);
    let seen = seen.await.unwrap();
    assert_eq!(seen.content_type, "application/merge-patch+json");
    let metadata = &seen.body["metadata"];
    assert_eq!(metadata["resourceVersion"], "77");
    assert_eq!(metadata["annotations"]["dbbalance.io/epoch"], "ab/12-3f9c");
}

#[tokio::test]
async fn a_pod_without_annotations_gets_the_map_first() {
    let (client, seen) = client_answering(200, ok());
    claim_pod(&client, &pod(false), "c", &[]).await;
    assert_eq!(
        seen.await.unwrap().body[1],
        json!({"op": "add", "path": "/metadata/annotations", "value": {}})
    );
}

#[tokio::test]
async fn a_failed_test_is_a_lost_race() {
    for (code, body) in [
        (422, test_failed()),
        (
            409,
            failure_body(409, "Conflict", "the object has been modified"),
        ),
    ] {
        let (client, _seen) = client_answering(code, body);
        assert_eq!(
            claim_pod(&client, &pod(true), "c", &[]).await,
            ClaimOutcome::LostRace
        );
    }
}

#[tokio::test]
async fn refused_content_is_not_taken_for_a_lost_race() {
    let said = "Pod \"web-1\" is invalid: metadata.annotations: Too long";
    let (client, _seen) = client_answering(422, failure_body(422, "Invalid", said));
    let ClaimOutcome::Failed { fault, .. } = claim_pod(&client, &pod(true), "c", &[]).await else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Invalid);
}

#[tokio::test]
async fn a_denial_by_an_admission_policy_is_not_taken_for_a_lost_race() {
    let said = "pods \"web-1\" is forbidden: ValidatingAdmissionPolicy 'dbbalance-dbbalance-pods' with binding \
                'dbbalance-dbbalance-pods' denied request: dbbalance may change nothing of a pod but its own annotations";
    let (client, _) = client_answering(422, failure_body(422, "Invalid", said));
    let came = claim_pod(&client, &pod(true), "ab/12 1 t", &[]).await;
    assert!(matches!(came, ClaimOutcome::Failed { .. }), "{came:?}");
}

#[tokio::test]
async fn a_claim_on_a_pod_that_left_finds_it_gone() {
    let (client, _seen) = client_answering(404, failure_body(404, "NotFound", "not found"));
    assert_eq!(
        claim_pod(&client, &pod(true), "c", &[]).await,
        ClaimOutcome::Gone
    );
}

#[tokio::test]
async fn a_stamp_tests_uid_and_claim_and_removes_the_claim() {
    let (client, seen) = client_answering(200, ok());
    let came = stamp_pod(
        &client,
        &pod_ref(),
        "ab/12 1 t",
        "ab/12-3f9c",
        &topology(),
        4,
    )
    .await;
    assert_eq!(came, StampOutcome::Stamped);
    assert_eq!(
        seen.await.unwrap().body,
        json!([
            {"op": "test", "path": "/metadata/uid", "value": "u-1"},
            {"op": "test", "path": "/metadata/annotations/dbbalance.io~1claim", "value": "ab/12 1 t"},
            {"op": "remove", "path": "/metadata/annotations/dbbalance.io~1claim"},
            {"op": "add", "path": "/metadata/annotations/dbbalance.io~1epoch", "value": "ab/12-3f9c"},
            {"op": "add", "path": "/metadata/annotations/dbbalance.io~1writer", "value": "db-1"},
            {"op": "add", "path": "/metadata/annotations/dbbalance.io~1readers", "value": "db-2,db-3"},
            {"op": "add", "path": "/metadata/annotations/dbbalance.io~1recycles", "value": "4"}
        ])
    );
}

#[tokio::test]
async fn a_stamp_on_a_pod_with_another_claim_loses() {
    let (client, _seen) = client_answering(422, test_failed());
    let came = stamp_pod(&client, &pod_ref(), "c", "s", &topology(), 1).await;
    assert_eq!(came, StampOutcome::LostRace);
}

#[tokio::test]
async fn topology_goes_to_that_very_pod_only() {
    let (client, seen) = client_answering(
        422,
        failure_body(
            422,
            "Invalid",
            "Pod \"web-1\" is invalid: metadata.uid: Invalid value: \"u-1\": field is immutable",
        ),
    );
    let came = annotate_topology(&client, &pod_ref(), &topology()).await;
    assert_eq!(came, StampOutcome::Gone);
    assert_eq!(
        seen.await.unwrap().body,
        json!({"metadata": {"uid": "u-1", "annotations": {
            "dbbalance.io/writer": "db-1", "dbbalance.io/readers": "db-2,db-3"
        }}})
    );
}
