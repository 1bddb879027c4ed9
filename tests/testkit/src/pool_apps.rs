//! Apps with real pools, as they report themselves by `/stats`, and their policies.

use std::time::Duration;

use dbbalance_api::DbBalancePolicy;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::suite::{LIMIT, TestCase};
use crate::wait::wait_until;

/// An app with real pools: its namespace, its image and its cluster.
#[derive(Debug)]
pub struct PoolApp {
    /// Its namespace.
    pub namespace: &'static str,
    /// The Aurora cluster.
    pub cluster: &'static str,
    /// The testbed's app: `activerecord` or `hikaricp`.
    pub image: &'static str,
    /// Pods.
    pub pods: u32,
    /// Settings of the app, by environment variable.
    pub environment: &'static [(&'static str, &'static str)],
}

/// A Deployment of an app with real pools, which reach the readers and the writer at these hosts.
pub fn pool_app_deployment(
    name: &str,
    app: &PoolApp,
    (reader, writer): (&str, &str),
    replicas: u32,
) -> Value {
    let environment: Vec<Value> = [("DB_READER_HOST", reader), ("DB_WRITER_HOST", writer)]
        .iter()
        .chain(app.environment)
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "app",
                        "image": format!("localhost/dbbalance-{}:1", app.image),
                        "imagePullPolicy": "Never",
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5},
                        "env": environment,
                    }],
                },
            },
        },
    })
}

/// Queries that the pods of an app have counted, over all pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolQueryCounts {
    /// Answered queries of the reader pools.
    pub reads: u64,
    /// Answered queries of the writer pools.
    pub writes: u64,
    /// Failed queries of both.
    pub failed: u64,
}

impl TestCase<'_> {
    /// Returns what the pods of an app answer to `/stats`.
    pub async fn stats(&self, app: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for pod in self.pods(app).await {
            let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap();
            let url = format!("http://{ip}:8080/stats");
            let stats = wait_until("the app's answer", Duration::from_secs(20), async || {
                let answer = self.http.get(&url).send().await.ok()?;
                serde_json::from_slice(&answer.bytes().await.ok()?).ok()
            });
            all.push(stats.await);
        }
        all
    }

    /// Sums the queries of an app's pods.
    pub async fn queries(&self, app: &str) -> PoolQueryCounts {
        let mut sum = PoolQueryCounts::default();
        for stats in self.stats(app).await {
            let of = |pool: &str, key: &str| stats["pools"][pool][key].as_u64().unwrap_or(0);
            sum.reads += of("reader", "ok");
            sum.writes += of("writer", "ok");
            sum.failed += of("reader", "failed") + of("writer", "failed");
        }
        sum
    }

    /// Returns the pods of an app by name, each with its recycles so far.
    pub async fn recycle_counts(&self, app: &str) -> Vec<(String, u64)> {
        let pods = self.pods(app).await;
        let recycles = |p: &Pod| (p.name_any(), crate::workloads::recycle_count(p));
        pods.iter().map(recycles).collect()
    }

    /// Deletes a policy, and waits until it is gone: the next case makes its own.
    pub async fn delete_policy(&self, name: &str) {
        let api = self.api::<DbBalancePolicy>();
        drop(api.delete(name, &DeleteParams::default()).await.unwrap());
        wait_until("the policy's end", LIMIT, async || {
            api.get_opt(name).await.ok()?.is_none().then_some(())
        })
        .await;
    }
}
