//! A run does no more harm than the change it answers, and what is broken already does not hold the rest.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dbbalance_api::conditions::ConditionType;
use dbbalance_api::status::{HaltReason, RunResult};
use dbbalance_testbed::process::Signal;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use dbbalance_testkit::audit::AuditedChange;
use dbbalance_testkit::operator::OperatorProcess;
use dbbalance_testkit::policies::{
    evict_recycle, has_condition, http_recycle, policy_object, signal_recycle, target_object,
    target_statuses,
};
use dbbalance_testkit::workloads::{
    is_ready, pod_uid, recycle_count, restart_count, set_env, stamped_epoch, workload_object,
};
use dbbalance_testkit::{LIMIT, POLL_INTERVAL, TestCase, TestSuite, wait_until};

/// Within which the healthy part of an app is renewed when a third of it hangs.
const HEALTHY_RENEWED: Duration = Duration::from_mins(1);

/// A policy for `web` with the default pacing, of which an interval is this long.
fn paced_policy(case: &TestCase<'_>, recycle: &Value, interval_seconds: u32) -> Value {
    let target = target_object("Deployment", "web", recycle);
    let mut policy = policy_object("p", &case.name, &[target]);
    policy["spec"]["pacing"] = json!({"intervalSeconds": interval_seconds});
    policy
}

/// An app whose readiness follows its process within two seconds.
fn probed_app(replicas: u32) -> Value {
    let mut app = workload_object("Deployment", "web", replicas);
    app["spec"]["template"]["spec"]["containers"][0]["readinessProbe"] = json!({
        "httpGet": {"path": "/readyz", "port": 8080},
        "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1,
    });
    app
}

/// Sends a signal to the app of each of these pods; `SIGSTOP` makes it hang.
fn signal_apps(case: &TestCase<'_>, pods: &[Pod], signal: Signal) {
    for pod in pods {
        let testbed = &case.suite.testbed;
        testbed
            .signal_container(&case.name, &pod.name_any(), "app", signal)
            .unwrap();
    }
}

async fn wait_not_ready(case: &TestCase<'_>, wanted: usize) {
    wait_until("pods that are not Ready", LIMIT, async || {
        let pods = case.pods("web").await;
        (pods.iter().filter(|p| !is_ready(p)).count() == wanted).then_some(())
    })
    .await;
}

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().map(pod_uid).collect()
}

