//! Each method, end to end: what the pods see of a change of the cluster.

use std::collections::BTreeMap;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::ConditionType;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use dbbalance_testkit::audit::AuditedChange;
use dbbalance_testkit::operator::OperatorProcess;
use dbbalance_testkit::policies::{
    evict_recycle, has_condition, http_recycle, policy_object, rollout_recycle, signal_recycle,
    target_object, target_statuses,
};
use dbbalance_testkit::workloads::{
    EffectCounts, find_annotation, pod_uid, recycle_count, set_env, stamped_epoch, workload_object,
};
use dbbalance_testkit::{LIMIT, TestCase, TestSuite, wait_until};

/// One Deployment and one policy, with first sight and a restart behind them.
async fn begin<'a>(case: &'a TestCase<'a>, app: Value, recycle: &Value) -> OperatorProcess<'a> {
    case.create_workload(app).await;
    let operator = OperatorProcess::start(case).await;
    case.create_with_baseline(policy_object(
        "p",
        &case.name,
        &[target_object("Deployment", "web", recycle)],
    ))
    .await;
    operator.stop();
    assert_eq!(case.effects("web").await, 0, "first sight recycles nothing");
    OperatorProcess::start(case).await
}

/// A failover reaches each pod once, by signal; first sight and a restart reach none.
pub async fn signal_reaches_every_pod_once(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-signal").await;
    let _operator = begin(
        &case,
        workload_object("Deployment", "web", 3),
        &signal_recycle(),
    )
    .await;
    case.failover(2);
    case.wait_fresh("p", 2).await;
    let counts = case.effect_counts("web").await;
    assert!(counts.values().all(|c| c.signals["HUP"] == 1), "{counts:?}");
    let pods = case.pods("web").await;
    assert!(
        pods.iter()
            .all(|p| recycle_count(p) == 1 && stamped_epoch(p) == 2),
        "each is stamped"
    );
}

/// The same by HTTP.
pub async fn http_reaches_every_pod_once(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-http").await;
    let app = workload_object("Deployment", "web", 3);
    let _operator = begin(&case, app, &http_recycle("/recycle")).await;
    case.failover(2);
    case.wait_fresh("p", 2).await;
    let counts = case.effect_counts("web").await;
    assert!(
        counts
            .values()
            .all(|c| c.http == BTreeMap::from([("/recycle".to_owned(), 1)])),
        "{counts:?}"
    );
}

/// A redirect is a failure, and nobody follows it; only the first pod has met it.
pub async fn a_redirect_is_not_followed(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-redirect").await;
    let app = workload_object("Deployment", "web", 2);
    let operator = begin(&case, app, &http_recycle("/redirect")).await;
    case.failover(2);
    wait_until("a refused redirect", LIMIT, async || {
        operator
            .log()
            .contains("302 Found (redirects are not followed)")
            .then_some(())
    })
    .await;
    let counts = case.effect_counts("web").await;
    let calls: u64 = counts.values().map(EffectCounts::effects).sum();
    assert_eq!(calls, 1, "{counts:?}");
}

/// A signal that would do nothing or end the process is not sent, and is no reason to evict.
pub async fn a_signal_that_is_not_caught_stalls(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-uncaught").await;
    let app = set_env(workload_object("Deployment", "web", 3), "IGNORE_HUP", "1");
    let mut recycle = signal_recycle();
    recycle["fallback"] = json!("Evict");
    let before = uids(&case, "web", 0).await;
    assert!(before.is_empty());
    let _operator = begin(&case, app, &recycle).await;
    let before = uids(&case, "web", 3).await;
    case.failover(2);
    let stalled = case
        .wait_policy("p", "Stalled", |p| {
            has_condition(p, ConditionType::Stalled, "True", "RunHalted")
        })
        .await;
    let run = target_statuses(&stalled)[0].run.clone().unwrap();
    let message = run.message.unwrap();
    assert!(message.contains("HUP"), "{message}");
    assert_eq!(uids(&case, "web", 3).await, before, "nothing is evicted");
    assert_eq!(case.effects("web").await, 0);
}

async fn uids(case: &TestCase<'_>, app: &str, wanted: usize) -> Vec<String> {
    let mut uids: Vec<_> = case
        .ready_pods(app, wanted)
        .await
        .iter()
        .map(pod_uid)
        .collect();
    uids.sort();
    uids
}

