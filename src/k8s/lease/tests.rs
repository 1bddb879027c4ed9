//! Replicas against an API server in memory that checks resourceVersions, on a paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::{advance, sleep};
use tokio_util::sync::CancellationToken;
use tower_test::mock;

use super::*;

const DURATION: Duration = Duration::from_secs(15);
const RENEW: Duration = Duration::from_secs(2);

/// One lease, with optimistic concurrency.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    lease: Option<Value>,
    version: u64,
    conflicts: u32,
}

impl Server {
    fn answer(&self, method: &Method, body: &[u8]) -> (u16, Value) {
        let mut stored = self.0.lock().unwrap();
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({"status": "Failure", "code": code, "reason": reason, "message": reason}),
            )
        };
        if *method == Method::GET {
            return match &stored.lease {
                Some(lease) => (200, lease.clone()),
                None => failure(404, "NotFound"),
            };
        }
        let mut lease: Value = serde_json::from_slice(body).unwrap();
        match &stored.lease {
            Some(_) if *method == Method::POST => return failure(409, "AlreadyExists"),
            None if *method == Method::PUT => return failure(404, "NotFound"),
            Some(old)
                if lease["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"] =>
            {
                stored.conflicts += 1;
                return failure(409, "Conflict");
            }
            _ => {}
        }
        stored.version += 1;
        lease["metadata"]["resourceVersion"] = json!(stored.version.to_string());
        stored.lease = Some(lease.clone());
        (200, lease)
    }

    /// A client of this server, and a switch that cuts it off: its requests then hang.
    fn client(&self) -> (Client, Arc<AtomicBool>) {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        let cut = Arc::new(AtomicBool::new(false));
        let (server, is_cut) = (self.clone(), cut.clone());
        tokio::spawn(async move {
            let mut handle = pin!(handle);
            let mut hanging = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                if is_cut.load(Ordering::SeqCst) {
                    hanging.push(send);
                    continue;
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let (code, value) = server.answer(&parts.method, &body);
                send.send_response(
                    Response::builder()
                        .status(code)
                        .body(Body::from(value.to_string().into_bytes()))
                        .unwrap(),
                );
            }
        });
        (Client::new(service, "default"), cut)
    }

    fn lease(&self) -> Value {
        self.0.lock().unwrap().lease.clone().unwrap()
    }

    fn transitions(&self) -> i64 {
        self.lease()["spec"]["leaseTransitions"].as_i64().unwrap()
    }
}

fn config(identity: &str) -> LeaseConfig {
    LeaseConfig {
        namespace: "system".to_owned(),
        name: "dbbalance".to_owned(),
        identity: identity.to_owned(),
        duration: DURATION,
        renew: RENEW,
    }
}

