//! What is seen at a moment: connections as the databases tell them, queries as the pods tell them, and the policy.
//!
//! [`Sight`] is plain values and answers the story's questions; [`Observer`] gathers them. It changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::stage::{CLUSTER, NAMESPACE, POLICY, Stage};
use crate::aurora::observe::Sample;
use crate::aurora::status::ClusterStatus;
use crate::rds::client::Http;

/// Between two looks at the databases: as often as they are sampled.
const DATABASES: Duration = Duration::from_millis(200);
/// Between two looks at pods and policy, which take a process and twelve calls.
const REST: Duration = Duration::from_millis(800);

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
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
pub struct Queries {
    /// Answered.
    pub ok: u64,
    /// Failed: the app got an error.
    pub failed: u64,
    /// Renewals of the pool.
    pub recycles: u64,
}

/// What the policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
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
pub struct Sight {
    /// By name.
    pub instances: Vec<Instance>,
    /// Where the cluster endpoint leads, by the authoritative name server.
    pub endpoint: Option<String>,
    /// By pod.
    pub pods: BTreeMap<String, Queries>,
    /// The policy.
    pub policy: Policy,
}

impl Sight {
    /// Connections of all instances.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.instances.iter().map(|i| i.connections).sum()
    }

    /// Instances that only read, and serve or hold something.
    pub fn readers(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|i| i.writer != Some(true))
    }

    /// Connections to a reader, of those to all readers, in whole percent.
    #[must_use]
    pub fn percent(&self, instance: &Instance) -> usize {
        let all: usize = self.readers().map(|i| i.connections).sum();
        (instance.connections * 100 + all / 2)
            .checked_div(all)
            .unwrap_or_default()
    }

    /// Is an instance's number within the policy's band? None without a band.
    #[must_use]
    pub fn within(&self, instance: &Instance) -> Option<bool> {
        let (lowest, highest) = self.policy.band?;
        Some((lowest..=highest).contains(&instance.connections))
    }

    /// What all pods counted.
    #[must_use]
    pub fn queries(&self) -> Queries {
        self.pods
            .values()
            .fold(Queries::default(), |sum, pod| Queries {
                ok: sum.ok + pod.ok,
                failed: sum.failed + pod.failed,
                recycles: sum.recycles + pod.recycles,
            })
    }

    /// Pods whose pool was renewed at least once, by their own count.
    #[must_use]
    pub fn recycled(&self) -> usize {
        self.pods.values().filter(|pod| pod.recycles > 0).count()
    }

    /// Could the operator tell from its measurement whether they are even?
    #[must_use]
    pub fn measured(&self) -> bool {
        matches!(self.policy.state.as_str(), "Balanced" | "Unbalanced")
    }

    /// Are the reader pools where they should be: none on the writer, all back, the readers even? The databases say so,
    /// and the policy.
    #[must_use]
    pub fn even(&self, connections: usize) -> bool {
        let wrong = self
            .instances
            .iter()
            .any(|i| i.writer != Some(false) && i.connections > 0);
        !wrong
            && self.connections() == connections
            && self.policy.state == "Balanced"
            && self.policy.stale == 0
            && (self.policy.quantum || self.readers().all(|i| self.within(i) == Some(true)))
    }
}