/// With an app that fails from the first pod on, the fallback is not used at all.
pub async fn a_failing_first_pod_is_no_storm_of_evictions(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-failing").await;
    let mut recycle = http_recycle("/fail");
    recycle["fallback"] = json!("Evict");
    let _operator = begin(&case, workload_object("Deployment", "web", 3), &recycle).await;
    let before = uids(&case, "web", 3).await;
    case.failover(2);
    case.wait_policy("p", "Stalled", |p| {
        has_condition(p, ConditionType::Stalled, "True", "RunHalted")
    })
    .await;
    assert_eq!(uids(&case, "web", 3).await, before, "nothing is evicted");
    let counts = case.effect_counts("web").await;
    let calls: u64 = counts.values().map(EffectCounts::effects).sum();
    assert_eq!(calls, 2, "one pod, tried twice: {counts:?}");
}

/// Pods on which a method fails that has worked elsewhere are evicted; a selector takes both kinds.
pub async fn the_fallback_takes_over_after_the_first_pod(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-fallback").await;
    let tier = |mut app: Value| {
        app["spec"]["template"]["metadata"]["labels"]["tier"] = json!("shop");
        app
    };
    // The first pod of a run is the oldest.
    case.create_workload(tier(workload_object("Deployment", "web", 2)))
        .await;
    let deaf = set_env(workload_object("Deployment", "deaf", 1), "PORT", "8081");
    let seen = case.watch_pods().await;
    case.create_workload(tier(deaf)).await;
    let _operator = OperatorProcess::start(&case).await;
    let mut both = target_object("Deployment", "both", &http_recycle("/recycle"));
    both["recycle"]["fallback"] = json!("Evict");
    both.as_object_mut().unwrap().remove("workloadRef");
    both["selector"] = json!({"matchLabels": {"tier": "shop"}});
    case.create_with_baseline(policy_object("p", &case.name, &[both]))
        .await;
    case.failover(2);
    case.wait_fresh("p", 2).await;
    // The run ends when the last old pod is on its way out; its successor is seen a moment later.
    let successor = async || (seen.ever("deaf") == 2).then_some(());
    wait_until("the evicted pod's successor", LIMIT, successor).await;
    assert_eq!(seen.ever("web"), 2);
    let counts = case.effect_counts("web").await;
    assert!(
        counts.values().all(|c| c.http["/recycle"] == 1),
        "{counts:?}"
    );
}

/// Evictions replace every pod once, whatever keeps the pods.
pub async fn evict_replaces_pods_of_every_kind(suite: &TestSuite) {
    kinds(suite, "m-evict-kinds", &evict_recycle()).await;
}

/// So do rollouts.
pub async fn rollout_replaces_pods_of_every_kind(suite: &TestSuite) {
    kinds(suite, "m-rollout-kinds", &rollout_recycle()).await;
}

async fn kinds(suite: &TestSuite, name: &str, recycle: &Value) {
    let case = TestCase::new(suite, name).await;
    let seen = case.watch_pods().await;
    let (deployment, set) = (
        workload_object("Deployment", "web", 2),
        workload_object("StatefulSet", "db", 2),
    );
    futures::join!(
        case.create_workload(deployment),
        case.create_workload(set),
        case.create_workload(workload_object("DaemonSet", "node", 1)),
    );
    let mut single = recycle.clone();
    if single["method"] == "Evict" {
        single["allowSingleReplica"] = json!(true);
    }
    let all = [
        target_object("Deployment", "web", recycle),
        target_object("StatefulSet", "db", recycle),
        target_object("DaemonSet", "node", &single),
    ];
    let _operator = OperatorProcess::start(&case).await;
    case.create_with_baseline(policy_object("p", &case.name, &all))
        .await;
    case.failover(2);
    case.wait_fresh("p", 2).await;
    for (app, pods) in [("web", 2), ("db", 2), ("node", 1)] {
        case.ready_pods(app, pods).await;
        assert_eq!(seen.ever(app), 2 * pods, "{app}: every pod once");
    }
}

