//! Upgrading, removing and installing the release again moves the operator and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use dbbalance_testbed::rds::client::CLASS;
use serde_json::Value;

use crate::fixture::{ChartFixture, HOME, LIMIT};
use crate::leader::{holder, leader};
use crate::objects::{said, text};

const POLICIES: &str = "/apis/dbbalance.io/v1alpha1/dbbalancepolicies";
/// Its run stays blocked or refused, or has never begun: what it waits for is another scenario's.
const WAITING: [&str; 3] = ["chart-no-signal", "chart-host", "chart-role"];

/// All pods of all policies, and each policy's epoch and runs.
async fn everything(fixture: &ChartFixture) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for policy in fixture.items(POLICIES).await {
        let namespace = text(&policy["metadata"]["namespace"]);
        let status = &policy["status"];
        let seen = format!(
            "{} {} {}",
            policy["metadata"]["uid"], status["epoch"], status["history"]
        );
        all.insert(namespace.clone(), seen);
        all.extend(fixture.marks(&namespace).await);
    }
    all
}

/// Waits until the leader has looked at every policy.
async fn looked_at_all(fixture: &ChartFixture) {
    let policies = fixture.items(POLICIES).await.len();
    fixture
        .until("the leader has looked at every policy", LIMIT, async || {
            let leader = leader(fixture).await;
            let page = fixture.fetch(&leader, 8080, "/metrics").await;
            let count = |name: &str| {
                let line = page.lines().find(|l| l.starts_with(name))?;
                line.rsplit_once(' ')?.1.parse::<f64>().ok()
            };
            let passes = count("dbbalance_reconcile_duration_seconds_count")?;
            let read = count("dbbalance_topology_polls_total{result=\"Ok\"}")?;
            let leads = count("dbbalance_leader")? > 0.0;
            (leads && passes >= f64::from(u32::try_from(2 * policies).unwrap()) && read >= 3.0)
                .then_some(())
        })
        .await;
}

pub async fn an_upgrade_recycles_nothing(fixture: Arc<ChartFixture>) {
    let before = everything(&fixture).await;
    let first = holder(&fixture).await;
    let began = Instant::now();
    fixture
        .helm(
            "upgrade",
            &["--set-string", "podAnnotations.example\\.com/revision=2"],
        )
        .await;
    let now = holder(&fixture).await;
    let pods: Vec<Value> = fixture.pods(HOME).await;
    let new: Vec<String> = pods
        .iter()
        .filter(|p| p["metadata"]["annotations"]["example.com/revision"] == "2")
        .map(|p| text(&p["metadata"]["name"]))
        .collect();
    assert_ne!(now, first);
    looked_at_all(&fixture).await;
    let now = holder(&fixture).await;
    assert!(new.contains(&now), "{now} leads, of {new:?}");
    println!(
        "  release: upgraded and led anew after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(before, everything(&fixture).await);
}

pub async fn policies_outlive_the_release_and_go_on(fixture: Arc<ChartFixture>) {
    let before = everything(&fixture).await;
    assert!(!before.is_empty(), "no scenario has left a policy");
    let mut command = fixture.testbed.command("helm");
    command.args([
        "uninstall",
        HOME,
        "--namespace",
        HOME,
        "--wait",
        "--timeout",
        "60s",
    ]);
    crate::fixture::run(command, String::new()).await.unwrap();
    fixture
        .kubectl(&["get", "crd", "dbbalancepolicies.dbbalance.io"])
        .await
        .unwrap();
    assert_eq!(before, everything(&fixture).await, "after uninstall");
    fixture
        .until("the operator's pods are gone", LIMIT, async || {
            fixture
                .items(&format!("/api/v1/namespaces/{HOME}/pods"))
                .await
                .is_empty()
                .then_some(())
        })
        .await;
    // The end of a removed operator has no rights any more; from here on nothing may be forbidden.
    let lines = std::fs::read_to_string(fixture.testbed.audit_log()).unwrap();
    fixture.judged_until(lines.lines().count());

    fixture.helm("install", &[]).await;
    looked_at_all(&fixture).await;
    assert_eq!(
        before,
        everything(&fixture).await,
        "after the second installation"
    );

    let policies = fixture.items(POLICIES).await;
    let mut settled = policies
        .iter()
        .filter(|p| said(p, "Fresh") == "True/AllFresh");
    let policy = settled
        .find(|p| !WAITING.contains(&text(&p["metadata"]["namespace"]).as_str()))
        .expect("a policy that is at rest");
    let (namespace, epoch) = (
        text(&policy["metadata"]["namespace"]),
        policy["status"]["epoch"].as_i64().unwrap(),
    );
    let cluster = namespace.clone();
    fixture
        .rds(move |rds| rds.add_instance(&cluster, &format!("{cluster}-9"), CLASS))
        .await
        .unwrap();
    let next = fixture
        .until_policy(&namespace, "epochs go on", |p| {
            p["status"]["epoch"].as_i64() > Some(epoch) && said(p, "Fresh") == "True/AllFresh"
        })
        .await;
    assert_eq!(next["status"]["epoch"], epoch + 1);
    println!(
        "  release: {namespace} goes on from epoch {epoch} to {}",
        epoch + 1
    );
}
