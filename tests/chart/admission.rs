//! What the admission policies let the operator's account do, beyond what RBAC can say.
//!
//! That they let it do its work is shown by all other scenarios.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fixture::{ChartFixture, HOME, SIGNAL_NAMESPACES};
use crate::objects::app;

/// Sends a merge patch as the operator's account; an error is the API server's message.
async fn patch_as_operator(
    fixture: &ChartFixture,
    path: &str,
    change: &Value,
) -> Result<Value, String> {
    let request = http::Request::patch(path)
        .header("Content-Type", "application/merge-patch+json")
        .header(
            "Impersonate-User",
            format!("system:serviceaccount:{HOME}:{HOME}"),
        )
        .body(serde_json::to_vec(change).unwrap())
        .unwrap();
    fixture.request(request).await
}

pub async fn the_account_changes_its_own_annotations_and_nothing_else(fixture: Arc<ChartFixture>) {
    let namespace = "chart-admission";
    fixture.namespace(namespace).await;
    fixture
        .deploy(&[app(namespace, "Deployment", "web", 1)])
        .await;
    let pod = fixture.pods(namespace).await.remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap();
    let pod = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let workload = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
    let annotation = |key: &str| json!({"metadata": {"annotations": {key: "x"}}});
    let template =
        |key: &str| json!({"spec": {"template": {"metadata": {"annotations": {key: "x"}}}}});

    for (path, change) in [
        (&pod, annotation("prometheus.io/scrape")),
        (&pod, annotation("dbbalance.io/ignore")),
        (&pod, json!({"metadata": {"labels": {"app": "other"}}})),
        (
            &pod,
            json!({"metadata": {"finalizers": ["example.com/hold"]}}),
        ),
        (&pod, json!({"spec": {"activeDeadlineSeconds": 5}})),
        (&workload, json!({"spec": {"replicas": 0}})),
        (&workload, json!({"spec": {"paused": true}})),
        (&workload, template("example.com/injected")),
        (&workload, annotation("example.com/note")),
        (
            &workload,
            json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}),
        ),
    ] {
        let refused = patch_as_operator(&fixture, path, &change).await;
        let message = refused.expect_err(&format!("{path} took {change}"));
        assert!(
            message.contains("dbbalance may change"),
            "{change}: {message}"
        );
    }
    for (path, change) in [
        (&pod, annotation("dbbalance.io/claim")),
        (
            &pod,
            json!({"metadata": {"annotations": {"dbbalance.io/claim": null}}}),
        ),
        (&pod, annotation("dbbalance.io/epoch")),
        (&pod, annotation("dbbalance.io/restarts")),
        (&workload, template("dbbalance.io/epoch")),
    ] {
        let taken = patch_as_operator(&fixture, path, &change).await;
        taken.unwrap_or_else(|e| panic!("{path} refused {change}: {e}"));
    }
}

pub async fn the_account_runs_its_own_commands_and_no_others(fixture: Arc<ChartFixture>) {
    let namespace = SIGNAL_NAMESPACES[1];
    let user = format!("--as=system:serviceaccount:{HOME}:{HOME}");
    fixture
        .deploy(&[app(namespace, "Deployment", "web", 1)])
        .await;
    let pod = fixture.pods(namespace).await.remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let commands: [&[&str]; 4] = [
        &["id"],
        &["cat", "/etc/passwd"],
        &["cat", "/proc/net/tcp", "/proc/net/tcp6", "/etc/passwd"],
        &["sh", "-c", "kill -s KILL 1", "dbbalance", "1", "KILL", "9"],
    ];
    for command in commands {
        let mut arguments = vec!["exec", "-n", namespace, &name, &user, "--"];
        arguments.extend(command);
        let message = fixture.kubectl(&arguments).await.expect_err("a refusal");
        assert!(
            message.contains("dbbalance may run only its own commands"),
            "{command:?}: {message}"
        );
    }
}
