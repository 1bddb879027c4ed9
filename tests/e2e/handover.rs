//! Two replicas: the leader is frozen or cut off in the middle of a run, and comes back.
//!
//! Counted are the apps' own effects; the audit log tells that no two replicas acted at a time.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use serde_json::Value;

use dbbalance_testbed::kubernetes::layout::API_PORT;
use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{
    evict_recycle, http_recycle, policy_object, signal_recycle, target_object,
};
use dbbalance_testkit::tcp_relay::TcpRelay;
use dbbalance_testkit::workloads::{find_claim, pod_uid, stamped_epoch};
use dbbalance_testkit::{LIMIT, TestCase, TestSuite, wait_until};

/// Enough that the run outlasts the lease.
const PODS: usize = 8;

pub async fn a_frozen_leader_by_signal(suite: &TestSuite) {
    lose_the_leader(suite, "h-frozen-signal", &signal_recycle(), false).await;
}

pub async fn a_frozen_leader_by_eviction(suite: &TestSuite) {
    lose_the_leader(suite, "h-frozen-evict", &evict_recycle(), false).await;
}

pub async fn a_leader_cut_off_by_http(suite: &TestSuite) {
    lose_the_leader(suite, "h-cut-http", &http_recycle("/recycle"), true).await;
}

async fn holder(case: &TestCase<'_>) -> Option<String> {
    let lease = case.api::<Lease>().get("dbbalance").await.ok()?;
    lease.spec?.holder_identity
}

async fn lose_the_leader(suite: &TestSuite, name: &str, recycle: &Value, cut: bool) {
    let case = TestCase::new(suite, name).await;
    let seen = case.watch_pods().await;
    case.create_deployment("web", u32::try_from(PODS).unwrap())
        .await;
    let slow = OperatorSettings::default().slow(1);
    let relay = TcpRelay::start(SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT)));
    let through_relay = OperatorSettings {
        api_port: Some(relay.port),
        ..slow.clone()
    };
    let first = OperatorProcess::with(&case, "first", &through_relay).await;
    let target = target_object("Deployment", "web", recycle);
    case.create_with_baseline(policy_object("p", name, &[target]))
        .await;
    let second = OperatorProcess::with(&case, "second", &slow).await;
    case.failover(2);
    case.wait_fresh("p", 2).await;
    case.ready_pods("web", PODS).await;
    assert_eq!(holder(&case).await.as_deref(), Some("first"));

    let before = case.effect_counts("web").await;
    let initial: BTreeSet<String> = before.keys().cloned().collect();
    case.failover(1);
    wait_until("a second recycle of the run", LIMIT, async || {
        let pods = case.pods("web").await;
        let done = pods.iter().filter(|p| {
            initial.contains(&pod_uid(p)) && (find_claim(p).is_some() || stamped_epoch(p) == 3)
        });
        let gone = initial.len()
            - pods
                .iter()
                .filter(|p| initial.contains(&pod_uid(p)))
                .count();
        (done.count() + gone >= 2).then_some(())
    })
    .await;
    if cut {
        relay.cut();
    } else {
        first.freeze();
    }
    // What was sent before may still be on its way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pods = case.pods("web").await;
    let with_claim = || pods.iter().filter(|p| find_claim(p).is_some());
    let in_flight: BTreeSet<String> = with_claim().map(pod_uid).collect();
    let claimed: BTreeSet<String> = with_claim().map(ResourceExt::name_any).collect();
    wait_until("another leader", LIMIT, async || {
        (holder(&case).await.as_deref() == Some("second")).then_some(())
    })
    .await;
    wait_until("its first effect", LIMIT, async || {
        let changes = case.changes();
        let acted =
            |c: &&dbbalance_testkit::audit::AuditedChange| c.user == "second" && c.is_effect();
        changes.iter().find(acted).map(drop)
    })
    .await;
    if cut {
        relay.restore();
    } else {
        first.thaw();
    }
    case.wait_fresh("p", 3).await;
    case.ready_pods("web", PODS).await;

    let after = case.effect_counts("web").await;
    let mut doubles = 0;
    if recycle["method"] == "Evict" {
        assert_eq!(seen.ever("web"), 3 * PODS, "every pod once in each run");
        let changes = case.changes();
        let evicted: Vec<_> = changes.iter().filter(|c| c.is_eviction()).collect();
        let names: BTreeSet<_> = evicted.iter().map(|c| &c.name).collect();
        assert_eq!(evicted.len(), names.len(), "no pod is evicted twice");
    } else {
        for (pod, count) in &after {
            let effects = count.effects() - before[pod].effects();
            assert!((1..=2).contains(&effects), "{effects} effects on {pod}");
            doubles += usize::from(effects == 2);
            assert!(effects == 1 || in_flight.contains(pod), "{pod}");
        }
    }
    let changes = case.changes();
    let begun = changes
        .iter()
        .find(|c| c.user == "second" && c.is_effect())
        .unwrap();
    let late = changes
        .iter()
        .filter(|c| c.user == "first" && c.at > begun.at && c.is_effect());
    // A process can be frozen between its look at the lease and the request. That one pod has its claim, counts as
    // being recycled for the next leader too, and is evicted by uid: it is the only one that may still be met.
    let late = late.filter(|c| c.subresource == "exec" || c.is_eviction());
    let late: Vec<_> = late.filter(|c| !claimed.contains(&c.name)).collect();
    assert!(late.is_empty(), "effects of a former leader: {late:?}");
    println!(
        "figures: {name}: {PODS} pods, {} in flight when the leader was lost, {doubles} doubled",
        in_flight.len()
    );
    drop((first, second));
}
