//! A pooler between pods and databases: whose connection leads where is not to be told, so nothing is done.

use std::time::Duration;

use dbbalance_api::conditions::ConditionType::Balanced;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;

use crate::fixture::{BANK, ConvergenceFixture, SHOP, policy};
use dbbalance_testkit::LIMIT;
use dbbalance_testkit::pgbouncer::{ADDRESS, start_pgbouncer};
use dbbalance_testkit::policies::{current_epoch, find_condition, has_condition, waiting_gate};
use dbbalance_testkit::pool_apps::pool_app_deployment;

const PODS: u32 = 2;
/// Connections of a pod.
const POOL: u32 = 10;
/// How long nothing must happen: several rounds of measurements.
const QUIET: Duration = Duration::from_secs(8);

pub async fn connections_through_a_pooler_are_left_alone(fixture: &ConvergenceFixture) {
    let case = fixture.case(&BANK).await;
    let control = fixture.control();
    let status = control.status().unwrap();
    let reader = status.cluster(BANK.cluster).unwrap();
    let reader = reader.instances.iter().find(|i| i.dns_reader).unwrap();
    start_pgbouncer(&fixture.suite.testbed, reader.address);
    let host = ADDRESS.to_string();
    // The other app's pods: what is behind the pooler does not matter.
    let object = pool_app_deployment("pooled", &SHOP, (&host, &host), PODS);
    case.create::<Deployment>(object).await;
    case.ready_pods("pooled", 2).await;
    let _operator = fixture.operator(&case, "pooled").await;
    let pools = json!([{"endpoint": "Reader", "connectionsPerPod": POOL}]);
    let recycle = json!({"method": "HTTP", "http": {"port": 8080, "path": "/pool/recycle"}});
    case.create_with_baseline(policy("pooled", &BANK, "pooled", &pools, &recycle))
        .await;
    let said = |p: &dbbalance_api::DbBalancePolicy| {
        has_condition(p, Balanced, "Unknown", "EvidenceUnattributable")
    };
    case.wait_policy("pooled", "that nothing can be told", said)
        .await;
    control.add_reader(BANK.cluster).unwrap();
    let policy = case
        .wait_policy_within("pooled", "the epoch, held", LIMIT, |p| {
            current_epoch(p) >= 2 && waiting_gate(p, "pooled").is_some() && said(p)
        })
        .await;
    // Nothing is awaited: time is what is tested.
    tokio::time::sleep(QUIET).await;
    let recycled = case.recycle_counts("pooled").await;
    assert!(recycled.iter().all(|(_, n)| *n == 0), "{recycled:?}");
    println!(
        "PgBouncer: {}; waits for: {}",
        find_condition(&policy, Balanced).unwrap().message,
        waiting_gate(&policy, "pooled").unwrap()
    );
    case.delete_policy("pooled").await;
}
