//! An HTTP relay in front of the RDS API: it records requests, and can answer with nothing or with two truths in turn.
//!
//! It does not throttle: microburst, behind it, throttles in AWS's own words.

use crate::http_client::build_http_client;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::runtime::{Builder, Runtime};

/// Headers of one connection, which each side of the relay sets anew.
const HOP_HEADERS: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];

/// What the relay does with answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AnswerMode {
    /// Passes them on.
    Pass,
    /// Empties their lists.
    Empty,
    /// Swaps writers and readers in every second list of clusters.
    Alternating,
}

/// A request that came through the relay.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Its form.
    pub body: String,
    /// The header that names access key and region.
    pub authorization: String,
}

#[derive(Debug)]
struct RelayState {
    upstream: String,
    client: reqwest::Client,
    mode: AtomicU8,
    swapped_lists: AtomicU64,
    requests: Mutex<Vec<RecordedRequest>>,
}

impl RelayState {
    fn requests(&self) -> std::sync::MutexGuard<'_, Vec<RecordedRequest>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running relay, stopped when it is dropped.
#[derive(Debug)]
pub struct RdsRelay {
    state: Arc<RelayState>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl RdsRelay {
    /// Starts a relay on a free port of `ip`, in the network of the calling thread. `upstream` is a URL.
    pub fn start(ip: &str, upstream: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = build_http_client().build().unwrap();
        let state = Arc::new(RelayState {
            upstream: upstream.to_owned(),
            client,
            mode: AtomicU8::new(AnswerMode::Pass as u8),
            swapped_lists: AtomicU64::new(0),
            requests: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(relay_request)
            .with_state(Arc::clone(&state));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        });
        Self {
            state,
            address,
            runtime: Some(runtime),
        }
    }

    /// Returns its URL, such as `http://198.18.0.1:41234`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the mode of the answers from now on.
    pub fn set_mode(&self, mode: AnswerMode) {
        self.state.mode.store(mode as u8, Relaxed);
    }

    /// Counts the lists of clusters answered in [`AnswerMode::Alternating`]; every second one was swapped.
    pub fn swapped_lists(&self) -> u64 {
        self.state.swapped_lists.load(Relaxed)
    }

    /// Counts the requests so far.
    pub fn calls(&self) -> u64 {
        self.state.requests().len() as u64
    }

    /// Returns the requests so far, the oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.state.requests().clone()
    }
}

impl Drop for RdsRelay {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which panics inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn relay_request(
    State(state): State<Arc<RelayState>>,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, Bytes), (StatusCode, String)> {
    let authorization = headers.get("authorization");
    state.requests().push(RecordedRequest {
        body: String::from_utf8_lossy(&body).into_owned(),
        authorization: authorization
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
    });
    for name in HOP_HEADERS {
        headers.remove(name);
    }
    let request = state
        .client
        .post(&state.upstream)
        .headers(headers)
        .body(body);
    let failed = |e: reqwest::Error| (StatusCode::BAD_GATEWAY, e.to_string());
    let answer = request.send().await.map_err(failed)?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let mut body = answer.bytes().await.map_err(failed)?;
    if status.is_success() {
        let mode = state.mode.load(Relaxed);
        if mode == AnswerMode::Empty as u8 {
            let mut text = String::from_utf8_lossy(&body).into_owned();
            for list in ["DBClusters", "DBInstances"] {
                text = empty_list(&text, list);
            }
            body = text.into();
        } else if mode == AnswerMode::Alternating as u8 {
            let text = String::from_utf8_lossy(&body);
            if text.contains("<DBClusters>")
                && state.swapped_lists.fetch_add(1, Relaxed).is_multiple_of(2)
            {
                body = swap_roles(&text).into();
            }
        }
    }
    for name in HOP_HEADERS {
        headers.remove(name);
    }
    Ok((status, headers, body))
}

/// Returns the XML text with nothing in this list.
fn empty_list(text: &str, list: &str) -> String {
    let (open, close) = (format!("<{list}>"), format!("</{list}>"));
    match (text.find(&open), text.rfind(&close)) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}", &text[..start + open.len()], &text[end..])
        }
        _ => text.to_owned(),
    }
}

/// Swaps the roles of clusters with two members.
fn swap_roles(text: &str) -> String {
    let tag = |value: &str| format!("<IsClusterWriter>{value}</IsClusterWriter>");
    text.replace(&tag("true"), &tag("?"))
        .replace(&tag("false"), &tag("true"))
        .replace(&tag("?"), &tag("false"))
}

#[cfg(test)]
mod tests;
