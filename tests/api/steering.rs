//! What the chart lets the operator's account do with steered names, by RBAC and by its admission policies.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use dbbalance_testbed::wait::poll_until;
use dbbalance_testkit::api_server::{KubeApiServer, NAMESPACE};
use dbbalance_testkit::checkout_path;
use serde_json::{Value, json};

const RELEASE: &str = "steer";
const READER: &str = "orders.cluster-ro-c0lab0dbb0x.eu-west-1.rds.amazonaws.com";
const INSTANCE: &str = "orders-4.c0lab0dbb0x.eu-west-1.rds.amazonaws.com";
/// Webhooks and policies take a moment until each API server knows them.
const SOON: Duration = Duration::from_secs(30);

/// Renders the parts of the chart that steer names, and applies them.
fn install(server: &KubeApiServer<'_>) {
    let values = json!({
        "fullnameOverride": RELEASE,
        "steering": {
            "services": [{"namespace": NAMESPACE, "name": "orders-ro"}],
            "slices": [{"name": "stock-ro", "endpoint": READER}],
        },
    });
    let mut helm = server.testbed.command("helm");
    let chart = checkout_path("charts/dbbalance");
    helm.args(["template", RELEASE])
        .arg(chart)
        .args(["--namespace", NAMESPACE, "--values", "-"]);
    for part in ["rbac-steering", "steering", "admission-policy"] {
        helm.args(["--show-only", &format!("templates/{part}.yaml")]);
    }
    let mut child = helm
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(values.to_string().as_bytes()).unwrap();
    drop(stdin);
    let rendered = child.wait_with_output().unwrap();
    assert!(rendered.status.success());
    apply(server, &rendered.stdout);
}

fn apply(server: &KubeApiServer<'_>, objects: &[u8]) {
    let mut kubectl = server.testbed.command("kubectl");
    kubectl.args(["apply", "--validate=strict", "-f", "-"]);
    let mut child = kubectl.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(objects).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

/// What the operator's account is answered.
fn as_operator(server: &KubeApiServer<'_>, arguments: &[&str]) -> Result<String, String> {
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{RELEASE}");
    let arguments = [arguments, &["-n", NAMESPACE, &account]].concat();
    server
        .testbed
        .kubectl(&arguments)
        .map_err(|e| format!("{e:#}"))
}

fn patch(server: &KubeApiServer<'_>, object: [&str; 2], change: &Value) -> Result<String, String> {
    let change = change.to_string();
    as_operator(
        server,
        &[&["patch"], &object[..], &["--type=merge", "-p", &change]].concat(),
    )
}

fn refused(server: &KubeApiServer<'_>, object: [&str; 2], change: &Value, words: &str) {
    let message = patch(server, object, change).expect_err(&format!("{object:?} took {change}"));
    assert!(message.contains(words), "{change}: {message}");
}

fn service_object(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"type": "ExternalName", "externalName": READER},
    })
}

