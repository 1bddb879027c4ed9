//! One replica leads; when it goes, another does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{ChartFixture, HOME, LIMIT};
use crate::objects::text;

/// A release is seen at the next look, a second later; the pod must be told to end before that.
const HAND_OVER: Duration = Duration::from_secs(5);
/// The lease's 15 s, a look, and a busy machine.
const TAKE_OVER: Duration = Duration::from_secs(25);

/// The name of the pod that holds the lease.
pub async fn holder(fixture: &ChartFixture) -> String {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases/dbbalance");
    let lease = fixture.get(&path).await.unwrap_or_default();
    text(&lease["spec"]["holderIdentity"])
}

/// The pod that leads.
pub async fn leader(fixture: &ChartFixture) -> Value {
    fixture
        .until("a pod leads", LIMIT, async || {
            let holder = holder(fixture).await;
            let pods = fixture.pods(HOME).await;
            pods.into_iter()
                .find(|p| p["metadata"]["name"] == holder.as_str())
        })
        .await
}

/// Waits for another holder; gives the seconds from `since`.
async fn another(fixture: &ChartFixture, than: &str, since: Instant, limit: Duration) -> f64 {
    fixture
        .until("another replica leads", limit, async || {
            let holder = holder(fixture).await;
            (!holder.is_empty() && holder != than).then_some(())
        })
        .await;
    since.elapsed().as_secs_f64()
}

/// Waits until two replicas are Ready again.
async fn complete(fixture: &ChartFixture) {
    fixture
        .until("two replicas are Ready", LIMIT, async || {
            let pods = fixture.pods(HOME).await;
            let mut ready = pods
                .iter()
                .map(|p| &p["status"]["containerStatuses"][0]["ready"]);
            (pods.len() == 2 && ready.all(|r| *r == true)).then_some(())
        })
        .await;
}

pub async fn a_deleted_leader_hands_over(fixture: Arc<ChartFixture>) {
    let first = text(&leader(&fixture).await["metadata"]["name"]);
    let began = Instant::now();
    fixture
        .kubectl(&["delete", "pod", &first, "-n", HOME, "--wait=false"])
        .await
        .unwrap();
    let took = another(&fixture, &first, began, LIMIT).await;
    println!("  leader: handed over {took:.1} s after kubectl delete pod");
    assert!(took < HAND_OVER.as_secs_f64(), "it was not released");
    complete(&fixture).await;
}

pub async fn a_killed_leader_is_replaced(fixture: Arc<ChartFixture>) {
    let first = text(&leader(&fixture).await["metadata"]["name"]);
    // Stopped, so that it cannot release its lease; then gone with its pod.
    fixture
        .testbed
        .signal_container(HOME, &first, "dbbalance", Signal::SIGSTOP)
        .unwrap();
    let began = Instant::now();
    fixture
        .kubectl(&[
            "delete",
            "pod",
            &first,
            "-n",
            HOME,
            "--force",
            "--grace-period=0",
            "--wait=false",
        ])
        .await
        .unwrap();
    let took = another(&fixture, &first, began, LIMIT).await;
    println!("  leader: taken over {took:.1} s after it was killed");
    assert!(took < TAKE_OVER.as_secs_f64());
    complete(&fixture).await;
}
