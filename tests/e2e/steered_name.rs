//! Names that a policy narrows, as Services of a real API server: what is left narrowed is widened, whoever left it.
//!
//! Without the DNS of a cluster in the testbed nothing is narrowed here; claims are written as a lost leader would have
//! left them.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;
use serde_json::{Value, json};

use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{policy_object, signal_recycle, target_object};
use dbbalance_testkit::{LIMIT, TestCase, TestSuite, wait_until};

const READER: &str = "orders.cluster-ro-c0lab0dbb0x.eu-west-1.rds.amazonaws.com";
const INSTANCE: &str = "orders-3.c0lab0dbb0x.eu-west-1.rds.amazonaws.com";
/// How long a leader may take to widen a name: a second between two looks at the claims, and the write.
const AT_ONCE: Duration = Duration::from_secs(3);

fn service_object(annotations: &Value, host: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "orders-ro", "annotations": annotations},
        "spec": {"type": "ExternalName", "externalName": host},
    })
}

/// What a leader has written that has narrowed the name for this policy.
fn narrowed_by(uid: &str) -> Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    json!({
        "dbbalance.io/narrowed": format!("{}/1764460000-1 orders-3 {now}", &uid[..8]),
        "dbbalance.io/widens-to": READER,
    })
}

fn steering(case: &TestCase<'_>) -> OperatorSettings {
    OperatorSettings {
        arguments: vec![
            format!("--steering-services={}/orders-ro", case.name),
            "--replicas=2".to_owned(),
        ],
        ..OperatorSettings::default()
    }
}

/// Waits until the name is wide, and returns how long that took.
async fn wait_wide(case: &TestCase<'_>) -> Duration {
    let began = Instant::now();
    wait_until("the name to be wide", LIMIT, async || {
        let service = case.api::<Service>().get("orders-ro").await.unwrap();
        let is_claimed = service.annotations().contains_key("dbbalance.io/narrowed");
        let host = service.spec?.external_name?;
        (!is_claimed && host == READER).then_some(())
    })
    .await;
    began.elapsed()
}

async fn wait_leading(case: &TestCase<'_>, operator: &OperatorProcess<'_>) {
    wait_until("the leader", LIMIT, async || {
        let lease = case.api::<k8s_openapi::api::coordination::v1::Lease>();
        let holder = lease.get("dbbalance").await.ok()?.spec?.holder_identity?;
        (holder == operator.identity).then_some(())
    })
    .await;
}

/// The policy is gone, so no reconcile would ever widen its name.
pub async fn a_name_without_its_policy_is_widened_by_the_next_leader_and_at_any_time(
    suite: &TestSuite,
) {
    let case = TestCase::new(suite, "steer-orphan").await;
    let gone = narrowed_by("0123456789abcdef");
    case.create::<Service>(service_object(&gone, INSTANCE))
        .await;
    let operator = OperatorProcess::with(&case, "one", &steering(&case)).await;
    wait_leading(&case, &operator).await;
    let at_start = wait_wide(&case).await;
    assert!(at_start < AT_ONCE, "{at_start:?} after it led");

    let again = json!({"metadata": {"annotations": gone}, "spec": {"externalName": INSTANCE}});
    case.patch::<Service>("orders-ro", again).await;
    let later = wait_wide(&case).await;
    assert!(later < AT_ONCE, "{later:?} after it was narrowed");
    println!(
        "figures: names: widened {:.1} s after the lease was taken, {:.1} s after a claim of nobody",
        at_start.as_secs_f64(),
        later.as_secs_f64()
    );
}

/// The policy is there, and no run of it explains the claim that a lost leader has left.
pub async fn a_new_leader_widens_what_no_run_explains(suite: &TestSuite) {
    let name = "steer-left";
    let case = TestCase::new(suite, name).await;
    case.create_deployment("web", 2).await;
    case.create::<Service>(service_object(&json!({}), READER))
        .await;
    let mut object = policy_object(
        "p",
        name,
        &[target_object("Deployment", "web", &signal_recycle())],
    );
    object["spec"]["evidence"] = json!({"source": "ProcNet"});
    object["spec"]["dns"]["steering"] = json!({"via": "Service", "reader": "orders-ro"});
    object["spec"]["targets"][0]["pools"] = json!([{"endpoint": "Reader", "connectionsPerPod": 1}]);
    let first = OperatorProcess::with(&case, "first", &steering(&case)).await;
    let policy = case.create_with_baseline(object).await;
    first.kill();
    let left = json!({
        "metadata": {"annotations": narrowed_by(&policy.uid().unwrap())},
        "spec": {"externalName": INSTANCE},
    });
    case.patch::<Service>("orders-ro", left).await;
    let second = OperatorProcess::with(&case, "second", &steering(&case)).await;
    wait_leading(&case, &second).await;
    let took = wait_wide(&case).await;
    assert!(took < AT_ONCE, "{took:?} after it led");
    println!(
        "figures: names: a new leader has widened after {:.1} s",
        took.as_secs_f64()
    );
}