/// A fleet that is not Ready as a whole is evicted one pod after the other, each only when the last one's successor is Ready.
pub async fn a_fleet_that_is_not_ready_is_evicted_one_at_a_time(suite: &TestSuite) {
    let case = TestCase::new(suite, "h-unready").await;
    // Successors are not Ready for a time in which a second eviction would be seen.
    let app = set_env(probed_app(4), "READY_DELAY_SECONDS", "3");
    let old = case.create_workload(app).await;
    let _operator = OperatorProcess::start(&case).await;
    case.create_with_baseline(paced_policy(&case, &evict_recycle(), 1))
        .await;
    signal_apps(&case, &old, Signal::SIGSTOP);
    wait_not_ready(&case, 4).await;

    case.failover(2);
    let old = uids(&old);
    let begun = Instant::now();
    loop {
        // One list is one moment.
        let pods = case.pods("web").await;
        let is_old = |p: &&Pod| old.contains(&pod_uid(p));
        let left = pods.iter().filter(is_old);
        let left = left.filter(|p| p.metadata.deletion_timestamp.is_none());
        let taken = old.len() - left.count();
        let back = pods.iter().filter(|p| !is_old(p) && is_ready(p)).count();
        assert!(taken <= back + 1, "{taken} are evicted, {back} are back");
        if back == old.len() {
            break;
        }
        assert!(begun.elapsed() < 2 * LIMIT, "{back} are back: {pods:?}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    case.wait_fresh("p", 2).await;
    let changes = case.changes();
    let evictions = changes.iter().filter(|c| c.is_eviction()).count();
    assert_eq!(evictions, old.len(), "each once: {changes:?}");
}

/// Pods whose successors do not become Ready either cost one eviction.
pub async fn successors_that_do_not_become_ready_end_the_evictions(suite: &TestSuite) {
    let case = TestCase::new(suite, "h-sick").await;
    case.create::<Deployment>(set_env(probed_app(4), "READY_DELAY_SECONDS", "3600"))
        .await;
    wait_until("four pods", LIMIT, async || {
        let pods = case.pods("web").await;
        let run = |p: &&Pod| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
        (pods.iter().filter(run).count() == 4).then_some(())
    })
    .await;
    let _operator = OperatorProcess::start(&case).await;
    case.create_with_baseline(paced_policy(&case, &evict_recycle(), 1))
        .await;
    case.failover(2);
    let evictions = || case.changes().iter().filter(|c| c.is_eviction()).count();
    let first = async || (evictions() > 0).then_some(());
    wait_until("the first eviction", LIMIT, first).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(evictions(), 1);
}

/// A program that catches HUP only to die of it: one pod's app is ended, and no other pod is touched.
pub async fn a_program_that_dies_of_a_signal_it_catches_ends_once(suite: &TestSuite) {
    let case = TestCase::new(suite, "h-dies").await;
    let mut app = workload_object("Deployment", "web", 4);
    app["spec"]["template"]["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "trap 'exit 0' HUP; while :; do sleep 1; done"]);
    let before = uids(&case.create_workload(app).await);
    let _operator = OperatorProcess::start(&case).await;
    let mut recycle = signal_recycle();
    recycle["fallback"] = json!("Evict");
    // The default: the kubelet takes a second or two to report what has ended.
    case.create_with_baseline(paced_policy(&case, &recycle, 10))
        .await;
    case.failover(2);
    let stalled = case
        .wait_policy("p", "Stalled", |p| {
            has_condition(p, ConditionType::Stalled, "True", "AppEnded")
        })
        .await;
    let run = target_statuses(&stalled)[0].run.clone().unwrap();
    assert_eq!(run.result, RunResult::Halted);
    assert_eq!(run.halted_reason, Some(HaltReason::AppEnded));
    println!("a program that dies of HUP: {}", run.message.unwrap());
    let commands = || {
        let changes = case.changes();
        let count = |of: fn(&AuditedChange) -> bool| changes.iter().filter(|c| of(c)).count();
        (
            count(|c| c.subresource == "exec"),
            count(AuditedChange::is_eviction),
        )
    };
    let sent = commands();
    // Two intervals.
    tokio::time::sleep(Duration::from_secs(24)).await;
    assert_eq!(commands(), sent, "nothing follows");
    let after = case.ready_pods("web", 4).await;
    assert_eq!(uids(&after), before, "nothing is evicted");
    let mut ended: Vec<i32> = after.iter().map(restart_count).collect();
    ended.sort_unstable();
    assert_eq!(ended, [0, 0, 0, 1]);
    let touched = after.iter().filter(|p| recycle_count(p) > 0).count();
    assert!(touched <= 1, "{touched} pods are claimed");
}

/// Hooks of a third of the pods hang, the first ones to be tried among them: the others are renewed within a minute, with
/// the default pacing.
pub async fn hooks_that_hang_do_not_hold_the_other_pods(suite: &TestSuite) {
    let case = TestCase::new(suite, "h-hang").await;
    // The oldest come first.
    let hung = case.create_deployment("web", 2).await;
    case.patch::<Deployment>("web", json!({"spec": {"replicas": 6}}))
        .await;
    case.ready_pods("web", 6).await;
    let _operator = OperatorProcess::start(&case).await;
    let mut recycle = http_recycle("/recycle");
    recycle["http"]
        .as_object_mut()
        .unwrap()
        .remove("timeoutSeconds");
    let mut policy = paced_policy(&case, &recycle, 10);
    policy["spec"].as_object_mut().unwrap().remove("pacing");
    case.create_with_baseline(policy).await;
    signal_apps(&case, &hung, Signal::SIGSTOP);

    let begun = Instant::now();
    case.failover(2);
    let hung = uids(&hung);
    let renewed = wait_until("the healthy pods", 2 * LIMIT, async || {
        let pods = case.pods("web").await;
        let healthy = pods.iter().filter(|p| !hung.contains(&pod_uid(p)));
        let renewed = healthy.filter(|p| stamped_epoch(p) == 2).count();
        (renewed == 4).then_some(begun.elapsed())
    })
    .await;
    println!(
        "figures: hooks of 2 of 6 pods hang: the other 4 are renewed {:.1} s after the failover",
        renewed.as_secs_f64()
    );
    assert!(renewed < HEALTHY_RENEWED, "{renewed:?}");
    let pods = case.pods("web").await;
    let stuck = pods.iter().filter(|p| hung.contains(&pod_uid(p)));
    assert!(stuck.into_iter().all(|p| stamped_epoch(p) < 2));
    // Whatever became of the run, pods that answer again are renewed without anybody's help.
    signal_apps(&case, &pods, Signal::SIGCONT);
    case.wait_policy_within("p", "the hung pods", 3 * LIMIT, |p| {
        has_condition(p, ConditionType::Fresh, "True", "AllFresh")
    })
    .await;
    let counts = case.effect_counts("web").await;
    let healthy = counts.iter().filter(|(uid, _)| !hung.contains(*uid));
    for (uid, count) in healthy {
        assert_eq!(count.http["/recycle"], 1, "{uid}");
    }
}

/// One unhealthy pod of three does not hold the other two for a signal.
pub async fn an_unhealthy_pod_holds_no_signals(suite: &TestSuite) {
    an_unhealthy_pod_holds_nobody(suite, "h-one-signal", &signal_recycle()).await;
}

/// Nor for an HTTP call.
pub async fn an_unhealthy_pod_holds_no_http_calls(suite: &TestSuite) {
    an_unhealthy_pod_holds_nobody(suite, "h-one-http", &http_recycle("/recycle")).await;
}

async fn an_unhealthy_pod_holds_nobody(suite: &TestSuite, name: &str, recycle: &Value) {
    let case = TestCase::new(suite, name).await;
    let pods = case.create_workload(probed_app(3)).await;
    let _operator = OperatorProcess::start(&case).await;
    case.create_with_baseline(paced_policy(&case, recycle, 2))
        .await;
    let sick = &pods[..1];
    signal_apps(&case, sick, Signal::SIGSTOP);
    wait_not_ready(&case, 1).await;

    let begun = Instant::now();
    case.failover(2);
    let renewed = wait_until("the two healthy pods", LIMIT, async || {
        let pods = case.pods("web").await;
        let fresh = pods.iter().filter(|p| is_ready(p) && stamped_epoch(p) == 2);
        (fresh.count() == 2).then_some(begun.elapsed())
    })
    .await;
    println!(
        "figures: {name}: the two healthy pods are renewed {:.1} s after the failover",
        renewed.as_secs_f64()
    );
    let counts = case.effect_counts("web").await;
    assert_eq!(counts.len(), 2);
    assert!(counts.values().all(|c| c.effects() == 1), "{counts:?}");
    signal_apps(&case, sick, Signal::SIGCONT);
}
