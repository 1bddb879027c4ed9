//! microburst: a proxy that answers instead of moto, in AWS's own words, when a rule says so.
//!
//! Rules are a JSON list at `/_microburst/rules`: POST replaces all, PATCH adds, GET tells. The first that matches
//! a request decides. They match by `service` and `operation` (and `region`, `resource`, `headers`, `body`), and
//! are limited by `times`, `probability`, `rate`, `sequence` or `ttl_s`. One working example each; the test
//! `faults.rs` runs them all:
//!
//! | fault | rule |
//! |---|---|
//! | throttled | `{"service":"rds","operation":"DescribeDBClusters","times":2,"error":{"code":"Throttling"}}` |
//! | denied | `{"service":"rds","error":{"code":"AccessDenied"}}` |
//! | expired credentials | `{"service":"rds","error":{"code":"ExpiredToken"}}` |
//! | server error | `{"service":"rds","error":{"code":"InternalFailure","status":500}}` |
//! | slow | `{"service":"rds","latency":300}` (milliseconds) |
//! | connection reset | `{"service":"rds","reset":true}` |
//! | body cut short, whole by its length | `{"service":"rds","response":{"truncate_frac":0.5}}` |
//! | connection lost within the body | `{"service":"rds","response":{"abort_frac":0.5}}` |
//!
//! A rule that is not understood is not refused by microburst but ignored in part: look at
//! [`FaultControl::fired`] to know that it acted.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::REGION;
use super::client::{HttpClient, RdsClient};
use super::moto::{RdsServerProcess, answers_quickly};
use crate::kubernetes::Testbed;

/// Sets rules of a running microburst.
#[derive(Debug, Clone)]
pub struct FaultControl {
    http: HttpClient,
}

impl FaultControl {
    /// At this address.
    #[must_use]
    pub fn new(endpoint: &str) -> Self {
        Self {
            http: HttpClient::new(endpoint, None),
        }
    }

    pub(super) fn in_testbed(testbed: &Testbed, endpoint: &str) -> Self {
        Self {
            http: HttpClient::new(endpoint, Some(testbed.layout().clone())),
        }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let (status, text) = self.http.send(
            method,
            &format!("/_microburst/{path}"),
            &[("Content-Type", "application/json")],
            body,
        )?;
        if status != 200 {
            bail!("microburst refused {method} {path} with {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("microburst answered {text:?}"))
    }

    /// Does it answer?
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.send("GET", "health", "").is_ok()
    }

    /// Replaces all rules by this JSON list (or one rule); gives how many there are now.
    pub fn set_rules(&self, rules: &Value) -> Result<usize> {
        let list = match rules {
            Value::Array(_) => rules.clone(),
            one => Value::Array(vec![one.clone()]),
        };
        let now = self.send("POST", "rules", &list.to_string())?;
        Ok(now.as_array().map_or(0, Vec::len))
    }

    /// The rules now.
    pub fn rules(&self) -> Result<Value> {
        self.send("GET", "rules", "")
    }

    /// What rules did, oldest first, at most the last hundred.
    pub fn fired(&self) -> Result<Vec<Value>> {
        match self.send("GET", "fired", "")? {
            Value::Array(list) => Ok(list),
            other => bail!("microburst answered {other} for what it fired"),
        }
    }

    /// Forgets what rules did.
    pub fn forget_fired(&self) -> Result<()> {
        self.send("DELETE", "fired", "").map(drop)
    }
}

/// A running microburst on loopback.
#[derive(Debug)]
pub struct Microburst {
    server: RdsServerProcess,
    control: FaultControl,
}

impl Microburst {
    /// Starts one in front of `upstream`, without rules.
    pub fn start(upstream: &str) -> Result<Self> {
        let upstream = upstream.to_owned();
        let server = RdsServerProcess::start(
            "microburst",
            move |port| {
                [
                    "--host",
                    "127.0.0.1",
                    "--port",
                    &port.to_string(),
                    "--upstream",
                    &upstream,
                ]
                .map(str::to_owned)
                .into()
            },
            |endpoint| answers_quickly(endpoint) && FaultControl::new(endpoint).healthy(),
        )?;
        let control = FaultControl::new(&server.endpoint);
        Ok(Self { server, control })
    }

    /// Its address: the one to give to the client under test.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.server.endpoint
    }

    /// A client that goes through it.
    #[must_use]
    pub fn client(&self) -> RdsClient {
        RdsClient::new(self.endpoint(), REGION)
    }

    /// Its rules.
    #[must_use]
    pub fn control(&self) -> &FaultControl {
        &self.control
    }

    /// See [`FaultControl::set_rules`].
    pub fn set_rules(&self, rules: &Value) -> Result<usize> {
        self.control.set_rules(rules)
    }
}
