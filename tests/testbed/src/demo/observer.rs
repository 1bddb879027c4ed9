//! Takes snapshots: connections from the databases, queries from the pods, and the policy.
//!
//! [`DemoSnapshot`] is plain values that answer the script's questions; [`DemoObserver`] collects them, and changes
//! nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::setup::{CLUSTER, DemoSetup, NAMESPACE, POLICY};
use crate::aurora::observe::ConnectionSample;
use crate::aurora::status::ClusterStatus;
use crate::rds::client::HttpClient;

/// Between two looks at the databases: as often as they are sampled.
const DATABASES: Duration = Duration::from_millis(200);
/// Between two looks at pods and policy, which take a process and twelve calls.
const REST: Duration = Duration::from_millis(800);

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// Its name.
    pub name: String,
    /// Does it take writes? None: it does not answer.
    pub writer: Option<bool>,
    /// Connections of the app.
    pub connections: usize,
    /// `DBInstanceStatus`.
    pub status: String,
    /// May the reader endpoint lead to it?
    pub served: bool,
}

/// What the pods counted since they started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryCounts {
    /// Answered.
    pub ok: u64,
    /// Failed: the app got an error.
    pub failed: u64,
    /// Renewals of the pool.
    pub recycles: u64,
}

/// What the policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyView {
    /// Observe or Enforce.
    pub mode: String,
    /// The last open epoch.
    pub epoch: i64,
    /// What a pending epoch waits for.
    pub pending: Option<String>,
    /// The writer it knows.
    pub writer: String,
    /// What would be done next, and the gate it waits for.
    pub plan: String,
    /// Balanced, Unbalanced, Unknown.
    pub state: String,
    /// The same in words with figures.
    pub shares: String,
    /// The band of connections of a reader.
    pub band: Option<(usize, usize)>,
    /// Can no single pod's move make it more even?
    pub quantum: bool,
    /// Pods that are older than the due epoch.
    pub stale: i64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoSnapshot {
    /// By name.
    pub instances: Vec<InstanceView>,
    /// Where the cluster endpoint leads, by the authoritative name server.
    pub endpoint: Option<String>,
    /// By pod.
    pub pods: BTreeMap<String, QueryCounts>,
    /// The policy.
    pub policy: PolicyView,
}

impl DemoSnapshot {
    /// Connections of all instances.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.instances.iter().map(|i| i.connections).sum()
    }

    /// Instances that only read, and serve or hold something.
    pub fn readers(&self) -> impl Iterator<Item = &InstanceView> {
        self.instances.iter().filter(|i| i.writer != Some(true))
    }

    /// Connections to a reader, of those to all readers, in whole percent.
    #[must_use]
    pub fn percent(&self, instance: &InstanceView) -> usize {
        let all: usize = self.readers().map(|i| i.connections).sum();
        (instance.connections * 100 + all / 2)
            .checked_div(all)
            .unwrap_or_default()
    }

    /// Is an instance's number within the policy's band? None without a band.
    #[must_use]
    pub fn is_within_band(&self, instance: &InstanceView) -> Option<bool> {
        let (lowest, highest) = self.policy.band?;
        Some((lowest..=highest).contains(&instance.connections))
    }

    /// What all pods counted.
    #[must_use]
    pub fn queries(&self) -> QueryCounts {
        self.pods
            .values()
            .fold(QueryCounts::default(), |sum, pod| QueryCounts {
                ok: sum.ok + pod.ok,
                failed: sum.failed + pod.failed,
                recycles: sum.recycles + pod.recycles,
            })
    }

    /// Pods whose pool was renewed at least once, by their own count.
    #[must_use]
    pub fn recycled_pods(&self) -> usize {
        self.pods.values().filter(|pod| pod.recycles > 0).count()
    }

    /// Reports whether the operator could measure whether they are even.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        matches!(self.policy.state.as_str(), "Balanced" | "Unbalanced")
    }

    /// Are the reader pools where they should be: none on the writer, all back, the readers even? The databases say so,
    /// and the policy.
    #[must_use]
    pub fn is_even(&self, connections: usize) -> bool {
        let wrong = self
            .instances
            .iter()
            .any(|i| i.writer != Some(false) && i.connections > 0);
        !wrong
            && self.connections() == connections
            && self.policy.state == "Balanced"
            && self.policy.stale == 0
            && (self.policy.quantum || self.readers().all(|i| self.is_within_band(i) == Some(true)))
    }
}

