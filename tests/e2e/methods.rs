//! Each method, end to end: what the pods see of a change of the cluster.

use std::collections::BTreeMap;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::ConditionType;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::support::app::{Count, annotation, recycles, stamped, uid, with_env, workload};
use crate::support::audit::Change;
use crate::support::operator::Operator;
use crate::support::policy::{evict, http, policy, rollout, says, signal, target, targets};
use crate::support::{Case, LIMIT, Suite, until};

/// One Deployment and one policy, with first sight and a restart behind them.
async fn begin<'a>(case: &'a Case<'a>, app: Value, recycle: &Value) -> Operator<'a> {
    case.deploy(app).await;
    let operator = Operator::start(case).await;
    case.baseline(policy(
        "p",
        &case.name,
        &[target("Deployment", "web", recycle)],
    ))
    .await;
    operator.stop();
    assert_eq!(case.effects("web").await, 0, "first sight recycles nothing");
    Operator::start(case).await
}

/// A failover reaches each pod once, by signal; first sight and a restart reach none.
pub async fn signal_reaches_every_pod_once(suite: &Suite) {
    let case = Case::new(suite, "m-signal").await;
    let _operator = begin(&case, workload("Deployment", "web", 3), &signal()).await;
    case.failover(2);
    case.fresh("p", 2).await;
    let counts = case.counts("web").await;
    assert!(counts.values().all(|c| c.signals["HUP"] == 1), "{counts:?}");
    let pods = case.pods("web").await;
    assert!(
        pods.iter().all(|p| recycles(p) == 1 && stamped(p) == 2),
        "each is stamped"
    );
}

/// The same by HTTP.
pub async fn http_reaches_every_pod_once(suite: &Suite) {
    let case = Case::new(suite, "m-http").await;
    let app = workload("Deployment", "web", 3);
    let _operator = begin(&case, app, &http("/recycle")).await;
    case.failover(2);
    case.fresh("p", 2).await;
    let counts = case.counts("web").await;
    assert!(
        counts
            .values()
            .all(|c| c.http == BTreeMap::from([("/recycle".to_owned(), 1)])),
        "{counts:?}"
    );
}

/// A redirect is a failure, and nobody follows it; only the first pod has met it.
pub async fn a_redirect_is_not_followed(suite: &Suite) {
    let case = Case::new(suite, "m-redirect").await;
    let app = workload("Deployment", "web", 2);
    let operator = begin(&case, app, &http("/redirect")).await;
    case.failover(2);
    until("a refused redirect", LIMIT, async || {
        operator
            .log()
            .contains("302 Found (redirects are not followed)")
            .then_some(())
    })
    .await;
    let counts = case.counts("web").await;
    let calls: u64 = counts.values().map(Count::effects).sum();
    assert_eq!(calls, 1, "{counts:?}");
}

/// A signal that would do nothing or end the process is not sent, and is no reason to evict.
pub async fn a_signal_that_is_not_caught_stalls(suite: &Suite) {
    let case = Case::new(suite, "m-uncaught").await;
    let app = with_env(workload("Deployment", "web", 3), "IGNORE_HUP", "1");
    let mut recycle = signal();
    recycle["fallback"] = json!("Evict");
    let before = uids(&case, "web", 0).await;
    assert!(before.is_empty());
    let _operator = begin(&case, app, &recycle).await;
    let before = uids(&case, "web", 3).await;
    case.failover(2);
    let stalled = case
        .policy_where("p", "Stalled", |p| {
            says(p, ConditionType::Stalled, "True", "RunHalted")
        })
        .await;
    let run = targets(&stalled)[0].run.clone().unwrap();
    let message = run.message.unwrap();
    assert!(message.contains("HUP"), "{message}");
    assert_eq!(uids(&case, "web", 3).await, before, "nothing is evicted");
    assert_eq!(case.effects("web").await, 0);
}

async fn uids(case: &Case<'_>, app: &str, wanted: usize) -> Vec<String> {
    let mut uids: Vec<_> = case.ready_pods(app, wanted).await.iter().map(uid).collect();
    uids.sort();
    uids
}

/// With an app that fails from the first pod on, the fallback is not used at all.
pub async fn a_failing_first_pod_is_no_storm_of_evictions(suite: &Suite) {
    let case = Case::new(suite, "m-failing").await;
    let mut recycle = http("/fail");
    recycle["fallback"] = json!("Evict");
    let _operator = begin(&case, workload("Deployment", "web", 3), &recycle).await;
    let before = uids(&case, "web", 3).await;
    case.failover(2);
    case.policy_where("p", "Stalled", |p| {
        says(p, ConditionType::Stalled, "True", "RunHalted")
    })
    .await;
    assert_eq!(uids(&case, "web", 3).await, before, "nothing is evicted");
    let counts = case.counts("web").await;
    let calls: u64 = counts.values().map(Count::effects).sum();
    assert_eq!(calls, 2, "one pod, tried twice: {counts:?}");
}

