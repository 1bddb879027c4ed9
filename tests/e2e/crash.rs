//! The operator dies, again and again: what the pods see of it.
//!
//! It is killed at its kill points and at any time, twenty times with stale pods left, and started again. Effects are
//! counted by the apps, evictions by the audit log, pods by a watch of the test's own.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use dbbalance_testkit::audit::AuditedChange;
use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{self, policy_object, target_object};
use dbbalance_testkit::workloads::{find_claim, pod_uid, stamped_epoch, workload_object};
use dbbalance_testkit::{POLL_INTERVAL, TestCase, TestSuite, wait_until};

/// Deaths with stale pods left.
const DEATHS: usize = 20;
/// Pods of a target; each death uses up at least one.
const PODS: usize = 14;
/// Within a round the operator dies only while its first claim is younger than this: a second death at the same pod
/// would make the pod one that has failed twice. A claim is redone after 40 s.
const ROUND: Duration = Duration::from_secs(29);

/// Where it dies, in turn.
const POINTS: [&str; 3] = ["claimed", "acted", "any"];
/// A rollout is begun once; then only chance is left.
const ROLLOUT_POINTS: [&str; 10] = [
    "claimed", "claimed", "acted", "any", "any", "any", "any", "any", "any", "any",
];

/// What came of it all.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    deaths: usize,
    effects: u64,
    doubles: usize,
    in_flight: usize,
}

pub async fn signal(suite: &TestSuite) {
    in_place(suite, "c-signal", &policies::signal_recycle()).await;
}

pub async fn http(suite: &TestSuite) {
    let mut recycle = policies::http_recycle("/recycle");
    // Claims run out as late as those of signals.
    recycle["http"]["timeoutSeconds"] = json!(10);
    in_place(suite, "c-http", &recycle).await;
}

/// Methods that leave the pod: at most twice, and twice only the pods in flight when the operator died.
async fn in_place(suite: &TestSuite, name: &str, recycle: &Value) {
    let case = TestCase::new(suite, name).await;
    let mut tally = Tally::default();
    begin(&case, recycle).await;
    let mut epoch = 2;
    while tally.deaths < DEATHS {
        tally.rounds += 1;
        epoch += 1;
        let before = case.effect_counts("web").await;
        let in_flight = round(&case, epoch, &POINTS, &mut tally).await;
        let after = case.effect_counts("web").await;
        assert_eq!(after.len(), PODS);
        for (pod, count) in &after {
            let effects = count.effects() - before[pod].effects();
            tally.effects += effects;
            assert!((1..=2).contains(&effects), "{effects} effects on {pod}");
            if effects == 2 {
                tally.doubles += 1;
                assert!(in_flight.contains(pod), "{pod} was not in flight");
            }
        }
        tally.in_flight += in_flight.len();
    }
    println!("figures: {name}: {PODS} pods: {tally:?}");
}

pub async fn evict(suite: &TestSuite) {
    let case = TestCase::new(suite, "c-evict").await;
    let seen = case.watch_pods().await;
    let mut tally = Tally::default();
    begin(&case, &policies::evict_recycle()).await;
    let mut epoch = 2;
    while tally.deaths < DEATHS {
        tally.rounds += 1;
        epoch += 1;
        tally.in_flight += round(&case, epoch, &POINTS, &mut tally).await.len();
        let rounds = usize::try_from(tally.rounds).unwrap() + 1;
        assert_eq!(seen.ever("web"), PODS * (rounds + 1), "every pod once");
        let changes = case.changes();
        let evicted: Vec<_> = changes.iter().filter(|c| c.is_eviction()).collect();
        let names: BTreeSet<_> = evicted.iter().map(|c| &c.name).collect();
        assert_eq!(evicted.len(), names.len(), "no pod is evicted twice");
        // The answer to one who has died meanwhile is no success in the log: the pods are what counts.
        tally.effects = u64::try_from(seen.ever("web") - 2 * PODS).unwrap();
    }
    println!("figures: c-evict: {PODS} pods: {tally:?}");
}

pub async fn rollout(suite: &TestSuite) {
    let case = TestCase::new(suite, "c-rollout").await;
    let seen = case.watch_pods().await;
    let mut tally = Tally::default();
    begin(&case, &policies::rollout_recycle()).await;
    let mut epoch = 2;
    while tally.deaths < DEATHS {
        tally.rounds += 1;
        epoch += 1;
        round(&case, epoch, &ROLLOUT_POINTS, &mut tally).await;
        let rounds = usize::try_from(tally.rounds).unwrap() + 1;
        case.ready_pods("web", PODS).await;
        assert_eq!(seen.ever("web"), PODS * (rounds + 1), "every pod once");
        tally.effects = u64::try_from(PODS * (rounds - 1)).unwrap();
    }
    println!("figures: c-rollout: {PODS} pods: {tally:?}");
}

