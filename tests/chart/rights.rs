//! What the operator may not do: other namespaces, other roles, other hosts, secrets.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fixture::{ChartFixture, HOME};
use crate::objects::{PORT, app, condition, policy, said, target, text};

async fn may(fixture: &ChartFixture, verb: &str, resource: &str, namespace: &str) -> bool {
    let user = format!("--as=system:serviceaccount:{HOME}:{HOME}");
    let mut arguments = vec!["auth", "can-i", verb, resource, "-n", namespace];
    let sub = resource
        .split_once('/')
        .map(|(_, s)| format!("--subresource={s}"));
    if let Some(sub) = &sub {
        arguments[3] = resource.split_once('/').unwrap().0;
        arguments.push(sub);
    }
    arguments.push(&user);
    fixture
        .kubectl(&arguments)
        .await
        .is_ok_and(|said| said.trim() == "yes")
}

pub async fn nothing_more_is_granted(fixture: Arc<ChartFixture>) {
    for (verb, resource, namespace, wanted) in [
        ("patch", "pods", "default", true),
        ("create", "pods/eviction", "default", true),
        ("create", "pods/exec", "chart-signal", true),
        ("create", "pods/exec", "default", false),
        ("get", "pods/exec", "default", false),
        ("get", "secrets", "default", false),
        ("list", "secrets", HOME, false),
        ("delete", "pods", "default", false),
        ("create", "pods", "default", false),
        ("get", "nodes", "default", false),
        ("get", "configmaps", "default", false),
        ("patch", "dbbalancepolicies.dbbalance.io", "default", false),
        ("delete", "deployments.apps", "default", false),
        ("update", "leases.coordination.k8s.io", "kube-system", false),
        ("impersonate", "serviceaccounts", "default", false),
    ] {
        assert_eq!(
            may(&fixture, verb, resource, namespace).await,
            wanted,
            "{verb} {resource} in {namespace}"
        );
    }
    let rights = crate::audit::granted(&fixture).await;
    let wide: Vec<_> = rights
        .iter()
        .filter(|r| r.contains('*') || r.contains("secret") || r.starts_with("delete"))
        .collect();
    assert!(wide.is_empty(), "{wide:?}");
}

pub async fn a_signal_outside_its_namespaces_is_refused_and_nobody_evicted(
    fixture: Arc<ChartFixture>,
) {
    let namespace = "chart-no-signal";
    let recycle = json!({"method": "Signal", "signal": {"name": "HUP"}, "fallback": "Evict"});
    fixture.stage(namespace, 2, &recycle).await;
    let before = fixture.marks(namespace).await;
    fixture.request_run(namespace, "now").await;
    let policy = fixture
        .until_policy(namespace, "the policy is stalled with a stale pod", |p| {
            said(p, "Stalled").starts_with("True") && p["status"]["epoch"] == 2
        })
        .await;
    let message = text(&condition(&policy, "Stalled")["message"]);
    assert!(message.contains("signal.namespaces"), "{message}");
    assert!(
        said(&policy, "Ready").starts_with("False"),
        "{:#}",
        policy["status"]
    );
    assert_eq!(policy["status"]["plan"][0]["waitingFor"], "Refused");
    assert_eq!(before, fixture.marks(namespace).await);
}

