//! Evictions respect budgets of disruption: what blocks is named, asked seldom, and gone on from.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::audit::{Record, records};
use crate::fixture::{ChartFixture, LIMIT};
use crate::objects::{app, policy, said, target, text};

/// The operator leaves a budget alone for 10 s; the audit log's times are those of the API server.
const LEAST_GAP: f64 = 9.5;

fn budget(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
    })
}

/// Two pods, budgets that allow no disruption, and a run that somebody asks for.
async fn blocked(fixture: &ChartFixture, namespace: &str, budgets: &[&str]) -> Value {
    fixture.namespace(namespace).await;
    fixture.cluster(namespace).await;
    fixture
        .deploy(&[app(namespace, "Deployment", "web", 2)])
        .await;
    for name in budgets {
        fixture.create(&budget(namespace, name)).await;
        let object = format!("pdb/{name}");
        fixture
            .wait(namespace, &object, "jsonpath={.status.currentHealthy}=2")
            .await;
    }
    let targets = [target("Deployment", "web", &json!({"method": "Evict"}))];
    fixture.create(&policy(namespace, &targets)).await;
    fixture
        .until_policy(namespace, "a baseline", |p| p["status"]["epoch"] == 1)
        .await;
    fixture.request_run(namespace, "now").await;
    let policy = fixture
        .until_policy(namespace, "the plan waits for the budget", |p| {
            p["status"]["plan"][0]["waitingFor"] == "DisruptionBudget"
        })
        .await;
    let prepared = said(&policy, "Prepared");
    assert_eq!(prepared, "False/DisruptionBudgetAllowsNone");
    policy["status"]["plan"][0].clone()
}

async fn warned(fixture: &ChartFixture, namespace: &str, words: &[&str]) -> String {
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    fixture
        .until("an event names the budget", LIMIT, async || {
            let events = fixture.items(&path).await;
            let mut notes = events
                .iter()
                .filter(|e| e["reason"] == "Blocked")
                .map(|e| text(&e["note"]));
            notes.find(|note| words.iter().all(|w| note.contains(w)))
        })
        .await
}

pub async fn a_budget_that_blocks_is_named_and_asked_seldom(fixture: Arc<ChartFixture>) {
    let namespace = "chart-pdb";
    let plan = blocked(&fixture, namespace, &["keep-both"]).await;
    let message = text(&plan["message"]);
    assert!(message.contains("keep-both"), "{message}");
    let event = warned(&fixture, namespace, &["DisruptionBudget", "keep-both"]).await;
    println!("  budget: plan and event say: {event}");

    let refused = |r: &Record| r.namespace == namespace && r.right() == "create pods/eviction";
    let refused = fixture
        .until("three evictions were refused", LIMIT, async || {
            let times: Vec<Timestamp> = records(&fixture, 0)
                .into_iter()
                .filter(refused)
                .map(|r| r.at)
                .collect();
            (times.len() >= 3).then_some(times)
        })
        .await;
    let gaps: Vec<f64> = refused
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_secs_f64())
        .collect();
    println!("  budget: seconds between refused evictions: {gaps:.1?}");
    assert!(gaps.iter().all(|g| *g >= LEAST_GAP), "{gaps:?}");
    assert_eq!(fixture.pods(namespace).await.len(), 2);

    let before = fixture.marks(namespace).await;
    fixture
        .kubectl(&["delete", "pdb", "keep-both", "-n", namespace])
        .await
        .unwrap();
    fixture
        .wait(namespace, "dbp/orders", "condition=Fresh")
        .await;
    let after = fixture.marks(namespace).await;
    assert!(
        before.keys().all(|uid| !after.contains_key(uid)),
        "{after:?}"
    );
}

pub async fn two_budgets_on_one_pod_are_told(fixture: Arc<ChartFixture>) {
    let namespace = "chart-pdb-two";
    let plan = blocked(&fixture, namespace, &["one", "other"]).await;
    let message = text(&plan["message"]);
    assert!(
        message.contains("more than one PodDisruptionBudget"),
        "{message}"
    );
    warned(&fixture, namespace, &["more than one PodDisruptionBudget"]).await;
    // Nothing more is asked for while other scenarios count.
    fixture
        .kubectl(&["delete", "pdb", "one", "other", "-n", namespace])
        .await
        .unwrap();
    let limit = Duration::from_mins(1);
    fixture
        .until("the run ends", limit, async || {
            let policy = fixture.policy(namespace).await;
            (crate::objects::said(&policy, "Fresh") == "True/AllFresh").then_some(())
        })
        .await;
}