/// Pods on which a method fails that has worked elsewhere are evicted; a selector takes both kinds.
pub async fn the_fallback_takes_over_after_the_first_pod(suite: &Suite) {
    let case = Case::new(suite, "m-fallback").await;
    let tier = |mut app: Value| {
        app["spec"]["template"]["metadata"]["labels"]["tier"] = json!("shop");
        app
    };
    // The first pod of a run is the oldest.
    case.deploy(tier(workload("Deployment", "web", 2))).await;
    let deaf = with_env(workload("Deployment", "deaf", 1), "PORT", "8081");
    let seen = case.watch_pods().await;
    case.deploy(tier(deaf)).await;
    let _operator = Operator::start(&case).await;
    let mut both = target("Deployment", "both", &http("/recycle"));
    both["recycle"]["fallback"] = json!("Evict");
    both.as_object_mut().unwrap().remove("workloadRef");
    both["selector"] = json!({"matchLabels": {"tier": "shop"}});
    case.baseline(policy("p", &case.name, &[both])).await;
    case.failover(2);
    case.fresh("p", 2).await;
    // The run ends when the last old pod is on its way out; its successor is seen a moment later.
    let successor = async || (seen.ever("deaf") == 2).then_some(());
    until("the evicted pod's successor", LIMIT, successor).await;
    assert_eq!(seen.ever("web"), 2);
    let counts = case.counts("web").await;
    assert!(
        counts.values().all(|c| c.http["/recycle"] == 1),
        "{counts:?}"
    );
}

/// Evictions replace every pod once, whatever keeps the pods.
pub async fn evict_replaces_pods_of_every_kind(suite: &Suite) {
    kinds(suite, "m-evict-kinds", &evict()).await;
}

/// So do rollouts.
pub async fn rollout_replaces_pods_of_every_kind(suite: &Suite) {
    kinds(suite, "m-rollout-kinds", &rollout()).await;
}

async fn kinds(suite: &Suite, name: &str, recycle: &Value) {
    let case = Case::new(suite, name).await;
    let seen = case.watch_pods().await;
    let (deployment, set) = (
        workload("Deployment", "web", 2),
        workload("StatefulSet", "db", 2),
    );
    futures::join!(
        case.deploy(deployment),
        case.deploy(set),
        case.deploy(workload("DaemonSet", "node", 1)),
    );
    let mut single = recycle.clone();
    if single["method"] == "Evict" {
        single["allowSingleReplica"] = json!(true);
    }
    let all = [
        target("Deployment", "web", recycle),
        target("StatefulSet", "db", recycle),
        target("DaemonSet", "node", &single),
    ];
    let _operator = Operator::start(&case).await;
    case.baseline(policy("p", &case.name, &all)).await;
    case.failover(2);
    case.fresh("p", 2).await;
    for (app, pods) in [("web", 2), ("db", 2), ("node", 1)] {
        case.ready_pods(app, pods).await;
        assert_eq!(seen.ever(app), 2 * pods, "{app}: every pod once");
    }
}

/// Annotate leaves the pods alone but for what it writes on them.
pub async fn annotate_tells_the_topology(suite: &Suite) {
    let case = Case::new(suite, "m-annotate").await;
    let recycle = json!({"method": "Annotate"});
    let _operator = begin(&case, workload("Deployment", "web", 2), &recycle).await;
    case.failover(2);
    case.fresh("p", 2).await;
    assert_eq!(case.effects("web").await, 0);
    for pod in case.pods("web").await {
        let said = |key: &str| annotation(&pod, key).map(str::to_owned);
        assert_eq!(said("dbbalance.io/writer").as_deref(), Some("m-annotate-2"));
        assert_eq!(
            said("dbbalance.io/readers").as_deref(),
            Some("m-annotate-1")
        );
        assert_eq!((stamped(&pod), recycles(&pod)), (2, 1));
    }
}

/// What settles, waits or is held for a user: nothing is done meanwhile, and once afterwards.
pub async fn a_user_holds_and_releases(suite: &Suite) {
    let case = Case::new(suite, "m-brakes").await;
    case.deployment("web", 3).await;
    let _operator = Operator::start(&case).await;
    let mut object = policy("p", "m-brakes", &[target("Deployment", "web", &signal())]);
    object["spec"]["mode"] = json!("Observe");
    case.baseline(object).await;
    let ignored = uid(&case.pods("web").await[0]);
    let name = case.pods("web").await[0].metadata.name.clone().unwrap();
    let ignore = json!({"metadata": {"annotations": {"dbbalance.io/ignore": "true"}}});
    case.patch::<Pod>(&name, ignore).await;
    case.failover(2);
    let held = async |gate: &str| {
        case.policy_where("p", gate, |p| {
            crate::support::policy::waits_for(p, "web") == Some(gate)
        })
        .await
    };
    held("Observe").await;
    let changes = case.changes();
    assert!(!changes.iter().any(Change::is_effect), "{changes:?}");
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
    case.fresh("p", 2).await;
    let expect = async |times: u64| {
        for (pod, count) in case.counts("web").await {
            let wanted = if pod == ignored { 0 } else { times };
            assert_eq!(count.effects(), wanted, "{pod}");
        }
    };
    expect(1).await;
    case.token("p", "again").await;
    case.fresh("p", 3).await;
    expect(2).await;
}

/// Readers that come and go concern pools of readers, a failover all.
pub async fn a_reader_leaves_pools_of_the_writer_alone(suite: &Suite) {
    let case = Case::new(suite, "m-pools").await;
    let writer = |mut target: Value| {
        target["pools"] = json!([{"endpoint": "Writer", "connectionsPerPod": 2}]);
        target
    };
    futures::join!(case.deployment("web", 2), case.deployment("orders", 2));
    let _operator = Operator::start(&case).await;
    let both = [
        target("Deployment", "web", &signal()),
        writer(target("Deployment", "orders", &http("/recycle"))),
    ];
    case.baseline(policy("p", "m-pools", &both)).await;
    let expect = async |web: u64, orders: u64| {
        let (w, o) = (case.counts("web").await, case.counts("orders").await);
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
    case.fresh("p", 2).await;
    expect(1, 0).await;
    case.failover(2);
    case.fresh("p", 3).await;
    expect(2, 1).await;
    case.rds.delete_instance("m-pools-3").unwrap();
    case.fresh("p", 4).await;
    expect(3, 1).await;
}
