//! Scenarios: a file with steps, and one JSON record of all that was measured.
//!
//! It sends commands and observes; whoever reads the record interprets it. The record is also written when a step
//! fails, with the reason.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::control::{AuroraControl, CLUSTER, FleetCommand};
use super::event::{self, FleetEvent};
use super::observe::{ConnectionRecord, ConnectionSample};
use super::status::FleetStatus;
use crate::kubernetes::Testbed;
use crate::wait;

/// For a wait that says no limit.
const LIMIT: f64 = 120.0;

/// A scenario's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// The cluster that is watched; it must be up.
    #[serde(default = "default_cluster")]
    pub cluster: String,
    /// In this order.
    pub steps: Vec<ScenarioStep>,
}

fn default_cluster() -> String {
    CLUSTER.to_owned()
}

/// One step: when its time has come and what it waits for is so, it does what it says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ScenarioStep {
    /// Not before this many seconds after the start.
    pub at: Option<f64>,
    /// Not before this is so.
    pub wait: Option<WaitCondition>,
    /// The longest wait, in seconds.
    pub limit: Option<f64>,
    /// An order.
    pub order: Option<FleetCommand>,
    /// A call of kubectl.
    pub kubectl: Option<Vec<String>>,
}

/// What a step can wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum WaitCondition {
    /// Nothing is under way in the cluster.
    Idle,
    /// The API reports this instance as available.
    Available(String),
    /// The cluster endpoint leads there.
    DnsWriter(String),
    /// The reader endpoint may lead there.
    DnsReader(String),
    /// An instance has at least this many connections.
    Connections {
        /// The instance.
        instance: String,
        /// At least.
        at_least: usize,
    },
    /// kubectl says this.
    Kubectl {
        /// Its arguments.
        arguments: Vec<String>,
        /// What its output must be, without white space around it.
        says: String,
    },
}

/// How a step went. Times in milliseconds since the record's start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// The step.
    pub step: ScenarioStep,
    /// When its turn came.
    pub began: i64,
    /// When it was done.
    pub ended: i64,
    /// What an order answered, or kubectl said.
    pub said: Value,
}

/// All that was measured. Times in milliseconds since `started`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioRecord {
    /// The scenario's name.
    pub scenario: String,
    /// The cluster.
    pub cluster: String,
    /// Milliseconds since 1970.
    pub started: i64,
    /// The end.
    pub ended: i64,
    /// Why it ended early.
    pub failed: Option<String>,
    /// The steps that were taken.
    pub steps: Vec<StepRecord>,
    /// What the databases, the API and the DNS did.
    pub events: Vec<FleetEvent>,
    /// Connections by instance and client, five times a second.
    pub samples: Vec<ConnectionSample>,
    /// One row a connection.
    pub lives: Vec<ConnectionRecord>,
    /// What the name server and the API were asked since the program's start.
    pub asked: Value,
    /// What others measured meanwhile: `errors` and `latencies` of the applications, `touched` pods, and more.
    pub added: BTreeMap<String, Value>,
}

impl Scenario {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("invalid scenario")
    }

    /// Runs it to its last step.
    pub fn run(&self, testbed: &Testbed) -> Result<ScenarioRecord> {
        let control = AuroraControl::in_testbed(testbed);
        let clock = Instant::now();
        let started = event::now_millis();
        control.observe(&self.cluster)?;
        let since = || event::now_millis() - started;
        let mut steps = Vec::new();
        let mut failed = None;
        for (index, step) in self.steps.iter().enumerate() {
            let began = since();
            match self.take(step, clock, testbed, &control) {
                Ok(said) => steps.push(StepRecord {
                    step: step.clone(),
                    began,
                    ended: since(),
                    said,
                }),
                Err(e) => {
                    failed = Some(format!("step {}: {e:#}", index + 1));
                    break;
                }
            }
        }
        let seen = control.send(&FleetCommand::Seen {
            cluster: self.cluster.clone(),
            stop: true,
        })?;
        let seen: super::observe::Observation = serde_json::from_value(seen)?;
        let seen = seen.since(started);
        let mut events = control.events(started)?;
        events.retain(|event| event.cluster == self.cluster);
        for event in &mut events {
            event.at -= started;
        }
        let added = ["errors", "latencies", "touched"]
            .map(|slot| (slot.to_owned(), Value::Null))
            .into();
        Ok(ScenarioRecord {
            scenario: self.name.clone(),
            cluster: self.cluster.clone(),
            started,
            ended: since(),
            failed,
            steps,
            events,
            samples: seen.samples,
            lives: seen.lives,
            asked: control.send(&FleetCommand::Asked)?,
            added,
        })
    }

    fn take(
        &self,
        step: &ScenarioStep,
        clock: Instant,
        testbed: &Testbed,
        control: &AuroraControl,
    ) -> Result<Value> {
        if let Some(at) = step.at {
            let at = Duration::try_from_secs_f64(at).context("`at` is not a valid time")?;
            // The clock is the condition here.
            let patience = at.saturating_sub(clock.elapsed()) + Duration::from_secs(1);
            wait::poll_until("the step's time", patience, || {
                Ok((clock.elapsed() >= at).then_some(()))
            })?;
        }
        if let Some(condition) = &step.wait {
            let limit = Duration::try_from_secs_f64(step.limit.unwrap_or(LIMIT))
                .context("`limit` is not a valid time")?;
            wait::poll_until(&format!("{condition:?}"), limit, || {
                Ok(self.holds(condition, testbed, control)?.then_some(()))
            })?;
        }
        let mut said = Value::Null;
        if let Some(order) = &step.order {
            said = control.send(order)?;
        }
        if let Some(arguments) = &step.kubectl {
            said = run_kubectl(testbed, arguments)?.into();
        }
        Ok(said)
    }

    fn holds(
        &self,
        condition: &WaitCondition,
        testbed: &Testbed,
        control: &AuroraControl,
    ) -> Result<bool> {
        Ok(match condition {
            WaitCondition::Connections { instance, at_least } => control
                .observation(&self.cluster)?
                .samples
                .last()
                .and_then(|sample| sample.connections(instance))
                .is_some_and(|count| count >= *at_least),
            WaitCondition::Kubectl { arguments, says } => {
                // What is not there yet is an error of kubectl's, and no reason to give up.
                run_kubectl(testbed, arguments).is_ok_and(|said| said.trim() == says)
            }
            told => is_condition_met(told, &self.cluster, &control.status()?),
        })
    }
}

fn run_kubectl(testbed: &Testbed, arguments: &[String]) -> Result<String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    testbed.kubectl(&arguments)
}

/// Reports whether the status meets the condition.
fn is_condition_met(condition: &WaitCondition, cluster: &str, status: &FleetStatus) -> bool {
    let Some(cluster) = status.cluster(cluster) else {
        return false;
    };
    let instance = |name: &str| cluster.instances.iter().find(|row| row.name == name);
    match condition {
        WaitCondition::Idle => cluster.busy.is_empty(),
        WaitCondition::Available(name) => {
            instance(name).is_some_and(|row| row.api_status == "available")
        }
        WaitCondition::DnsWriter(name) => cluster.dns_writer.as_deref() == Some(name),
        WaitCondition::DnsReader(name) => instance(name).is_some_and(|row| row.dns_reader),
        WaitCondition::Connections { .. } | WaitCondition::Kubectl { .. } => false,
    }
}

#[cfg(test)]
mod tests;