/// The account leads the names that the chart lists, and changes nothing else of them, nor any other.
#[allow(clippy::too_many_lines)] // one grant after the other, on one server
pub fn the_account_leads_listed_names_alone(server: &KubeApiServer<'_>) -> usize {
    for name in ["orders-ro", "other-ro"] {
        apply(server, service_object(name).to_string().as_bytes());
    }
    install(server);
    let service = ["service", "orders-ro"];
    let slice = ["endpointslice", "stock-ro"];
    let claim = "6f1c9a2b/1764460000-3 orders-4 2026-11-29T15:40:01Z";
    let notes = json!({"dbbalance.io/narrowed": claim, "dbbalance.io/widens-to": READER});
    let lead =
        |host: &str| json!({"metadata": {"annotations": notes}, "spec": {"externalName": host}});
    let fill = |address: &str| {
        let endpoint = json!({"addresses": [address], "conditions": {"ready": true}});
        json!({"metadata": {"annotations": notes}, "endpoints": [endpoint]})
    };
    // RBAC may be a moment behind, and so may the policies.
    let mut last = None;
    let both = poll_until("the right and its limit", SOON, || {
        // It may have been led elsewhere while the policies were not there yet.
        apply(server, service_object("orders-ro").to_string().as_bytes());
        let own = patch(server, service, &lead(INSTANCE));
        let foreign = patch(server, service, &lead("evil.example.com"));
        let holds = own.is_ok() && foreign.is_err();
        last = Some((own, foreign));
        Ok(holds.then_some(()))
    });
    assert!(both.is_ok(), "{last:?}");

    // By name.
    let forbidden = "is forbidden";
    refused(server, ["service", "other-ro"], &lead(INSTANCE), forbidden);
    for arguments in [
        &["get", "service", "other-ro"][..],
        &["get", "services"],
        &["delete", "service", "orders-ro"],
        &["delete", "endpointslice", "stock-ro"],
        &["get", "services", "-A"],
        &["get", "endpointslices", "-A"],
    ] {
        let message = as_operator(server, arguments).expect_err(&format!("{arguments:?}"));
        assert!(message.contains(forbidden), "{arguments:?}: {message}");
    }
    as_operator(server, &["get", "service", "orders-ro"]).unwrap();
    as_operator(server, &["get", "endpointslices"]).unwrap();

    // A Service: to an instance of the same Aurora, and back.
    let service_only = "may change nothing of a Service but";
    let same_aurora = "may lead a Service only to";
    for host in [
        "orders-4.c1other0dbb1y.eu-west-1.rds.amazonaws.com",
        "orders.cluster-c0lab0dbb0x.eu-west-1.rds.amazonaws.com",
        "kubernetes.default.svc.cluster.local",
        "evil.example.com",
    ] {
        refused(server, service, &lead(host), same_aurora);
    }
    for change in [
        json!({"metadata": {"annotations": {"team": "x"}}}),
        json!({"metadata": {"labels": {"team": "x"}}}),
        json!({"spec": {"selector": {"app": "x"}}}),
        json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 5432}]}}),
    ] {
        refused(server, service, &change, service_only);
    }
    let wide = json!({"dbbalance.io/narrowed": null, "dbbalance.io/widens-to": null});
    let widen = json!({"metadata": {"annotations": wide}, "spec": {"externalName": READER}});
    patch(server, service, &widen).unwrap();

    // A slice: one address within the ranges, and none.
    let slice_only = "may change nothing of an EndpointSlice but";
    let one_address = "may write into an EndpointSlice at most one endpoint";
    patch(server, slice, &fill("10.20.0.4")).unwrap();
    for address in ["8.8.8.8", "172.32.0.1"] {
        refused(server, slice, &fill(address), one_address);
    }
    let mut two = fill("10.20.0.4");
    two["endpoints"] = json!([{"addresses": ["10.20.0.4"]}, {"addresses": ["10.20.0.5"]}]);
    refused(server, slice, &two, one_address);
    for change in [
        json!({"metadata": {"labels": {"kubernetes.io/service-name": "other"}}}),
        json!({"ports": [{"name": "x", "port": 1}]}),
    ] {
        refused(server, slice, &change, slice_only);
    }
    patch(
        server,
        slice,
        &json!({"metadata": {"annotations": wide}, "endpoints": []}),
    )
    .unwrap();
    let left = server.kubectl(&[
        "get",
        "endpointslice",
        "stock-ro",
        "-n",
        NAMESPACE,
        "-o",
        "json",
    ]);
    let left: Value = serde_json::from_str(&left).unwrap();
    // That is how the API server shows an empty list.
    assert_eq!(left["endpoints"], Value::Null);

    // Nobody else is held by the policies.
    let other = json!({"metadata": {"labels": {"team": "x"}}}).to_string();
    server.kubectl(&[
        "patch",
        "service",
        "orders-ro",
        "-n",
        NAMESPACE,
        "--type=merge",
        "-p",
        &other,
    ]);
    23
}