/// A target whose method has been seen to work: the canary of a later run would make all wait for one pod.
async fn begin(case: &TestCase<'_>, recycle: &Value) {
    let mut app = workload_object("Deployment", "web", u32::try_from(PODS).unwrap());
    // A rollout in a few steps, so that there is something to die in.
    app["spec"]["minReadySeconds"] = json!(1);
    app["spec"]["strategy"] = json!({
        "type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 2},
    });
    case.create_workload(app).await;
    let operator = OperatorProcess::start(case).await;
    let target = target_object("Deployment", "web", recycle);
    case.create_with_baseline(policy_object("p", &case.name, &[target]))
        .await;
    operator.kill();
    let operator = OperatorProcess::start(case).await;
    let before = case.changes();
    assert!(
        !before.iter().any(AuditedChange::is_effect),
        "first sight recycles nothing"
    );
    case.failover(2);
    case.wait_fresh("p", 2).await;
    case.ready_pods("web", PODS).await;
    operator.kill();
}

/// One epoch: the operator dies until its time is up or no stale pod is left alone, then it may finish. Gives the
/// pods that were in flight at a death.
async fn round(
    case: &TestCase<'_>,
    epoch: i64,
    points: &[&str],
    tally: &mut Tally,
) -> BTreeSet<String> {
    let slow = OperatorSettings::default().slow(5);
    let initial: BTreeSet<String> = case.pods("web").await.iter().map(pod_uid).collect();
    let stale = async || {
        let mut pods = case.pods("web").await;
        pods.retain(|p| {
            let stays = p.metadata.deletion_timestamp.is_none();
            stays && initial.contains(&pod_uid(p)) && stamped_epoch(p) < epoch
        });
        pods
    };
    case.failover(if epoch % 2 == 0 { 2 } else { 1 });
    let mut first = None;
    let mut in_flight = BTreeSet::new();
    for point in points.iter().cycle() {
        if tally.deaths >= DEATHS || first.is_some_and(|t: Instant| t.elapsed() > ROUND) {
            break;
        }
        match *point {
            "claimed" => die(case, &slow, "claimed", &stale).await,
            "acted" => die(case, &slow, "acted", &stale).await,
            _ => {
                let operator = OperatorProcess::with(case, "one", &slow).await;
                let before = marks(&stale().await);
                wait_until("progress", Duration::from_mins(1), async || {
                    let now = marks(&stale().await);
                    (now.is_empty() || now != before).then_some(())
                })
                .await;
                let chance =
                    u32::try_from(Timestamp::now().subsec_nanosecond()).unwrap_or(0) / 1000;
                tokio::time::sleep(POLL_INTERVAL * (chance % 5) / 2).await;
                operator.kill();
            }
        }
        first.get_or_insert_with(Instant::now);
        let left = stale().await;
        in_flight.extend(left.iter().filter(|p| find_claim(p).is_some()).map(pod_uid));
        tally.deaths += usize::from(!left.is_empty());
        if left.iter().all(|p| find_claim(p).is_some()) {
            break;
        }
    }
    let operator = OperatorProcess::with(case, "one", &slow).await;
    case.wait_fresh("p", epoch).await;
    case.ready_pods("web", PODS).await;
    operator.kill();
    in_flight
}

/// Lets the operator run into a kill point, or kills it when it does not come there.
async fn die(
    case: &TestCase<'_>,
    settings: &OperatorSettings,
    point: &'static str,
    stale: &impl AsyncFn() -> Vec<Pod>,
) {
    let operator = OperatorProcess::with(case, "one", &settings.clone().dying_at(point)).await;
    let begun = Instant::now();
    while operator.is_alive() && begun.elapsed() < Duration::from_secs(8) {
        if stale().await.is_empty() {
            break;
        }
        tokio::time::sleep(POLL_INTERVAL / 2).await;
    }
}

/// What shows that the operator has done something.
fn marks(pods: &[Pod]) -> BTreeSet<(String, Option<String>)> {
    let marks = pods
        .iter()
        .map(|p| (pod_uid(p), find_claim(p).map(str::to_owned)));
    marks.collect()
}
