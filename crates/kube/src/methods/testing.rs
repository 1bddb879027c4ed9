//! A client whose one request is seen and answered by the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::pin::pin;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower_test::mock;

use super::PodRef;

/// A request as the API server would have got it.
#[derive(Debug)]
pub(crate) struct SeenRequest {
    pub method: String,
    pub uri: String,
    pub content_type: String,
    pub body: Value,
}

/// Answers the first request with that code and body.
pub(crate) fn client_answering(code: u16, body: Value) -> (Client, JoinHandle<SeenRequest>) {
    let (client, seen) = client_answering_all(vec![(code, body)]);
    let first = async move { seen.await.unwrap().pop().expect("a request") };
    (client, tokio::spawn(first))
}

/// Answers as many requests, one after another, and returns those that came until the client was dropped.
pub(crate) fn client_answering_all(
    answers: Vec<(u16, Value)>,
) -> (Client, JoinHandle<Vec<SeenRequest>>) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let seen = tokio::spawn(async move {
        let mut handle = pin!(handle);
        let mut seen = Vec::new();
        for (code, body) in answers {
            let Some((request, send)) = handle.next_request().await else {
                break;
            };
            let (parts, content) = request.into_parts();
            let bytes = content.collect().await.unwrap().to_bytes();
            send.send_response(
                Response::builder()
                    .status(code)
                    .body(Body::from(serde_json::to_vec(&body).unwrap()))
                    .unwrap(),
            );
            seen.push(SeenRequest {
                method: parts.method.to_string(),
                uri: parts.uri.to_string(),
                content_type: parts
                    .headers
                    .get("content-type")
                    .map(|v| v.to_str().unwrap().to_owned())
                    .unwrap_or_default(),
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            });
        }
        seen
    });
    (Client::new(service, "default"), seen)
}

/// Takes the first request and never answers.
pub(crate) fn silent_client() -> Client {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut handle = pin!(handle);
        let _unanswered = handle.next_request().await;
        std::future::pending::<()>().await;
    });
    Client::new(service, "default")
}

/// Takes the first request and never answers it, then answers the second.
pub(crate) fn client_silent_then(code: u16, body: Value) -> Client {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut handle = pin!(handle);
        let _unanswered = handle.next_request().await;
        let (_, send) = handle.next_request().await.expect("a second request");
        send.send_response(
            Response::builder()
                .status(code)
                .body(Body::from(serde_json::to_vec(&body).unwrap()))
                .unwrap(),
        );
        std::future::pending::<()>().await;
    });
    Client::new(service, "default")
}

/// A failure as an API server words it.
pub(crate) fn failure_body(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message
    })
}

/// A failure with one cause.
pub(crate) fn failure_body_with_cause(
    code: u16,
    reason: &str,
    message: &str,
    cause: (&str, &str),
) -> Value {
    let mut status = failure_body(code, reason, message);
    status["details"] = json!({"causes": [{"reason": cause.0, "message": cause.1}]});
    status
}

/// The pod that the tests act on.
pub(crate) fn pod_ref() -> PodRef {
    PodRef {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        uid: "u-1".to_owned(),
    }
}
