//! Workloads of the test app, their pods, and what the app itself has counted.

use std::collections::BTreeMap;
use std::time::Duration;

use dbbalance_testbed::image::TESTAPP;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use super::{Case, until};

/// Pods are started two at a time by a machine that does other things too.
const PODS_LIMIT: Duration = Duration::from_secs(150);

/// What the app in a pod has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Count {
    pub signals: BTreeMap<String, u64>,
    pub http: BTreeMap<String, u64>,
}

impl Count {
    /// All that reached the app.
    pub fn effects(&self) -> u64 {
        self.signals.values().sum::<u64>() + self.http.values().sum::<u64>()
    }
}

/// A workload of the test app, to be changed to taste.
pub fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    let mut workload = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 2,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "app", "image": TESTAPP, "imagePullPolicy": "Never",
                        "ports": [{"containerPort": 8080}],
                        "env": [],
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false,
                        },
                    }],
                },
            },
        },
    });
    match kind {
        "StatefulSet" => {
            workload["spec"]["serviceName"] = json!(name);
            workload["spec"]["podManagementPolicy"] = json!("Parallel");
        }
        "DaemonSet" => {
            workload["spec"].as_object_mut().unwrap().remove("replicas");
        }
        _ => {}
    }
    workload
}

/// Sets an environment variable of the app.
pub fn with_env(mut workload: Value, name: &str, value: &str) -> Value {
    workload["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": name, "value": value}]);
    workload
}

pub fn ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

pub fn annotation<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.annotations().get(key).map(String::as_str)
}

/// The epoch of a pod's stamp.
pub fn stamped(pod: &Pod) -> i64 {
    annotation(pod, dbbalance_api::annotations::EPOCH)
        .and_then(|s| s.split_once('/')?.1.split_once('-')?.0.parse().ok())
        .unwrap_or(0)
}

pub fn recycles(pod: &Pod) -> u64 {
    annotation(pod, dbbalance_api::annotations::RECYCLES)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0)
}

pub fn claim(pod: &Pod) -> Option<&str> {
    annotation(pod, dbbalance_api::annotations::CLAIM)
}

pub fn uid(pod: &Pod) -> String {
    pod.uid().unwrap()
}

impl Case<'_> {
    /// Makes a Deployment and waits for its pods.
    pub async fn deployment(&self, name: &str, replicas: u32) -> Vec<Pod> {
        self.deploy(workload("Deployment", name, replicas)).await
    }

    /// Makes a workload and waits for its pods.
    pub async fn deploy(&self, object: Value) -> Vec<Pod> {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let replicas = object["spec"]["replicas"].as_u64().unwrap_or(1);
        match object["kind"].as_str().unwrap() {
            "StatefulSet" => drop(self.create::<StatefulSet>(object).await),
            "DaemonSet" => drop(self.create::<DaemonSet>(object).await),
            _ => drop(self.create::<Deployment>(object).await),
        }
        self.ready_pods(&name, usize::try_from(replicas).unwrap())
            .await
    }

    /// The pods of a workload, the terminating ones included.
    pub async fn pods(&self, app: &str) -> Vec<Pod> {
        let params = ListParams::default().labels(&format!("app={app}"));
        self.api::<Pod>().list(&params).await.unwrap().items
    }

    /// Waits until exactly so many pods are there, all Ready.
    pub async fn ready_pods(&self, app: &str, wanted: usize) -> Vec<Pod> {
        until(&format!("{wanted} pods of {app}"), PODS_LIMIT, async || {
            let pods = self.pods(app).await;
            (pods.len() == wanted && pods.iter().all(ready)).then_some(pods)
        })
        .await
    }

    /// What the apps have counted, by pod UID. Pods without an address are left out.
    pub async fn counts(&self, app: &str) -> BTreeMap<String, Count> {
        let mut counts = BTreeMap::new();
        for pod in self.pods(app).await.iter().filter(|p| ready(p)) {
            let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap();
            let url = format!("http://{ip}:8080/log");
            let count = until("the app's answer", Duration::from_secs(20), async || {
                let answer = self.http.get(&url).send().await.ok()?;
                serde_json::from_slice(&answer.bytes().await.ok()?).ok()
            })
            .await;
            counts.insert(uid(pod), count);
        }
        counts
    }

    /// All effects that the pods of an app have seen.
    pub async fn effects(&self, app: &str) -> u64 {
        self.counts(app).await.values().map(Count::effects).sum()
    }
}