/// Reads a policy object.
#[must_use]
pub fn read_policy(object: &Value) -> PolicyView {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = &object["status"];
    let (balance, target, plan) = (
        &status["balance"][0],
        &status["targets"][0],
        &status["plan"][0],
    );
    let count = |value: &Value| usize::try_from(value.as_i64()?).ok();
    let waits = plan["message"].as_str().or(plan["waitingFor"].as_str());
    PolicyView {
        mode: object["spec"]["mode"].as_str().unwrap_or("Enforce").into(),
        epoch: status["epoch"].as_i64().unwrap_or_default(),
        pending: status["pendingEpoch"]
            .as_object()
            .map(|pending| text(pending.get("waitingFor").unwrap_or(&Value::Null))),
        writer: text(&status["topology"]["writer"]),
        plan: match waits {
            Some(waits) => format!("{}: {waits}", text(&plan["action"])),
            None => text(&plan["action"]),
        },
        state: text(&balance["state"]),
        shares: text(&balance["message"]),
        band: count(&balance["lowest"]).zip(count(&balance["highest"])),
        quantum: balance["limitedBy"] == "PodQuantum",
        stale: target["stale"].as_i64().unwrap_or_default(),
    }
}

/// What a pod's `/stats` says of its reader pool.
#[must_use]
pub fn read_queries(stats: &Value) -> QueryCounts {
    let reader = &stats["pools"]["reader"];
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    QueryCounts {
        ok: count(&reader["ok"]),
        failed: count(&reader["failed"]),
        recycles: count(&stats["recycles"]),
    }
}

/// Merges status and sample into one row per instance.
#[must_use]
pub fn merge_instances(
    status: &ClusterStatus,
    sample: Option<&ConnectionSample>,
) -> Vec<InstanceView> {
    let mut rows: Vec<InstanceView> = status
        .instances
        .iter()
        .map(|told| {
            let seen = sample.and_then(|sample| sample.instances.get(&told.name)?.as_ref());
            InstanceView {
                name: told.name.clone(),
                writer: seen.map(|seen| !seen.standby),
                connections: seen
                    .map_or(0, |seen| seen.clients.values().map(|held| held.count).sum()),
                status: told.api_status.clone(),
                served: told.dns_reader,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// Looks, again and again.
pub struct DemoObserver<'a> {
    setup: &'a DemoSetup,
    snapshot: DemoSnapshot,
    databases: Option<Instant>,
    rest: Option<Instant>,
}

impl<'a> DemoObserver<'a> {
    /// Looks at this setup.
    #[must_use]
    pub fn new(setup: &'a DemoSetup) -> Self {
        Self {
            setup,
            snapshot: DemoSnapshot::default(),
            databases: None,
            rest: None,
        }
    }

    /// What is seen now; none if it was looked at a moment ago.
    pub fn observe(&mut self) -> Result<Option<&DemoSnapshot>> {
        if !is_due(self.databases, DATABASES) {
            return Ok(None);
        }
        let setup = self.setup;
        let status = setup.control.status()?;
        let cluster = status.cluster(CLUSTER).context("the cluster is gone")?;
        let sample = setup.control.latest_sample(CLUSTER)?;
        self.snapshot.instances = merge_instances(cluster, sample.as_ref());
        self.snapshot.endpoint.clone_from(&cluster.dns_writer);
        if is_due(self.rest, REST) {
            self.observe_pods_and_policy()?;
            self.rest = Some(Instant::now());
        }
        self.databases = Some(Instant::now());
        Ok(Some(&self.snapshot))
    }

    /// What was seen last.
    #[must_use]
    pub fn snapshot(&self) -> &DemoSnapshot {
        &self.snapshot
    }

    fn observe_pods_and_policy(&mut self) -> Result<()> {
        let setup = self.setup;
        let path = format!(
            "/apis/dbbalance.io/v1alpha1/namespaces/{NAMESPACE}/dbbalancepolicies/{POLICY}"
        );
        let object = setup.testbed.kubectl(&["get", "--raw", &path])?;
        self.snapshot.policy = read_policy(&serde_json::from_str(&object)?);
        for (pod, ip) in &setup.pods {
            let http = HttpClient::new(
                &format!("http://{ip}:8080"),
                Some(setup.testbed.layout().clone()),
            );
            let (_, stats) = http
                .send("GET", "/stats", &[], "")
                .with_context(|| format!("the pod {pod} does not answer to /stats"))?;
            let stats = serde_json::from_str(&stats)
                .with_context(|| format!("the answer of the pod {pod} is not JSON"))?;
            self.snapshot.pods.insert(pod.clone(), read_queries(&stats));
        }
        Ok(())
    }
}

fn is_due(last: Option<Instant>, period: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= period)
}

#[cfg(test)]
mod tests;
