#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::pin::pin;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;

fn policy() -> DbBalancePolicy {
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"namespace": "shop", "name": "orders", "uid": "0123456789ab"},
        "spec": {
            "cluster": {"identifier": "orders-prod"},
            "targets": [{
                "name": "web",
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": 10}],
                "recycle": {"method": "Evict"}
            }]
        }
    }))
    .unwrap()
}

/// A writer whose requests are answered in turn; the task returns what was asked.
fn events(answers: Vec<(u16, Value)>) -> (Events, tokio::task::JoinHandle<Vec<(String, Value)>>) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let asked = tokio::spawn(async move {
        let mut handle = pin!(handle);
        let mut asked = Vec::new();
        for (code, answer) in answers {
            let (request, send) = handle.next_request().await.unwrap();
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            asked.push((
                format!("{} {}", parts.method, parts.uri.path()),
                serde_json::from_slice(&bytes).unwrap_or_default(),
            ));
            send.send_response(
                Response::builder()
                    .status(code)
                    .body(Body::from(answer.to_string().into_bytes()))
                    .unwrap(),
            );
        }
        asked
    });
    (Events::new(Client::new(service, "default"), "pod-1"), asked)
}

fn created(at: &str) -> Value {
    json!({"metadata": {"name": "x", "creationTimestamp": at}})
}

#[tokio::test]
async fn an_epoch_is_dated_by_the_api_server() {
    let (events, asked) = events(vec![(201, created("2026-11-22T10:00:00Z"))]);
    let opened = events.open_epoch(&policy(), 12, "why").await.unwrap();
    assert_eq!(opened, "2026-11-22T10:00:00Z".parse().unwrap());
    let (request, body) = asked.await.unwrap().remove(0);
    assert_eq!(
        request,
        "POST /apis/events.k8s.io/v1/namespaces/shop/events"
    );
    let name = epoch_event_name("orders", "0123456789", 12, "why");
    assert!(name.starts_with("orders.01234567.epoch-12-"), "{name}");
    assert_ne!(
        name,
        epoch_event_name("orders", "0123456789", 12, "another")
    );
    assert_eq!(body["metadata"]["name"], name);
    assert_eq!(body["reason"], "EpochOpened");
    assert_eq!(body["regarding"]["uid"], "0123456789ab");
}

#[tokio::test]
async fn opening_again_after_a_crash_gives_the_same_time() {
    let exists = json!({
        "status": "Failure", "code": 409, "reason": "AlreadyExists", "message": "exists"
    });
    let (events, asked) = events(vec![(409, exists), (200, created("2026-11-22T09:00:00Z"))]);
    let opened = events.open_epoch(&policy(), 12, "why").await.unwrap();
    assert_eq!(opened, "2026-11-22T09:00:00Z".parse().unwrap());
    let asked = asked.await.unwrap();
    assert!(asked[1].0.contains("/events/orders.01234567.epoch-12-"));
}

#[tokio::test]
async fn a_refusal_names_the_event_and_the_permission() {
    let forbidden = json!({
        "status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"
    });
    let (events, _asked) = events(vec![(403, forbidden)]);
    let error = events.open_epoch(&policy(), 12, "why").await.unwrap_err();
    assert!(error.to_string().contains("events.k8s.io/events"));
    assert!(error.to_string().contains("orders.01234567.epoch-12"));
}

#[tokio::test]
async fn two_changes_in_a_row_are_two_events_with_their_own_notes() {
    let answer = || (201, created("2026-11-22T10:00:00Z"));
    let (events, asked) = events(vec![answer(), answer(), (200, json!({"metadata": {}}))]);
    let policy = policy();
    for note in ["2 readers -> 3", "3 readers -> 2", "3 readers -> 2"] {
        events
            .publish(&policy, EventType::Normal, EventReason::EpochSettled, note)
            .await;
    }
    let asked = asked.await.unwrap();
    assert_eq!(asked[0].1["note"], "2 readers -> 3");
    assert_eq!(asked[1].1["note"], "3 readers -> 2");
    assert!(asked[2].0.starts_with("PATCH"));
    assert_eq!(asked[2].1["series"]["count"], 2);
}

#[tokio::test]
async fn a_long_note_is_cut() {
    let (events, asked) = events(vec![(201, created("2026-11-22T10:00:00Z"))]);
    let long = "ü".repeat(2000);
    events
        .publish(&policy(), EventType::Warning, EventReason::RunHalted, &long)
        .await;
    let note = asked.await.unwrap()[0].1["note"].as_str().unwrap().len();
    assert_eq!(note, MAX_NOTE_BYTES);
}

#[test]
fn a_long_policy_name_still_gives_a_valid_event_name() {
    let name = epoch_event_name(&format!("{}-x", "a".repeat(240)), "0123456789ab", 7, "why");
    assert!(name.len() <= MAX_NAME_BYTES);
    assert!(name.contains("a.01234567.epoch-7-"), "{name}");
}
