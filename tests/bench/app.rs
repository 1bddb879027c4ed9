//! The app with real pools, as a case wants it deployed: its size, its settings, its pod template. Values only.

use std::collections::BTreeMap;

use dbbalance_testbed::aurora::inventory::{cluster_endpoint, reader_endpoint};
use serde_json::{Value, json};

use crate::fixture::{APP, CLUSTER};

/// An app with pools, as it is deployed.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its folder below `tests/testbed/apps`.
    pub name: &'static str,
    /// Pods.
    pub pods: usize,
    /// Connections of the reader pool of each.
    pub size: usize,
    /// Connections of the writer pool; 0 leaves it out.
    pub writer_size: usize,
    /// Further settings, or others than the fixture's.
    pub environment: Vec<(&'static str, String)>,
}

impl App {
    /// Pods with reader pools alone.
    pub fn readers(name: &'static str, pods: usize, size: usize) -> Self {
        Self {
            name,
            pods,
            size,
            writer_size: 0,
            environment: Vec::new(),
        }
    }

    /// With another setting.
    pub fn with(mut self, name: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.environment.push((name, value.to_string()));
        self
    }

    /// Whether its process keeps what DNS answered.
    pub fn keeps_dns(&self) -> bool {
        let mut settings = self.environment.iter();
        settings.any(|(name, value)| *name == "JVM_DNS_TTL" && value != "0")
    }

    fn settings(&self) -> Vec<Value> {
        let mut all: BTreeMap<&str, String> = [
            ("DB_READER_HOST", reader_endpoint(CLUSTER)),
            ("DB_WRITER_HOST", cluster_endpoint(CLUSTER)),
            ("POOL_SIZE", self.size.to_string()),
            ("READ_RATE", "10".to_owned()),
            (
                "WRITER_POOL",
                if self.writer_size == 0 { "off" } else { "on" }.to_owned(),
            ),
            ("WRITER_POOL_SIZE", self.writer_size.max(1).to_string()),
            ("WRITE_RATE", "5".to_owned()),
            ("JVM_DNS_TTL", "0".to_owned()),
        ]
        .into();
        all.extend(self.environment.iter().cloned());
        all.into_iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    }

    /// The Deployment's pod template.
    pub fn template(&self) -> Value {
        let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1});
        json!({
            "metadata": {"labels": {"app": APP}},
            "spec": {
                "terminationGracePeriodSeconds": 10,
                "containers": [{
                    "name": "app", "image": format!("localhost/dbbalance-{}:1", self.name), "imagePullPolicy": "Never",
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": probe, "env": self.settings()
                }]
            }
        })
    }
}