/// Annotate leaves the pods alone but for what it writes on them.
pub async fn annotate_tells_the_topology(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-annotate").await;
    let recycle = json!({"method": "Annotate"});
    let _operator = begin(&case, workload_object("Deployment", "web", 2), &recycle).await;
    case.failover(2);
    case.wait_fresh("p", 2).await;
    assert_eq!(case.effects("web").await, 0);
    for pod in case.pods("web").await {
        let said = |key: &str| find_annotation(&pod, key).map(str::to_owned);
        assert_eq!(said("dbbalance.io/writer").as_deref(), Some("m-annotate-2"));
        assert_eq!(
            said("dbbalance.io/readers").as_deref(),
            Some("m-annotate-1")
        );
        assert_eq!((stamped_epoch(&pod), recycle_count(&pod)), (2, 1));
    }
}

/// What settles, waits or is held for a user: nothing is done meanwhile, and once afterwards.
pub async fn a_user_holds_and_releases(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-brakes").await;
    case.create_deployment("web", 3).await;
    let _operator = OperatorProcess::start(&case).await;
    let mut object = policy_object(
        "p",
        "m-brakes",
        &[target_object("Deployment", "web", &signal_recycle())],
    );
    object["spec"]["mode"] = json!("Observe");
    case.create_with_baseline(object).await;
    let ignored = pod_uid(&case.pods("web").await[0]);
    let name = case.pods("web").await[0].metadata.name.clone().unwrap();
    let ignore = json!({"metadata": {"annotations": {"dbbalance.io/ignore": "true"}}});
    case.patch::<Pod>(&name, ignore).await;
    case.failover(2);
    let held = async |gate: &str| {
        case.wait_policy("p", gate, |p| {
            dbbalance_testkit::policies::waiting_gate(p, "web") == Some(gate)
        })
        .await
    };
    held("Observe").await;
    let changes = case.changes();
    assert!(!changes.iter().any(AuditedChange::is_effect), "{changes:?}");
    let pause = |until: Option<&str>| json!({"metadata": {"annotations": {"dbbalance.io/pause-until": until}}});
    case.patch::<DbBalancePolicy>("p", json!({"spec": {"mode": "Enforce", "suspend": true}}))
        .await;
    held("Suspended").await;
    case.patch::<DbBalancePolicy>("p", pause(Some("2099-01-01T00:00:00Z")))
        .await;
    case.patch::<DbBalancePolicy>("p", json!({"spec": {"suspend": false}}))
        .await;
    held("Paused").await;
    case.patch::<DbBalancePolicy>("p", pause(Some("tomorrow")))
        .await;
    held("InvalidSpec").await;
    assert_eq!(case.effects("web").await, 0);
    case.patch::<DbBalancePolicy>("p", pause(None)).await;
    case.wait_fresh("p", 2).await;
    let expect = async |times: u64| {
        for (pod, count) in case.effect_counts("web").await {
            let wanted = if pod == ignored { 0 } else { times };
            assert_eq!(count.effects(), wanted, "{pod}");
        }
    };
    expect(1).await;
    case.request_run("p", "again").await;
    case.wait_fresh("p", 3).await;
    expect(2).await;
}

/// Readers that come and go concern pools of readers, a failover all.
pub async fn a_reader_leaves_pools_of_the_writer_alone(suite: &TestSuite) {
    let case = TestCase::new(suite, "m-pools").await;
    let writer = |mut target: Value| {
        target["pools"] = json!([{"endpoint": "Writer", "connectionsPerPod": 2}]);
        target
    };
    futures::join!(
        case.create_deployment("web", 2),
        case.create_deployment("orders", 2)
    );
    let _operator = OperatorProcess::start(&case).await;
    let both = [
        target_object("Deployment", "web", &signal_recycle()),
        writer(target_object(
            "Deployment",
            "orders",
            &http_recycle("/recycle"),
        )),
    ];
    case.create_with_baseline(policy_object("p", "m-pools", &both))
        .await;
    let expect = async |web: u64, orders: u64| {
        let (w, o) = (
            case.effect_counts("web").await,
            case.effect_counts("orders").await,
        );
        assert!(w.values().all(|c| c.effects() == web), "{w:?}");
        assert!(o.values().all(|c| c.effects() == orders), "{o:?}");
    };
    case.rds
        .add_instance(
            "m-pools",
            "m-pools-3",
            dbbalance_testbed::rds::client::CLASS,
        )
        .unwrap();
    case.wait_fresh("p", 2).await;
    expect(1, 0).await;
    case.failover(2);
    case.wait_fresh("p", 3).await;
    expect(2, 1).await;
    case.rds.delete_instance("m-pools-3").unwrap();
    case.wait_fresh("p", 4).await;
    expect(3, 1).await;
}
