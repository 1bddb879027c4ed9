//! Changes in the API server's audit log: who made them, and when.

use jiff::Timestamp;
use serde_json::Value;

use crate::suite::TestCase;

/// One answered request that changed something.
#[derive(Debug, Clone)]
pub struct AuditedChange {
    /// The identity of the operator.
    pub user: String,
    /// `create`, `patch`, …
    pub verb: String,
    /// `pods`, `deployments`, …
    pub resource: String,
    /// `eviction`, `exec`, … or empty.
    pub subresource: String,
    /// The object.
    pub name: String,
    /// HTTP status of the answer.
    pub code: u64,
    /// When the server received the request.
    pub at: Timestamp,
}

impl AuditedChange {
    /// Whether it is an eviction that was granted.
    pub fn is_eviction(&self) -> bool {
        self.resource == "pods" && self.subresource == "eviction" && self.succeeded()
    }

    /// Whether it changed pods or workloads: claims, stamps, signals, evictions, rollouts.
    pub fn is_effect(&self) -> bool {
        let resources = ["pods", "deployments", "statefulsets", "daemonsets"];
        resources.contains(&self.resource.as_str()) && self.succeeded()
    }

    fn succeeded(&self) -> bool {
        self.code < 300
    }
}

impl TestCase<'_> {
    /// The changes in the test's namespace made by operators, first to last.
    pub fn changes(&self) -> Vec<AuditedChange> {
        let log = std::fs::read_to_string(self.suite.testbed.audit_log()).unwrap();
        let namespace = format!("\"{}\"", self.name);
        let lines = log.lines().filter(|line| line.contains(&namespace));
        let mut changes: Vec<_> = lines.filter_map(|line| self.parse_change(line)).collect();
        changes.sort_by_key(|c| c.at);
        changes
    }

    fn parse_change(&self, line: &str) -> Option<AuditedChange> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let object = &event["objectRef"];
        let verb = text(&event["verb"]);
        let exec = object["subresource"] == "exec";
        let reads = ["get", "list", "watch"].contains(&verb.as_str()) && !exec;
        let user = text(&event["user"]["username"]);
        let accounts = format!("system:serviceaccount:{}:", self.name);
        if event["stage"] != "ResponseComplete"
            || object["namespace"] != *self.name
            || reads
            || !user.starts_with(&accounts)
        {
            return None;
        }
        let code = event["responseStatus"]["code"].as_u64().unwrap_or(0);
        Some(AuditedChange {
            user: user[accounts.len()..].to_owned(),
            verb,
            resource: text(&object["resource"]),
            subresource: text(&object["subresource"]),
            name: text(&object["name"]),
            // A switch of protocols is how a command in a container begins.
            code: if code == 101 { 200 } else { code },
            at: event["requestReceivedTimestamp"].as_str()?.parse().ok()?,
        })
    }
}
