#![allow(clippy::unwrap_used, clippy::panic)]
use std::pin::pin;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::k8s::steering::testing::{ObjectServer, READER, key, names, service, slice};

/// Follows the name until this state is seen, which is due within a minute of paused time.
async fn follow_until(
    server: &ObjectServer,
    names: &SteeredNames,
    via: SteeringVia,
    is: impl Fn(&NameState) -> bool,
) {
    let mut changes = pin!(names.changes());
    let following = follow_name(names.clone(), server.client(), key(via));
    let seen = async {
        loop {
            changes.next().await;
            if is(&names.state(&key(via)).unwrap()) {
                return;
            }
        }
    };
    tokio::select! {
        () = following => panic!("it ended"),
        seen = timeout(Duration::from_mins(1), seen) => seen.unwrap(),
    }
}

fn leads_to(state: &NameState, host: &str) -> bool {
    matches!(state, NameState::Service(s) if s.spec.as_ref().unwrap().external_name.as_deref() == Some(host))
}

fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}

#[tokio::test(start_paused = true)]
async fn a_service_is_read_and_then_watched_by_its_name_from_what_was_read() {
    let server = ObjectServer::holding(service(READER));
    let mut changed = server.object();
    changed["metadata"]["resourceVersion"] = json!("5");
    changed["spec"]["externalName"] = json!("elsewhere");
    server.watch(&[event("MODIFIED", &changed)]);
    let names = names();
    follow_until(&server, &names, SteeringVia::Service, |state| {
        leads_to(state, "elsewhere")
    })
    .await;
    let seen = server.seen();
    assert_eq!(
        seen[0],
        "GET /api/v1/namespaces/shop/services/orders-ro".to_owned()
    );
    assert!(
        seen[1].contains("watch=true")
            && seen[1].contains("fieldSelector=metadata.name%3Dorders-ro")
            && seen[1].contains("resourceVersion=1"),
        "{seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_made_later_is_seen_and_one_that_is_deleted_as_well() {
    let server = ObjectServer::default();
    let mut made = service(READER);
    made["metadata"]["resourceVersion"] = json!("7");
    made["metadata"]["uid"] = json!("u-1");
    server.watch(&[event("ADDED", &made)]);
    let names = names();
    follow_until(&server, &names, SteeringVia::Service, |state| {
        leads_to(state, READER)
    })
    .await;
    server.watch(&[event("DELETED", &made)]);
    follow_until(&server, &names, SteeringVia::Service, |state| {
        matches!(state, NameState::Missing)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_keeps_what_was_known_and_a_refusal_is_said() {
    let server = ObjectServer::holding(service(READER));
    let names = names();
    server.watch(&[]);
    follow_until(&server, &names, SteeringVia::Service, |state| {
        leads_to(state, READER)
    })
    .await;
    server.refuse(Some(500));
    let following = follow_name(names.clone(), server.client(), key(SteeringVia::Service));
    let _ = timeout(Duration::from_secs(5), following).await;
    let state = names.state(&key(SteeringVia::Service)).unwrap();
    assert!(leads_to(&state, READER), "{state:?}");
    server.refuse(Some(403));
    follow_until(&server, &names, SteeringVia::Service, |state| {
        matches!(state, NameState::Forbidden)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn other_slices_of_the_service_are_looked_for_at_each_watch() {
    let own = slice(&[]);
    let server = ObjectServer::holding(own.clone());
    server.list(vec![own.clone()]);
    server.watch(&[]);
    let names = names();
    follow_until(
        &server,
        &names,
        SteeringVia::Slice,
        |state| matches!(state, NameState::Slice { others, .. } if others.is_empty()),
    )
    .await;
    let mut other = own.clone();
    other["metadata"]["name"] = json!("orders-ro-x7k2p");
    server.list(vec![own, other]);
    follow_until(
        &server,
        &names,
        SteeringVia::Slice,
        |state| matches!(state, NameState::Slice { others, .. } if *others == ["orders-ro-x7k2p"]),
    )
    .await;
    let listed = server
        .seen()
        .into_iter()
        .find(|s| s.contains("labelSelector"));
    let listed = listed.unwrap();
    assert!(
        listed.contains("/namespaces/dbbalance/endpointslices?")
            && listed.contains("kubernetes.io%2Fservice-name%3Dorders-ro"),
        "{listed}"
    );
}