pub async fn a_role_off_the_list_is_never_assumed(fixture: Arc<ChartFixture>) {
    let namespace = "chart-role";
    fixture.namespace(namespace).await;
    let mut object = policy(
        namespace,
        &[target("Deployment", "web", &json!({"method": "Evict"}))],
    );
    object["spec"]["cluster"] = json!({
        "identifier": "foreign", "region": "ap-south-1",
        "roleARN": "arn:aws:iam::999988887777:role/somebody-elses",
    });
    fixture.create(&object).await;
    let policy = fixture
        .until_policy(namespace, "the role is refused", |p| {
            said(p, "Ready") == "False/RoleNotAllowed"
        })
        .await;
    let message = text(&condition(&policy, "Ready")["message"]);
    assert!(message.contains("aws.allowedRoleARNs"), "{message}");
    assert!(policy["status"]["epoch"].is_null());
    // Readings of other clusters came after the refusal, so one of this would have come as well.
    let seen = fixture.rds_relay.requests().len();
    fixture
        .until(
            "two more readings of other clusters",
            crate::fixture::LIMIT,
            async || (fixture.rds_relay.requests().len() >= seen + 4).then_some(()),
        )
        .await;
    let asked = fixture.rds_relay.requests();
    for call in &asked {
        let action = call.body.split('&').find(|p| p.starts_with("Action="));
        let action = action.unwrap_or_default();
        assert!(
            ["Action=DescribeDBClusters", "Action=DescribeDBInstances"].contains(&action),
            "the chart's IAM policy does not cover {action}"
        );
        assert!(!call.authorization.contains("ap-south-1"), "{call:?}");
        assert!(!call.body.contains("foreign"), "{call:?}");
    }
    println!("  role: {} calls to AWS, none of them for it", asked.len());
}

pub async fn no_field_leads_out_of_the_namespace(fixture: Arc<ChartFixture>) {
    let namespace = "chart-fields";
    fixture.namespace(namespace).await;
    let http = json!({"method": "HTTP", "http": {"port": PORT, "path": "/recycle"}});
    let with = |path: &str, value: Value| {
        let mut object = policy(namespace, &[target("Deployment", "web", &http)]);
        *object
            .pointer_mut("/spec/targets/0")
            .unwrap()
            .pointer_mut(path)
            .unwrap() = value;
        object
    };
    let elsewhere = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": "kube-system"});
    let host = json!({"port": PORT, "path": "/recycle", "host": "169.254.169.254"});
    for (path, value, words) in [
        (
            "/workloadRef",
            elsewhere,
            "unknown field \"spec.targets[0].workloadRef.namespace\"",
        ),
        (
            "/recycle/http",
            host,
            "unknown field \"spec.targets[0].recycle.http.host\"",
        ),
    ] {
        let refused = fixture.apply(&with(path, value)).await.unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
    for path in ["http://elsewhere/", "@elsewhere/"] {
        let value = json!({"port": PORT, "path": path});
        let refused = fixture
            .apply(&with("/recycle/http", value))
            .await
            .unwrap_err();
        assert!(refused.contains("recycle.http.path"), "{refused}");
    }
}

pub async fn a_pod_on_its_nodes_network_is_not_called(fixture: Arc<ChartFixture>) {
    let namespace = "chart-host";
    let port = 18_080;
    fixture.namespace(namespace).await;
    fixture.cluster(namespace).await;
    let mut app = app(namespace, "Deployment", "web", 1);
    let pod = app.pointer_mut("/spec/template/spec").unwrap();
    pod["hostNetwork"] = json!(true);
    let container = &mut pod["containers"][0];
    container["ports"] = json!([{"containerPort": port}]);
    container["env"] = json!([{"name": "PORT", "value": port.to_string()}]);
    container["readinessProbe"]["httpGet"]["port"] = json!(port);
    fixture.deploy(&[app]).await;
    let recycle = json!({"method": "HTTP", "http": {"port": port, "path": "/recycle"}});
    fixture
        .create(&policy(namespace, &[target("Deployment", "web", &recycle)]))
        .await;
    fixture
        .until_policy(namespace, "a baseline", |p| p["status"]["epoch"] == 1)
        .await;
    fixture.request_run(namespace, "now").await;
    let policy = fixture
        .until_policy(namespace, "the policy is stalled", |p| {
            said(p, "Stalled").starts_with("True")
        })
        .await;
    let message = text(&condition(&policy, "Stalled")["message"]);
    assert!(message.contains("its node's network"), "{message}");
    let pods = fixture.pods(namespace).await;
    let log: Value = serde_json::from_str(&fixture.fetch(&pods[0], port, "/log").await).unwrap();
    assert_eq!(log["http"], json!({}), "it was called");
}