/// The policy as the API server tells it.
#[must_use]
pub fn policy(object: &Value) -> Policy {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = &object["status"];
    let (balance, target, plan) = (
        &status["balance"][0],
        &status["targets"][0],
        &status["plan"][0],
    );
    let count = |value: &Value| usize::try_from(value.as_i64()?).ok();
    let waits = plan["message"].as_str().or(plan["waitingFor"].as_str());
    Policy {
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
pub fn queries(stats: &Value) -> Queries {
    let reader = &stats["pools"]["reader"];
    let count = |value: &Value| value.as_u64().unwrap_or_default();
    Queries {
        ok: count(&reader["ok"]),
        failed: count(&reader["failed"]),
        recycles: count(&stats["recycles"]),
    }
}

/// The instances, as two of the testbed's views tell them.
#[must_use]
pub fn instances(status: &ClusterStatus, sample: Option<&Sample>) -> Vec<Instance> {
    let mut rows: Vec<Instance> = status
        .instances
        .iter()
        .map(|told| {
            let seen = sample.and_then(|sample| sample.instances.get(&told.name)?.as_ref());
            Instance {
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
pub struct Observer<'a> {
    stage: &'a Stage,
    sight: Sight,
    databases: Option<Instant>,
    rest: Option<Instant>,
}

impl<'a> Observer<'a> {
    /// Looks at this stage.
    #[must_use]
    pub fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            sight: Sight::default(),
            databases: None,
            rest: None,
        }
    }

    /// What is seen now; none if it was looked at a moment ago.
    pub fn look(&mut self) -> Result<Option<&Sight>> {
        if !due(self.databases, DATABASES) {
            return Ok(None);
        }
        let stage = self.stage;
        let status = stage.control.status()?;
        let cluster = status
            .cluster(CLUSTER)
            .context("the cluster is not there any more")?;
        let sample = stage.control.newest(CLUSTER)?;
        self.sight.instances = instances(cluster, sample.as_ref());
        self.sight.endpoint.clone_from(&cluster.dns_writer);
        if due(self.rest, REST) {
            self.rest()?;
            self.rest = Some(Instant::now());
        }
        self.databases = Some(Instant::now());
        Ok(Some(&self.sight))
    }

    /// What was seen last.
    #[must_use]
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    fn rest(&mut self) -> Result<()> {
        let stage = self.stage;
        let path = format!(
            "/apis/dbbalance.io/v1alpha1/namespaces/{NAMESPACE}/dbbalancepolicies/{POLICY}"
        );
        let object = stage.testbed.kubectl(&["get", "--raw", &path])?;
        self.sight.policy = policy(&serde_json::from_str(&object)?);
        for (pod, ip) in &stage.pods {
            let http = Http::new(
                &format!("http://{ip}:8080"),
                Some(stage.testbed.layout().clone()),
            );
            let (_, stats) = http
                .send("GET", "/stats", &[], "")
                .with_context(|| format!("the pod {pod} does not tell its queries"))?;
            let stats = serde_json::from_str(&stats)
                .with_context(|| format!("the pod {pod} tells no JSON"))?;
            self.sight.pods.insert(pod.clone(), queries(&stats));
        }
        Ok(())
    }
}

fn due(last: Option<Instant>, period: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(in crate::demo) fn reader(name: &str, connections: usize) -> Instance {
        Instance {
            name: name.into(),
            writer: Some(false),
            connections,
            status: "available".into(),
            served: true,
        }
    }

    fn even() -> Sight {
        let mut sight = Sight {
            instances: vec![
                reader("orders-1", 0),
                reader("orders-2", 58),
                reader("orders-3", 62),
            ],
            ..Sight::default()
        };
        sight.instances[0].writer = Some(true);
        sight.policy.state = "Balanced".into();
        sight.policy.band = Some((50, 70));
        sight
    }

    #[test]
    fn readers_within_the_band_are_even() {
        assert!(even().even(120));
        assert_eq!(even().percent(&reader("orders-2", 58)), 48);
    }

    #[test]
    fn one_connection_on_the_writer_is_not_even() {
        let mut sight = even();
        sight.instances[0].connections = 1;
        sight.instances[1].connections = 57;
        assert!(!sight.even(120));
    }

    #[test]
    fn what_the_policy_says_is_not_believed_against_the_databases() {
        let mut sight = even();
        sight.instances[1].connections = 20;
        sight.instances[2].connections = 100;
        assert!(!sight.even(120));
    }

    #[test]
    fn missing_connections_and_stale_pods_are_not_the_end() {
        assert!(!even().even(121));
        let mut sight = even();
        sight.policy.stale = 1;
        assert!(!sight.even(120));
    }

    #[test]
    fn a_policy_without_status_says_nothing() {
        let read = policy(&json!({"spec": {"mode": "Observe"}}));
        assert_eq!(
            (read.mode.as_str(), read.epoch, read.band),
            ("Observe", 0, None)
        );
        assert!(
            !Sight {
                policy: read,
                ..even()
            }
            .even(120)
        );
    }

    #[test]
    fn the_plan_is_told_with_what_it_waits_for() {
        let read = policy(
            &json!({"status": {"plan": [{"action": "recycle web-1", "message": "mode is Observe"}],
            "balance": [{"lowest": 20, "highest": 46, "limitedBy": "PodQuantum"}]}}),
        );
        assert_eq!(read.plan, "recycle web-1: mode is Observe");
        assert_eq!((read.band, read.quantum), (Some((20, 46)), true));
    }

    #[test]
    fn a_query_that_is_slow_has_not_failed() {
        let stats = json!({"recycles": 2, "pools": {"reader": {"ok": 7, "failed": 1, "slow": 3, "stuck": 3}}});
        let read = queries(&stats);
        assert_eq!((read.ok, read.failed, read.recycles), (7, 1, 2));
    }
}
