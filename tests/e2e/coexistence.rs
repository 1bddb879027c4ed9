//! Others move pods too: autoscaling, deploys, evictions, restarts, other policies.
//!
//! Pods that others made are new already, and are never recycled again.

use std::collections::BTreeSet;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::ConditionType;
use dbbalance_testbed::process::Signal;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::EvictParams;
use serde_json::json;

use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{has_condition, policy_object, signal_recycle, target_object};
use dbbalance_testkit::workloads::{EffectCounts, is_ready, pod_uid, recycle_count};
use dbbalance_testkit::{LIMIT, TestCase, TestSuite, wait_until};

/// An autoscaler with a least number of pods: what it does without metrics.
async fn scale(case: &TestCase<'_>, least: i32) {
    let patch = json!({"spec": {"minReplicas": least}});
    case.patch::<HorizontalPodAutoscaler>("web", patch).await;
}

/// Somebody else evicts a pod, and another pod's app dies and is started again.
async fn disturb(case: &TestCase<'_>, pods: &[Pod]) {
    let [evicted, restarted, ..] = pods else {
        panic!("two pods are needed")
    };
    case.api::<Pod>()
        .evict(&evicted.name_any(), &EvictParams::default())
        .await
        .unwrap();
    let testbed = &case.suite.testbed;
    testbed
        .signal_container(&case.name, &restarted.name_any(), "app", Signal::SIGKILL)
        .unwrap();
}

/// Checks that pods other than these were never recycled.
async fn assert_new_pods_are_left_alone(case: &TestCase<'_>, old: &BTreeSet<String>) {
    let counts = case.effect_counts("web").await;
    for pod in case.pods("web").await.iter().filter(|p| is_ready(p)) {
        let most = u64::from(old.contains(&pod_uid(pod)));
        let effects = counts.get(&pod_uid(pod)).map_or(0, EffectCounts::effects);
        assert!(
            recycle_count(pod) <= most && effects <= most,
            "{}: {effects} effects, {most} may be",
            pod.name_any()
        );
    }
}

pub async fn pods_that_others_made_are_not_recycled(suite: &TestSuite) {
    let case = TestCase::new(suite, "x-others").await;
    case.create_deployment("web", 4).await;
    let autoscaler = json!({
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 4, "maxReplicas": 10,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80},
            }}],
        },
    });
    case.create::<HorizontalPodAutoscaler>(autoscaler).await;
    let operator = OperatorProcess::with(&case, "one", &OperatorSettings::default().slow(5)).await;
    let mut object = policy_object(
        "p",
        "x-others",
        &[target_object("Deployment", "web", &signal_recycle())],
    );
    object["spec"]["pacing"] = json!({"maxUnavailable": 1, "intervalSeconds": 3});
    case.create_with_baseline(object).await;

    // In the middle of a run.
    let mut old: BTreeSet<String> = case.pods("web").await.iter().map(pod_uid).collect();
    case.failover(2);
    let stale = wait_until("a run with a pod behind it", LIMIT, async || {
        let pods = case.pods("web").await;
        let (done, left): (Vec<_>, Vec<_>) = pods.into_iter().partition(|p| recycle_count(p) > 0);
        (!done.is_empty()).then_some(left)
    })
    .await;
    scale(&case, 6).await;
    disturb(&case, &stale).await;
    case.ready_pods("web", 6).await;
    case.wait_fresh("p", 2).await;
    assert_new_pods_are_left_alone(&case, &old).await;

    // A deploy in the middle of the next.
    old = case.pods("web").await.iter().map(pod_uid).collect();
    let before = case.effects("web").await;
    case.failover(1);
    wait_until("another run", LIMIT, async || {
        (case.effects("web").await > before).then_some(())
    })
    .await;
    let annotations = json!({"metadata": {"annotations": {"version": "2"}}});
    case.patch::<Deployment>("web", json!({"spec": {"template": annotations}}))
        .await;
    wait_until("new pods", LIMIT, async || {
        let pods = case.pods("web").await;
        (pods.len() == 6
            && pods
                .iter()
                .all(|p| is_ready(p) && !old.contains(&pod_uid(p))))
        .then_some(())
    })
    .await;
    case.wait_fresh("p", 3).await;
    assert_new_pods_are_left_alone(&case, &BTreeSet::new()).await;

    // After it.
    let pods = case.ready_pods("web", 6).await;
    scale(&case, 7).await;
    disturb(&case, &pods).await;
    let seven = |p: &DbBalancePolicy| p.status.as_ref().unwrap().stale.as_deref() == Some("0/7");
    case.wait_policy("p", "seven fresh pods", seven).await;
    operator.stop();
    let _operator = OperatorProcess::start(&case).await;
    case.request_run("p", "").await;
    case.wait_policy("p", "seven fresh pods after a restart", seven)
        .await;
    assert_new_pods_are_left_alone(&case, &BTreeSet::new()).await;
}

/// Of two policies on one workload the older acts; the other says why it does not.
pub async fn the_older_policy_owns_the_pods(suite: &TestSuite) {
    let case = TestCase::new(suite, "x-conflict").await;
    case.create_deployment("web", 2).await;
    let _operator = OperatorProcess::start(&case).await;
    let targets = [target_object("Deployment", "web", &signal_recycle())];
    let older = case
        .create_with_baseline(policy_object("older", "x-conflict", &targets))
        .await;
    let born = older.creation_timestamp().unwrap().0;
    wait_until("another second", LIMIT, async || {
        (jiff::Timestamp::now().as_second() > born.as_second()).then_some(())
    })
    .await;
    case.create::<DbBalancePolicy>(policy_object("younger", "x-conflict", &targets))
        .await;
    case.wait_policy("younger", "TargetConflict", |p| {
        has_condition(p, ConditionType::Ready, "False", "TargetConflict")
    })
    .await;
    case.failover(2);
    case.wait_fresh("older", 2).await;
    case.wait_policy("younger", "epoch 2", |p| {
        dbbalance_testkit::policies::current_epoch(p) == 2
    })
    .await;
    let counts = case.effect_counts("web").await;
    assert!(counts.values().all(|c| c.effects() == 1), "{counts:?}");
}

/// Two targets of a policy that take the same pods hold the policy.
pub async fn overlapping_targets_do_nothing(suite: &TestSuite) {
    let case = TestCase::new(suite, "x-overlap").await;
    case.create_deployment("web", 2).await;
    let _operator = OperatorProcess::start(&case).await;
    let mut selected = target_object("Deployment", "all", &signal_recycle());
    selected.as_object_mut().unwrap().remove("workloadRef");
    selected["selector"] = json!({"matchLabels": {"app": "web"}});
    let targets = [
        target_object("Deployment", "web", &signal_recycle()),
        selected,
    ];
    case.create::<DbBalancePolicy>(policy_object("p", "x-overlap", &targets))
        .await;
    case.wait_policy("p", "TargetOverlap", |p| {
        has_condition(p, ConditionType::Ready, "False", "TargetOverlap")
            && dbbalance_testkit::policies::current_epoch(p) == 1
    })
    .await;
    case.failover(2);
    case.wait_policy("p", "epoch 2", |p| {
        dbbalance_testkit::policies::current_epoch(p) == 2
            && dbbalance_testkit::policies::waiting_gate(p, "web") == Some("InvalidSpec")
    })
    .await;
    assert_eq!(case.effects("web").await, 0);
}
