//! Each method follows a reader that comes, a reader that goes and a failover.

use std::sync::Arc;
use std::time::Instant;

use dbbalance_testbed::rds::client::CLASS;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::fixture::ChartFixture;
use crate::objects::{PORT, app, policy, said, target, text};

pub async fn signal(fixture: Arc<ChartFixture>) {
    let recycle = json!({"method": "Signal", "signal": {"name": "HUP"}});
    three_changes(&fixture, "chart-signal", &recycle, &["Deployment"]).await;
    assert_told(&fixture, "chart-signal", "signals", "HUP").await;
}

pub async fn http(fixture: Arc<ChartFixture>) {
    let recycle = json!({"method": "HTTP", "http": {"port": PORT, "path": "/recycle"}});
    three_changes(&fixture, "chart-http", &recycle, &["Deployment"]).await;
    assert_told(&fixture, "chart-http", "http", "/recycle").await;
}

pub async fn evict(fixture: Arc<ChartFixture>) {
    three_changes(
        &fixture,
        "chart-evict",
        &json!({"method": "Evict"}),
        &["Deployment"],
    )
    .await;
}

pub async fn rollout(fixture: Arc<ChartFixture>) {
    let kinds = ["Deployment", "StatefulSet", "DaemonSet"];
    three_changes(
        &fixture,
        "chart-rollout",
        &json!({"method": "Rollout"}),
        &kinds,
    )
    .await;
}

pub async fn annotate(fixture: Arc<ChartFixture>) {
    three_changes(
        &fixture,
        "chart-annotate",
        &json!({"method": "Annotate"}),
        &["Deployment"],
    )
    .await;
}

async fn three_changes(fixture: &ChartFixture, namespace: &str, recycle: &Value, kinds: &[&str]) {
    if !crate::fixture::SIGNAL_NAMESPACES.contains(&namespace) {
        fixture.namespace(namespace).await;
    }
    fixture.cluster(namespace).await;
    let name = |kind: &str| kind.to_lowercase();
    let replicas = |kind: &str| if kind == "Deployment" { 3 } else { 2 };
    let apps: Vec<Value> = kinds
        .iter()
        .map(|k| app(namespace, k, &name(k), replicas(k)))
        .collect();
    fixture.deploy(&apps).await;
    let targets: Vec<Value> = kinds.iter().map(|k| target(k, &name(k), recycle)).collect();
    fixture.create(&policy(namespace, &targets)).await;
    fixture
        .wait(namespace, "dbp/orders", "jsonpath={.status.epoch}=1")
        .await;
    fixture
        .wait(namespace, "dbp/orders", "condition=Ready")
        .await;

    for (change, epoch) in [("reader added", 2), ("reader removed", 3), ("failover", 4)] {
        let before = fixture.marks(namespace).await;
        let began = Instant::now();
        let cluster = namespace.to_owned();
        fixture
            .rds(move |rds| match epoch {
                2 => rds
                    .add_instance(&cluster, &format!("{cluster}-4"), CLASS)
                    .map(drop),
                3 => rds.delete_instance(&format!("{cluster}-2")),
                _ => rds
                    .failover(&cluster, Some(&format!("{cluster}-3")))
                    .map(drop),
            })
            .await
            .unwrap();
        fixture
            .wait(
                namespace,
                "dbp/orders",
                &format!("jsonpath={{.status.epoch}}={epoch}"),
            )
            .await;
        let opened = began.elapsed();
        fixture
            .wait(namespace, "dbp/orders", "condition=Fresh")
            .await;
        let fresh = began.elapsed();
        fixture
            .wait(namespace, "dbp/orders", "condition=Recycling=false")
            .await;
        let policy = fixture.policy(namespace).await;
        assert_right(&policy, namespace, change);
        assert_followed(fixture, namespace, &policy, epoch).await;
        assert_ne!(
            before,
            fixture.marks(namespace).await,
            "{namespace}: nothing moved"
        );
        println!(
            "  {:<9} {change:<15} epoch open after {:4.1} s, all pods fresh after {:5.1} s",
            text(&recycle["method"]),
            opened.as_secs_f64(),
            fresh.as_secs_f64()
        );
    }
}

/// All conditions tell the end of a run.
fn assert_right(policy: &Value, namespace: &str, change: &str) {
    let told = [
        "Ready",
        "TopologyObserved",
        "Fresh",
        "Balanced",
        "Recycling",
        "Stalled",
        "Reconciling",
    ]
    .map(|name| said(policy, name));
    let wanted = [
        "True/Ready",
        "True/Observed",
        "True/AllFresh",
        "Unknown/NoEvidence",
        "False/Idle",
        "/",
        "/",
    ];
    assert_eq!(told, wanted, "{namespace} after {change}");
    for condition in policy["status"]["conditions"].as_array().unwrap() {
        assert_eq!(
            condition["observedGeneration"],
            policy["metadata"]["generation"]
        );
    }
}

/// Every pod carries the epoch's stamp, or was born since it opened.
async fn assert_followed(fixture: &ChartFixture, namespace: &str, policy: &Value, epoch: i64) {
    let uid = text(&policy["metadata"]["uid"]);
    let pods = fixture.pods(namespace).await;
    assert!(pods.len() >= 3, "{} pods", pods.len());
    for pod in pods {
        let stamp = text(&pod["metadata"]["annotations"]["dbbalance.io/epoch"]);
        let stamped = stamp.starts_with(&format!("{}/{epoch}-", &uid[..8]));
        let name = text(&pod["metadata"]["labels"]["app"]);
        let targets = policy["status"]["targets"].as_array().unwrap();
        let target = targets.iter().find(|t| t["name"] == name.as_str()).unwrap();
        assert_eq!(target["dueEpoch"], epoch, "{namespace}/{name}");
        let time = |value: &Value| text(value).parse::<Timestamp>().unwrap();
        let born = time(&pod["metadata"]["creationTimestamp"]) >= time(&target["openTime"]);
        assert!(
            stamped || born,
            "{namespace}: {} is at {stamp:?}",
            pod["metadata"]["name"]
        );
    }
}

/// Every app got one call a run, and no more.
async fn assert_told(fixture: &ChartFixture, namespace: &str, kind: &str, name: &str) {
    for pod in fixture.pods(namespace).await {
        let log: Value = serde_json::from_str(&fixture.fetch(&pod, PORT, "/log").await).unwrap();
        assert_eq!(log[kind][name], 3, "{namespace}: {log}");
    }
}
