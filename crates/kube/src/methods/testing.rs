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

/// A request as the API server would have got it.
#[derive(Debug)]
pub(super) struct SeenRequest {
    pub method: String,
    pub uri: String,
    pub content_type: String,
    pub body: Value,
}

/// Answers the first request with that code and body.
pub(super) fn client_answering(code: u16, body: Value) -> (Client, JoinHandle<SeenRequest>) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let seen = tokio::spawn(async move {
        let mut handle = pin!(handle);
        let (request, send) = handle.next_request().await.expect("a request");
        let (parts, content) = request.into_parts();
        let bytes = content.collect().await.unwrap().to_bytes();
        send.send_response(
            Response::builder()
                .status(code)
                .body(Body::from(serde_json::to_vec(&body).unwrap()))
                .unwrap(),
        );
        SeenRequest {
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            content_type: parts
                .headers
                .get("content-type")
                .map(|v| v.to_str().unwrap().to_owned())
                .unwrap_or_default(),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    });
    (Client::new(service, "default"), seen)
}

/// Takes the first request and never answers.
pub(super) fn silent_client() -> Client {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut handle = pin!(handle);
        let _unanswered = handle.next_request().await;
        std::future::pending::<()>().await;
    });
    Client::new(service, "default")
}

/// Takes the first request and never answers it, then answers the second.
pub(super) fn client_silent_then(code: u16, body: Value) -> Client {
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
pub(super) fn failure_body(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message
    })
}

/// A failure with one cause.
pub(super) fn failure_body_with_cause(
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
pub(super) fn pod_ref() -> super::PodRef {
    super::PodRef {
        namespace: "shop".to_owned(),
        name: "web-1".to_owned(),
        uid: "u-1".to_owned(),
    }
}
