//! Scenarios: a file says what happens when, and one JSON record tells all that was measured.
//!
//! It orders and watches; what the figures mean is for whoever reads the record. The record is written also when a
//! step fails, with the reason in it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::control::{CLUSTER, Control, Order};
use super::event::{self, Event};
use super::observe::{Life, Sample};
use super::status::Status;
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
    #[serde(default = "cluster")]
    pub cluster: String,
    /// In this order.
    pub steps: Vec<Step>,
}

fn cluster() -> String {
    CLUSTER.to_owned()
}

/// One step: when its time has come and what it waits for is so, it does what it says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Not before this many seconds after the start.
    pub at: Option<f64>,
    /// Not before this is so.
    pub wait: Option<Condition>,
    /// The longest wait, in seconds.
    pub limit: Option<f64>,
    /// An order.
    pub order: Option<Order>,
    /// A call of kubectl.
    pub kubectl: Option<Vec<String>>,
}

/// What a step can wait for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Condition {
    /// Nothing is under way in the cluster.
    Idle,
    /// The API tells this instance as available.
    Available(String),
    /// The cluster endpoint leads there.
    DnsWriter(String),
    /// The reader endpoint may lead there.
    DnsReader(String),
    /// An instance has so many connections.
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
pub struct Done {
    /// The step.
    pub step: Step,
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
pub struct Record {
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
    pub steps: Vec<Done>,
    /// What the databases, the API and the DNS did.
    pub events: Vec<Event>,
    /// Connections by instance and client, five times a second.
    pub samples: Vec<Sample>,
    /// One row a connection.
    pub lives: Vec<Life>,
    /// What the name server and the API were asked since the program's start.
    pub asked: Value,
    /// What others measured meanwhile: `errors` and `latencies` of the applications, `touched` pods, and more.
    pub added: BTreeMap<String, Value>,
}

impl Scenario {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("that is no scenario")
    }

    /// Runs it to its last step.
    pub fn run(&self, testbed: &Testbed) -> Result<Record> {
        let control = Control::in_testbed(testbed);
        let clock = Instant::now();
        let started = event::now();
        control.observe(&self.cluster)?;
        let since = || event::now() - started;
        let mut steps = Vec::new();
        let mut failed = None;
        for (index, step) in self.steps.iter().enumerate() {
            let began = since();
            match self.take(step, clock, testbed, &control) {
                Ok(said) => steps.push(Done {
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
        let seen = control.order(&Order::Seen {
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
        Ok(Record {
            scenario: self.name.clone(),
            cluster: self.cluster.clone(),
            started,
            ended: since(),
            failed,
            steps,
            events,
            samples: seen.samples,
            lives: seen.lives,
            asked: control.order(&Order::Asked)?,
            added,
        })
    }

    fn take(
        &self,
        step: &Step,
        clock: Instant,
        testbed: &Testbed,
        control: &Control,
    ) -> Result<Value> {
        if let Some(at) = step.at {
            let at = Duration::try_from_secs_f64(at).context("`at` is no time")?;
            // The clock is the condition here: nothing else can tell that its time has come.
            let patience = at.saturating_sub(clock.elapsed()) + Duration::from_secs(1);
            wait::until("the step's time", patience, || {
                Ok((clock.elapsed() >= at).then_some(()))
            })?;
        }
        if let Some(condition) = &step.wait {
            let limit = Duration::try_from_secs_f64(step.limit.unwrap_or(LIMIT))
                .context("`limit` is no time")?;
            wait::until(&format!("{condition:?}"), limit, || {
                Ok(self.holds(condition, testbed, control)?.then_some(()))
            })?;
        }
        let mut said = Value::Null;
        if let Some(order) = &step.order {
            said = control.order(order)?;
        }
        if let Some(arguments) = &step.kubectl {
            said = kubectl(testbed, arguments)?.into();
        }
        Ok(said)
    }

    fn holds(&self, condition: &Condition, testbed: &Testbed, control: &Control) -> Result<bool> {
        Ok(match condition {
            Condition::Connections { instance, at_least } => control
                .seen(&self.cluster)?
                .samples
                .last()
                .and_then(|sample| sample.connections(instance))
                .is_some_and(|count| count >= *at_least),
            Condition::Kubectl { arguments, says } => {
                // What is not there yet is an error of kubectl's, and no reason to give up.
                kubectl(testbed, arguments).is_ok_and(|said| said.trim() == says)
            }
            told => holds(told, &self.cluster, &control.status()?),
        })
    }
}

fn kubectl(testbed: &Testbed, arguments: &[String]) -> Result<String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    testbed.kubectl(&arguments)
}

/// Is it so, by what the status tells?
fn holds(condition: &Condition, cluster: &str, status: &Status) -> bool {
    let Some(cluster) = status.cluster(cluster) else {
        return false;
    };
    let instance = |name: &str| cluster.instances.iter().find(|row| row.name == name);
    match condition {
        Condition::Idle => cluster.busy.is_empty(),
        Condition::Available(name) => {
            instance(name).is_some_and(|row| row.api_status == "available")
        }
        Condition::DnsWriter(name) => cluster.dns_writer.as_deref() == Some(name),
        Condition::DnsReader(name) => instance(name).is_some_and(|row| row.dns_reader),
        Condition::Connections { .. } | Condition::Kubectl { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_file_says_what_happens_when() {
        let scenario = Scenario::parse(
            r#"{"name": "flicker", "steps": [
                {"at": 5, "order": {"do": "add-reader", "cluster": "orders"}},
                {"wait": {"dnsReader": "orders-4"}, "limit": 60,
                 "order": {"do": "failover", "cluster": "orders", "options": {"flicker": true}}},
                {"wait": {"connections": {"instance": "orders-4", "atLeast": 10}}},
                {"wait": "idle", "kubectl": ["annotate", "dbp", "orders", "a=b"]}
            ]}"#,
        )
        .unwrap();
        assert_eq!(scenario.cluster, "orders");
        assert!(
            matches!(&scenario.steps[1].order, Some(Order::Failover { options, .. }) if options.flicker)
        );
        assert_eq!(scenario.steps[3].wait, Some(Condition::Idle));
        let again = serde_json::to_string(&scenario).unwrap();
        assert_eq!(Scenario::parse(&again).unwrap(), scenario);
    }

    #[test]
    fn the_files_that_come_with_the_stand_are_readable() {
        let folder = crate::tools::sources().join("scenarios");
        let mut read = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            Scenario::parse(&text).unwrap_or_else(|e| panic!("{}: {e:#}", path.display()));
            read += 1;
        }
        assert!(read > 0);
    }

    #[test]
    fn a_word_that_is_no_step_is_refused() {
        assert!(Scenario::parse(r#"{"name": "x", "steps": [{"after": 5}]}"#).is_err());
    }
}
