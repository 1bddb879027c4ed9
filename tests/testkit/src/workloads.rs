//! Workloads of the test app, their pods, and what the app itself has counted.

use std::collections::BTreeMap;
use std::time::Duration;

use dbbalance_testbed::image::TESTAPP;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::suite::TestCase;
use crate::wait::wait_until;

/// Pods are started two at a time by a machine that does other things too.
const PODS_LIMIT: Duration = Duration::from_secs(150);

/// What the app in a pod has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct EffectCounts {
    /// Signals by name.
    pub signals: BTreeMap<String, u64>,
    /// HTTP calls by path.
    pub http: BTreeMap<String, u64>,
}

impl EffectCounts {
    /// All that reached the app.
    pub fn effects(&self) -> u64 {
        self.signals.values().sum::<u64>() + self.http.values().sum::<u64>()
    }
}

/// A workload of the test app, to be changed to taste.
pub fn workload_object(kind: &str, name: &str, replicas: u32) -> Value {
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
pub fn set_env(mut workload: Value, name: &str, value: &str) -> Value {
    workload["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": name, "value": value}]);
    workload
}

/// Reports whether a pod is Ready and not terminating.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Returns an annotation of a pod.
pub fn find_annotation<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.annotations().get(key).map(String::as_str)
}

/// The epoch of a pod's stamp.
pub fn stamped_epoch(pod: &Pod) -> i64 {
    find_annotation(pod, dbbalance_api::annotations::EPOCH)
        .and_then(|s| s.split_once('/')?.1.split_once('-')?.0.parse().ok())
        .unwrap_or(0)
}

/// Returns how often a pod was recycled, by its annotation.
pub fn recycle_count(pod: &Pod) -> u64 {
    find_annotation(pod, dbbalance_api::annotations::RECYCLES)
        .and_then(|s| s.parse().ok())
        .unwrap_or(0)
}

/// Returns how often containers of a pod were restarted.
pub fn restart_count(pod: &Pod) -> i32 {
    let statuses = pod.status.iter();
    let statuses = statuses.flat_map(|s| s.container_statuses.iter().flatten());
    statuses.map(|c| c.restart_count).sum()
}

/// Returns the claim on a pod.
pub fn find_claim(pod: &Pod) -> Option<&str> {
    find_annotation(pod, dbbalance_api::annotations::CLAIM)
}

/// Returns the UID of a pod.
pub fn pod_uid(pod: &Pod) -> String {
    pod.uid().unwrap()
}

impl TestCase<'_> {
    /// Makes a Deployment and waits for its pods.
    pub async fn create_deployment(&self, name: &str, replicas: u32) -> Vec<Pod> {
        self.create_workload(workload_object("Deployment", name, replicas))
            .await
    }

    /// Makes a workload and waits for its pods.
    pub async fn create_workload(&self, object: Value) -> Vec<Pod> {
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
        wait_until(&format!("{wanted} pods of {app}"), PODS_LIMIT, async || {
            let pods = self.pods(app).await;
            (pods.len() == wanted && pods.iter().all(is_ready)).then_some(pods)
        })
        .await
    }

    /// What the apps have counted, by pod UID. Pods without an address are left out.
    pub async fn effect_counts(&self, app: &str) -> BTreeMap<String, EffectCounts> {
        let mut counts = BTreeMap::new();
        for pod in self.pods(app).await.iter().filter(|p| is_ready(p)) {
            let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap();
            let url = format!("http://{ip}:8080/log");
            let count = wait_until("the app's answer", Duration::from_secs(20), async || {
                let answer = self.http.get(&url).send().await.ok()?;
                serde_json::from_slice(&answer.bytes().await.ok()?).ok()
            })
            .await;
            counts.insert(pod_uid(pod), count);
        }
        counts
    }

    /// All effects that the pods of an app have seen.
    pub async fn effects(&self, app: &str) -> u64 {
        self.effect_counts(app)
            .await
            .values()
            .map(EffectCounts::effects)
            .sum()
    }
}
