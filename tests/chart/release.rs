//! Upgrading, removing and installing the release again moves the operator and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use dbbalance_testbed::rds::client::CLASS;
use serde_json::Value;

use crate::lab::{HOME, LIMIT, Lab};
use crate::leader::{holder, leader};
use crate::objects::{said, text};

const POLICIES: &str = "/apis/dbbalance.io/v1alpha1/dbbalancepolicies";
/// Its run stays blocked or refused, or has never begun: what it waits for is another scenario's.
const WAITING: [&str; 3] = ["chart-no-signal", "chart-host", "chart-role"];

/// All pods of all policies, and each policy's epoch and runs.
async fn everything(lab: &Lab) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for policy in lab.items(POLICIES).await {
        let namespace = text(&policy["metadata"]["namespace"]);
        let status = &policy["status"];
        let seen = format!(
            "{} {} {}",
            policy["metadata"]["uid"], status["epoch"], status["history"]
        );
        all.insert(namespace.clone(), seen);
        all.extend(lab.marks(&namespace).await);
    }
    all
}

/// Waits until the leader has looked at every policy.
async fn looked_at_all(lab: &Lab) {
    let policies = lab.items(POLICIES).await.len();
    lab.until("the leader has looked at every policy", LIMIT, async || {
        let leader = leader(lab).await;
        let page = lab.fetch(&leader, 8080, "/metrics").await;
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

pub async fn an_upgrade_recycles_nothing(lab: Arc<Lab>) {
    let before = everything(&lab).await;
    let first = holder(&lab).await;
    let began = Instant::now();
    lab.helm(
        "upgrade",
        &["--set-string", "podAnnotations.example\\.com/revision=2"],
    )
    .await;
    let now = holder(&lab).await;
    let pods: Vec<Value> = lab.pods(HOME).await;
    let new: Vec<String> = pods
        .iter()
        .filter(|p| p["metadata"]["annotations"]["example.com/revision"] == "2")
        .map(|p| text(&p["metadata"]["name"]))
        .collect();
    assert_ne!(now, first);
    looked_at_all(&lab).await;
    let now = holder(&lab).await;
    assert!(new.contains(&now), "{now} leads, of {new:?}");
    println!(
        "  release: upgraded and led anew after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(before, everything(&lab).await);
}

pub async fn policies_outlive_the_release_and_go_on(lab: Arc<Lab>) {
    let before = everything(&lab).await;
    assert!(!before.is_empty(), "no scenario has left a policy");
    let mut command = lab.stand.command("helm");
    command.args([
        "uninstall",
        HOME,
        "--namespace",
        HOME,
        "--wait",
        "--timeout",
        "60s",
    ]);
    crate::lab::run(command, String::new()).await.unwrap();
    lab.kubectl(&["get", "crd", "dbbalancepolicies.dbbalance.io"])
        .await
        .unwrap();
    assert_eq!(before, everything(&lab).await, "after uninstall");
    lab.until("the operator's pods are gone", LIMIT, async || {
        lab.items(&format!("/api/v1/namespaces/{HOME}/pods"))
            .await
            .is_empty()
            .then_some(())
    })
    .await;
    // The end of a removed operator has no rights any more; from here on nothing may be forbidden.
    let lines = std::fs::read_to_string(lab.stand.audit_log()).unwrap();
    lab.judged_until(lines.lines().count());

    lab.helm("install", &[]).await;
    looked_at_all(&lab).await;
    assert_eq!(
        before,
        everything(&lab).await,
        "after the second installation"
    );

    let policies = lab.items(POLICIES).await;
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
    lab.rds(move |rds| rds.add_instance(&cluster, &format!("{cluster}-9"), CLASS))
        .await
        .unwrap();
    let next = lab
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
