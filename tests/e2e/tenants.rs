//! Several namespaces on one Aurora cluster: none holds another, and none sees what it may not.

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::ConditionType;
use dbbalance_testbed::rds::client::CLASS;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{
    current_epoch, evict_recycle, has_condition, policy_object, signal_recycle, target_object,
};
use dbbalance_testkit::workloads::pod_uid;
use dbbalance_testkit::{TestCase, TestSuite};

/// Another namespace's policy that only observes, and claims more connections a pod than any instance takes, holds nobody.
pub async fn a_policy_that_only_observes_holds_nobody(suite: &TestSuite) {
    let case = TestCase::new(suite, "x-tenant").await;
    let other = TestCase::bare(suite, "x-tenant-other").await;
    case.create_deployment("web", 2).await;
    other.create_deployment("claims", 1).await;
    let settings = OperatorSettings {
        more_namespaces: vec![other.name.clone()],
        ..OperatorSettings::default()
    };
    let _operator = OperatorProcess::with(&case, "one", &settings).await;
    let mut target = target_object("Deployment", "claims", &signal_recycle());
    target["pools"][0]["connectionsPerPod"] = json!(9000);
    let mut observing = policy_object("observing", "x-tenant", &[target]);
    observing["spec"]["mode"] = json!("Observe");
    other.create::<DbBalancePolicy>(observing).await;
    other
        .wait_policy("observing", "a baseline", |p| current_epoch(p) == 1)
        .await;
    let targets = [target_object("Deployment", "web", &evict_recycle())];
    case.create_with_baseline(policy_object("p", "x-tenant", &targets))
        .await;

    let before: Vec<String> = case.pods("web").await.iter().map(pod_uid).collect();
    case.rds
        .add_instance("x-tenant", "x-tenant-3", CLASS)
        .unwrap();
    case.wait_fresh("p", 2).await;
    let after = case.ready_pods("web", 2).await;
    assert!(after.iter().all(|p| !before.contains(&pod_uid(p))));
}

async fn label_namespace(case: &TestCase<'_>, team: Value) {
    let namespaces: Api<Namespace> = Api::all(case.client.clone());
    let patch = Patch::Merge(json!({"metadata": {"labels": {"team": team}}}));
    namespaces
        .patch(&case.name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

fn shows_topology(policy: &DbBalancePolicy) -> bool {
    policy.status.as_ref().is_some_and(|s| s.topology.is_some())
}

/// A cluster is bound to namespaces by their labels: without the label nothing of it is shown, before and after.
pub async fn a_namespace_that_may_not_name_a_cluster_sees_nothing_of_it(suite: &TestSuite) {
    let case = TestCase::new(suite, "x-bound").await;
    case.create_deployment("web", 1).await;
    let file = suite.folder.join("x-bound-clusters.json");
    let bindings = json!([
        {"identifier": "x-bound", "namespaceSelector": {"matchLabels": {"team": "shop"}}},
    ]);
    std::fs::write(&file, bindings.to_string()).unwrap();
    let settings = OperatorSettings {
        arguments: vec![format!("--clusters-file={}", file.display())],
        ..OperatorSettings::default()
    };
    let _operator = OperatorProcess::with(&case, "one", &settings).await;
    let targets = [target_object("Deployment", "web", &signal_recycle())];
    case.create::<DbBalancePolicy>(policy_object("p", "x-bound", &targets))
        .await;
    let is_refused = |p: &DbBalancePolicy| {
        has_condition(p, ConditionType::Ready, "False", "ClusterNotAllowed") && !shows_topology(p)
    };
    case.wait_policy("p", "ClusterNotAllowed", is_refused).await;
    label_namespace(&case, json!("shop")).await;
    case.wait_policy("p", "the topology", |p| {
        has_condition(p, ConditionType::Ready, "True", "") && shows_topology(p)
    })
    .await;
    label_namespace(&case, Value::Null).await;
    let refused = case
        .wait_policy("p", "ClusterNotAllowed again", is_refused)
        .await;
    let status = serde_json::to_string(&refused.status).unwrap();
    assert!(!status.contains("x-bound-2"), "a member is named: {status}");
}
