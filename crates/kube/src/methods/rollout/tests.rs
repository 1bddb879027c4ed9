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
        let mut status = failure_body(code, "", message);
        if code == 422 {
            status["details"] = json!({
                "name": "web", "kind": "Deployment", "causes": [{"field": "metadata.uid"}]
            });
        }
        let (client, _seen) = client_answering(code, status);
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
