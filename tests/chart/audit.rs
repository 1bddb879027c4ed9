//! The API server's own account of what the operator did with its rights.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::fixture::{ChartFixture, HOME, run};
use crate::objects::text;

/// One request of the operator.
pub struct Record {
    pub at: Timestamp,
    pub namespace: String,
    verb: String,
    resource: String,
    code: i64,
    decision: String,
    uri: String,
}

impl Record {
    /// As rules write it: `verb resource/subresource`.
    pub fn right(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

/// All requests of the operator from a line of the log on.
pub fn records(fixture: &ChartFixture, from: usize) -> Vec<Record> {
    let user = format!("system:serviceaccount:{HOME}:{HOME}");
    let log = fs::read_to_string(fixture.testbed.audit_log()).unwrap();
    let lines = log.lines().skip(from).filter(|l| l.contains(&user));
    lines
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|e| e["user"]["username"] == user.as_str())
        .map(|e| read(&e))
        .collect()
}

fn read(event: &Value) -> Record {
    let of = &event["objectRef"];
    let mut resource = text(&of["resource"]);
    if let Some(sub) = of["subresource"].as_str() {
        resource = format!("{resource}/{sub}");
    }
    Record {
        at: text(&event["requestReceivedTimestamp"]).parse().unwrap(),
        namespace: text(&of["namespace"]),
        verb: text(&event["verb"]),
        resource,
        code: event["responseStatus"]["code"].as_i64().unwrap_or(0),
        decision: text(&event["annotations"]["authorization.k8s.io/decision"]),
        uri: text(&event["requestURI"]),
    }
}

/// Judges the log from where the last look ended; gives the number of requests.
fn assert_nothing_forbidden(fixture: &ChartFixture) -> usize {
    let lines = fs::read_to_string(fixture.testbed.audit_log())
        .unwrap()
        .lines()
        .count();
    let records = records(fixture, fixture.judged_until(lines));
    let forbidden: BTreeSet<String> = records
        .iter()
        .filter(|r| r.code == 403 || r.decision == "forbid")
        .map(|r| format!("{} {} {}", r.verb, r.uri, r.code))
        .collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    records.len()
}

pub async fn no_request_was_forbidden_and_no_right_is_idle(fixture: Arc<ChartFixture>) {
    let used: BTreeMap<String, usize> =
        records(&fixture, 0)
            .iter()
            .fold(BTreeMap::new(), |mut used, record| {
                *used.entry(record.right()).or_default() += 1;
                used
            });
    let requests = assert_nothing_forbidden(&fixture);
    println!("  audit: {requests} requests, none forbidden");
    let reasons = reasons(&fixture).await;
    let mut idle = Vec::new();
    for right in granted(&fixture).await {
        let count = used.get(&right).copied().unwrap_or(0);
        let (verb, resource) = right.split_once(' ').unwrap();
        let told = reasons
            .iter()
            .any(|(comment, rule)| rule.contains(resource) && comment.contains(verb));
        let note = match (count, told) {
            (0, true) => "not used here; the chart says why it is there",
            (0, false) => {
                idle.push(right.clone());
                "NOT USED"
            }
            _ => "",
        };
        println!("  {right:<44} {count:>6} {note}");
    }
    assert!(
        idle.is_empty(),
        "granted, never used, and without a reason: {idle:?}"
    );
}

pub async fn no_request_was_forbidden_after_the_second_installation(fixture: Arc<ChartFixture>) {
    assert!(assert_nothing_forbidden(&fixture) > 0);
}

/// Every right that is bound to the operator's service account, read from the API.
pub async fn granted(fixture: &ChartFixture) -> BTreeSet<String> {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    let mut rights = BTreeSet::new();
    for kind in ["rolebindings", "clusterrolebindings"] {
        for binding in fixture.items(&format!("{RBAC}/{kind}")).await {
            let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
            if !subjects.iter().any(|s| {
                s["kind"] == "ServiceAccount" && s["namespace"] == HOME && s["name"] == HOME
            }) {
                continue;
            }
            let name = text(&binding["roleRef"]["name"]);
            let path = match binding["metadata"]["namespace"].as_str() {
                Some(namespace) if binding["roleRef"]["kind"] == "Role" => {
                    format!("{RBAC}/namespaces/{namespace}/roles/{name}")
                }
                _ => format!("{RBAC}/clusterroles/{name}"),
            };
            let role = fixture.get(&path).await.unwrap();
            for rule in role["rules"].as_array().unwrap() {
                for resource in rule["resources"].as_array().unwrap() {
                    for verb in rule["verbs"].as_array().unwrap() {
                        rights.insert(format!("{} {}", text(verb), text(resource)));
                    }
                }
            }
        }
    }
    assert!(!rights.is_empty(), "nothing is bound to the operator");
    rights
}

/// The chart's rules as rendered, each with the comment above it.
async fn reasons(fixture: &ChartFixture) -> Vec<(String, String)> {
    let mut command = fixture.testbed.command("helm");
    command.args(["get", "manifest", HOME, "--namespace", HOME]);
    let manifest = run(command, String::new()).await.unwrap();
    let mut reasons = Vec::new();
    let (mut comment, mut rule) = (String::new(), String::new());
    for line in manifest.lines().chain(["#"]) {
        if line.trim_start().starts_with('#') {
            if !rule.is_empty() {
                reasons.push((std::mem::take(&mut comment), std::mem::take(&mut rule)));
            }
            comment.push_str(line);
        } else {
            rule.push_str(line);
        }
    }
    reasons
}