struct Replica {
    leadership: Leadership,
    cut: Arc<AtomicBool>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn replica(server: &Server, identity: &str) -> Replica {
    let (client, cut) = server.client();
    let (keeper, leadership) = LeaseKeeper::new(client, config(identity));
    let stop = CancellationToken::new();
    let task = tokio::spawn(keeper.run(stop.clone()));
    Replica {
        leadership,
        cut,
        stop,
        task,
    }
}

/// Lets time pass in small steps, holding that never more than one leads.
async fn watch_for(seconds: u64, replicas: &[&Replica]) {
    for _ in 0..seconds * 20 {
        sleep(Duration::from_millis(50)).await;
        let leaders = replicas
            .iter()
            .filter(|r| r.leadership.is_leading())
            .count();
        assert!(leaders <= 1, "two replicas lead at once");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_replicas_leads_and_goes_on_leading() {
    let server = Server::default();
    let (a, b) = (replica(&server, "a"), replica(&server, "b"));
    watch_for(120, &[&a, &b]).await;
    assert!(a.leadership.is_leading() != b.leadership.is_leading());
    assert_eq!(server.transitions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_begins_and_can_lead_again() {
    let server = Server::default();
    let a = replica(&server, "a");
    watch_for(3, &[&a]).await;
    let b = replica(&server, "b");
    watch_for(5, &[&a, &b]).await;
    assert!(a.leadership.is_leading());

    a.cut.store(true, Ordering::SeqCst);
    watch_for(13, &[&a, &b]).await;
    assert!(!a.leadership.is_leading(), "fenced by its own clock");
    watch_for(8, &[&a, &b]).await;
    assert!(b.leadership.is_leading());
    assert_eq!(server.transitions(), 1);

    a.cut.store(false, Ordering::SeqCst);
    watch_for(10, &[&a, &b]).await;
    assert!(b.leadership.is_leading());
    b.cut.store(true, Ordering::SeqCst);
    watch_for(25, &[&a, &b]).await;
    assert!(a.leadership.is_leading(), "leads again in the same life");
    assert_eq!(server.transitions(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_partition_costs_nothing() {
    let server = Server::default();
    let (a, b) = (replica(&server, "a"), replica(&server, "b"));
    watch_for(5, &[&a, &b]).await;
    let leader = if a.leadership.is_leading() { &a } else { &b };
    leader.cut.store(true, Ordering::SeqCst);
    watch_for(5, &[&a, &b]).await;
    leader.cut.store(false, Ordering::SeqCst);
    watch_for(30, &[&a, &b]).await;
    assert!(leader.leadership.is_leading());
    assert_eq!(server.transitions(), 0);
}

#[tokio::test(start_paused = true)]
async fn release_on_shutdown_lets_a_successor_lead_within_about_a_second() {
    let server = Server::default();
    let a = replica(&server, "a");
    watch_for(3, &[&a]).await;
    let b = replica(&server, "b");
    watch_for(3, &[&a, &b]).await;
    a.stop.cancel();
    a.task.await.unwrap();
    assert!(!a.leadership.is_leading());
    assert!(server.lease()["spec"].get("holderIdentity").is_none());
    let before = Instant::now();
    b.leadership.wait_until_acquired().await;
    assert!(before.elapsed() <= Duration::from_millis(1100));
    assert_eq!(server.transitions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_standby_releases_nothing() {
    let server = Server::default();
    let a = replica(&server, "a");
    watch_for(3, &[&a]).await;
    let b = replica(&server, "b");
    watch_for(3, &[&a, &b]).await;
    b.stop.cancel();
    b.task.await.unwrap();
    assert_eq!(server.lease()["spec"]["holderIdentity"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_frozen_leader_does_not_lead_when_it_thaws() {
    let server = Server::default();
    let (client, _cut) = server.client();
    let (mut keeper, frozen) = LeaseKeeper::new(client, config("frozen"));
    keeper.run_round().await;
    assert!(frozen.is_leading());
    // Frozen: nothing of it runs, the clock goes on. Another takes over.
    let other = replica(&server, "other");
    watch_for(20, &[&other]).await;
    assert!(!frozen.is_leading(), "before it has looked at anything");
    assert!(other.leadership.is_leading());
    keeper.run_round().await;
    assert!(!frozen.is_leading());
    assert_eq!(frozen.state().holder.as_deref(), Some("other"));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_took_long_counts_from_before_it_was_sent() {
    let server = Server::default();
    let (client, _cut) = server.client();
    let (mut keeper, leadership) = LeaseKeeper::new(client, config("a"));
    let before = Instant::now();
    keeper.run_round().await;
    assert_eq!(
        leadership.state().valid_until,
        before + Duration::from_secs(12)
    );
    advance(Duration::from_secs(12)).await;
    assert!(!leadership.is_leading());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_followed_by_another_look() {
    let server = Server::default();
    let (client, _cut) = server.client();
    let (mut keeper, leadership) = LeaseKeeper::new(client, config("a"));
    keeper.run_round().await;
    // Somebody labels the lease: another resourceVersion, the same holder.
    {
        let mut stored = server.0.lock().unwrap();
        stored.lease.as_mut().unwrap()["metadata"]["resourceVersion"] = json!("900");
        stored.version = 900;
    }
    keeper.run_round().await;
    assert_eq!(server.0.lock().unwrap().conflicts, 1);
    assert!(leadership.is_leading());
    assert_eq!(server.lease()["metadata"]["resourceVersion"], "901");
}

#[tokio::test(start_paused = true)]
async fn another_s_lease_expires_by_our_own_watching_and_not_by_its_dates() {
    let server = Server::default();
    server.0.lock().unwrap().lease = Some(json!({
        "metadata": {"name": "dbbalance", "namespace": "system", "resourceVersion": "5"},
        "spec": {
            "holderIdentity": "old", "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "renewTime": "2001-01-01T00:00:00.000000Z"
        }
    }));
    let a = replica(&server, "a");
    watch_for(14, &[&a]).await;
    assert!(!a.leadership.is_leading(), "an old date proves nothing");
    watch_for(3, &[&a]).await;
    assert!(a.leadership.is_leading());
    assert_eq!(server.transitions(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_not_taken_while_its_holder_may_not_have_noticed() {
    let server = Server::default();
    let a = replica(&server, "a");
    watch_for(3, &[&a]).await;
    let b = replica(&server, "b");
    watch_for(3, &[&a, &b]).await;
    a.cut.store(true, Ordering::SeqCst);
    server.0.lock().unwrap().lease = None;
    watch_for(30, &[&a, &b]).await;
    assert!(b.leadership.is_leading());
}

#[tokio::test(start_paused = true)]
async fn the_loss_is_noticed_by_who_waits_for_it() {
    let server = Server::default();
    let a = replica(&server, "a");
    a.leadership.wait_until_acquired().await;
    a.cut.store(true, Ordering::SeqCst);
    let before = Instant::now();
    a.leadership.wait_until_lost().await;
    assert!(before.elapsed() <= Duration::from_secs(12));
    assert!(!a.leadership.is_leading());
}
