//! An API server in memory that holds one steered object, for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower_test::mock;

use super::*;
use dbbalance_api::spec::SteeringVia;

pub(crate) const READER: &str = "orders.cluster-ro-x.eu-west-1.rds.amazonaws.com";

/// One object, with a version that each write raises.
#[derive(Clone, Default)]
pub(crate) struct ObjectServer(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    object: Option<Value>,
    version: u64,
    /// What a list returns.
    listed: Vec<Value>,
    /// The code that every request is answered with.
    refusal: Option<u16>,
    /// The answers of the next watches, line by line; then watches hang.
    watches: VecDeque<String>,
    seen: Vec<String>,
}

impl ObjectServer {
    pub(crate) fn holding(object: Value) -> Self {
        let server = Self::default();
        server.put(object);
        server
    }

    /// Replaces the object, as another client would.
    pub(crate) fn put(&self, mut object: Value) -> Value {
        let mut stored = self.0.lock();
        stored.version += 1;
        object["metadata"]["resourceVersion"] = json!(stored.version.to_string());
        object["metadata"]["uid"] = json!("u-1");
        stored.object = Some(object.clone());
        object
    }

    pub(crate) fn remove(&self) {
        self.0.lock().object = None;
    }

    pub(crate) fn list(&self, listed: Vec<Value>) {
        self.0.lock().listed = listed;
    }

    pub(crate) fn refuse(&self, code: Option<u16>) {
        self.0.lock().refusal = code;
    }

    pub(crate) fn watch(&self, events: &[Value]) {
        let lines = events.iter().map(|event| format!("{event}\n"));
        self.0.lock().watches.push_back(lines.collect());
    }

    pub(crate) fn object(&self) -> Value {
        self.0.lock().object.clone().unwrap_or_default()
    }

    /// The requests, as verb and path with its parameters.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.lock().seen.clone()
    }

    pub(crate) fn client(&self) -> Client {
        let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
        let server = self.clone();
        tokio::spawn(async move {
            let mut handle = pin!(handle);
            let mut hanging = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let target = format!("{} {}", parts.method, parts.uri);
                match server.answer(&target, &body) {
                    Some((code, body)) => send.send_response(
                        Response::builder()
                            .status(code)
                            .body(Body::from(body.into_bytes()))
                            .unwrap(),
                    ),
                    None => hanging.push(send),
                }
            }
        });
        Client::new(service, "default")
    }

    /// `None` hangs.
    fn answer(&self, target: &str, body: &[u8]) -> Option<(u16, String)> {
        let mut stored = self.0.lock();
        stored.seen.push(target.to_owned());
        let failure = |code: u16| {
            let reason = match code {
                403 => "Forbidden",
                404 => "NotFound",
                409 => "Conflict",
                _ => "InternalError",
            };
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": format!("refused with {code}"),
            });
            Some((code, status.to_string()))
        };
        if let Some(code) = stored.refusal {
            return failure(code);
        }
        if target.contains("watch=true") {
            let lines = stored.watches.pop_front()?;
            // The object is as the last event says.
            if let Some(last) = lines.lines().last() {
                let event: Value = serde_json::from_str(last).unwrap();
                stored.object = (event["type"] != "DELETED").then(|| event["object"].clone());
            }
            return Some((200, lines));
        }
        if target.contains("labelSelector") {
            let list = json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
                "metadata": {}, "items": stored.listed,
            });
            return Some((200, list.to_string()));
        }
        let Some(mut object) = stored.object.clone() else {
            return failure(404);
        };
        if target.starts_with("PATCH") {
            let patch: Value = serde_json::from_slice(body).unwrap();
            let meta = &patch["metadata"];
            if meta["resourceVersion"] != object["metadata"]["resourceVersion"]
                || meta["uid"] != object["metadata"]["uid"]
            {
                return failure(409);
            }
            merge(&mut object, &patch);
            stored.version += 1;
            object["metadata"]["resourceVersion"] = json!(stored.version.to_string());
            stored.object = Some(object.clone());
        }
        Some((200, object.to_string()))
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in changes {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// An `ExternalName` Service that leads to this host.
pub(crate) fn service(host: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": "shop", "name": "orders-ro", "annotations": {"team": "shop"}},
        "spec": {"type": "ExternalName", "externalName": host, "sessionAffinity": "None"},
    })
}

/// The chart's slice with these addresses.
pub(crate) fn slice(addresses: &[&str]) -> Value {
    let endpoint = json!({"addresses": addresses, "conditions": {"ready": true}});
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "namespace": "dbbalance", "name": "orders-ro",
            "labels": {
                "kubernetes.io/service-name": "orders-ro",
                "endpointslice.kubernetes.io/managed-by": "dbbalance.io",
            },
        },
        "addressType": "IPv4",
        "endpoints": if addresses.is_empty() { json!([]) } else { json!([endpoint]) },
    })
}

/// The names `shop/orders-ro` via Service and `orders-ro` via Slice, of cluster `orders`.
pub(crate) fn names() -> SteeredNames {
    SteeredNames::new(SteeringConfig {
        services: vec![("shop".into(), "orders-ro".into())],
        slices: vec![("orders-ro".into(), READER.into())],
        namespace: "dbbalance".into(),
        ranges: AllowedRanges::parse(DEFAULT_ALLOWED_CIDRS).unwrap(),
        cluster_domain: "cluster.local".into(),
        replicas: 2,
    })
}

pub(crate) fn key(via: SteeringVia) -> NameKey {
    names().key_of(via, "shop", "orders-ro")
}

/// The state of an object as it is in this JSON.
pub(crate) fn state_of(object: &Value) -> NameState {
    if object["kind"] == "Service" {
        let service: k8s_openapi::api::core::v1::Service =
            serde_json::from_value(object.clone()).unwrap();
        NameState::Service(service.into())
    } else {
        let slice: k8s_openapi::api::discovery::v1::EndpointSlice =
            serde_json::from_value(object.clone()).unwrap();
        NameState::Slice {
            slice: slice.into(),
            others: Vec::new(),
        }
    }
}
