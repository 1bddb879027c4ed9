//! The objects of scenarios: apps, clusters and policies.

use std::collections::BTreeMap;

use dbbalance_testbed::image::TESTAPP;
use dbbalance_testbed::rds::client::CLASS;
use serde_json::{Value, json};

use crate::fixture::ChartFixture;

/// The app's port.
pub const PORT: u16 = 8080;

/// The test app as a workload of a kind.
pub fn app(namespace: &str, kind: &str, name: &str, replicas: u32) -> Value {
    let mut app = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "containers": [{
                        "name": "app", "image": TESTAPP, "imagePullPolicy": "Never",
                        "ports": [{"containerPort": PORT}],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": PORT}, "periodSeconds": 1},
                        "resources": {"requests": {"cpu": "1m"}},
                    }],
                },
            },
        },
    });
    if kind != "DaemonSet" {
        app["spec"]["replicas"] = json!(replicas);
    }
    if kind == "StatefulSet" {
        app["spec"]["serviceName"] = json!(name);
    }
    app
}

/// A target for a workload, with a method.
pub fn target(kind: &str, name: &str, recycle: &Value) -> Value {
    json!({
        "name": name,
        "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
        "pools": [{"endpoint": "Reader", "connectionsPerPod": 10}, {"endpoint": "Writer", "connectionsPerPod": 5}],
        "recycle": recycle,
    })
}

/// A policy without long waits, on the cluster of the namespace's name.
pub fn policy(namespace: &str, targets: &[Value]) -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"name": "orders", "namespace": namespace},
        "spec": {
            "cluster": {"identifier": namespace},
            // moto's endpoints lead nowhere.
            "dns": {"onTimeout": "Proceed", "timeoutSeconds": 0},
            "targets": targets,
            "triggers": {
                "failover": {"settleSeconds": 0},
                "readerAdded": {"settleSeconds": 1},
                "readerRemoved": {"settleSeconds": 1},
            },
            "pacing": {"maxUnavailable": 1, "intervalSeconds": 1, "jitterPercent": 0},
            "limits": {"cooldownSeconds": 0},
            "budget": {"maxConnections": 2000},
        },
    })
}

impl ChartFixture {
    /// Makes a cluster with a writer and two readers: `NAME-1` to `NAME-3`.
    pub async fn cluster(&self, name: &str) {
        let name = name.to_owned();
        self.rds(move |rds| {
            rds.create_cluster(&name, "aurora-postgresql").unwrap();
            for number in 1..=3 {
                rds.add_instance(&name, &format!("{name}-{number}"), CLASS)
                    .unwrap();
            }
        })
        .await;
    }

    /// Deploys workloads and waits until their pods are Ready.
    pub async fn deploy(&self, apps: &[Value]) {
        for app in apps {
            self.create(app).await;
        }
        for app in apps {
            let object = format!("{}/{}", text(&app["kind"]), text(&app["metadata"]["name"]));
            let namespace = text(&app["metadata"]["namespace"]);
            self.kubectl(&[
                "rollout",
                "status",
                "-n",
                &namespace,
                &object,
                "--timeout=90s",
            ])
            .await
            .unwrap();
        }
    }

    /// Makes a cluster, one Deployment `web` and a policy on both; gives the policy after its baseline.
    pub async fn stage(&self, namespace: &str, replicas: u32, recycle: &Value) -> Value {
        self.namespace(namespace).await;
        self.cluster(namespace).await;
        self.deploy(&[app(namespace, "Deployment", "web", replicas)])
            .await;
        self.create(&policy(namespace, &[target("Deployment", "web", recycle)]))
            .await;
        self.until_policy(namespace, "a baseline", |p| p["status"]["epoch"] == 1)
            .await
    }

    /// Asks for a run by the annotation.
    pub async fn request_run(&self, namespace: &str, token: &str) {
        let annotation = format!("dbbalance.io/recycle-requested={token}");
        self.kubectl(&[
            "annotate",
            "dbp",
            "orders",
            "-n",
            namespace,
            &annotation,
            "--overwrite",
        ])
        .await
        .unwrap();
    }

    /// Every pod of the namespace by UID, with what recycles leave on it.
    pub async fn marks(&self, namespace: &str) -> BTreeMap<String, String> {
        let pods = self.pods(namespace).await;
        pods.iter()
            .map(|p| {
                let notes = &p["metadata"]["annotations"];
                let marks = ["epoch", "claim", "recycles"]
                    .map(|n| text(&notes[&format!("dbbalance.io/{n}")]));
                (text(&p["metadata"]["uid"]), marks.join(" "))
            })
            .collect()
    }
}

/// A condition of a policy.
pub fn condition<'a>(policy: &'a Value, name: &str) -> &'a Value {
    let conditions = policy["status"]["conditions"].as_array();
    let found = conditions.and_then(|c| c.iter().find(|c| c["type"] == name));
    found.unwrap_or(&Value::Null)
}

/// A condition as `status/reason`.
pub fn said(policy: &Value, name: &str) -> String {
    let condition = condition(policy, name);
    format!(
        "{}/{}",
        text(&condition["status"]),
        text(&condition["reason"])
    )
}

/// A string, or nothing.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
