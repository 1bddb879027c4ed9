//! The RDS API of the testbed's Aurora: the Query protocol over a [`ControlPlane`].
//!
//! Parses parameters, paginates, enforces the account's quota, and writes XML with AWS's codes and statuses; what the
//! clusters do is up to the control plane. Signatures are not checked, as in all emulators: the access key identifies
//! the account, the scope of the signature the region. [`HttpFaults`] make it misbehave.

mod answer;
mod change;
mod describe;
mod document;
pub mod fault;
pub mod http_faults;
pub mod rate_limit;
mod request;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::inventory::{ApiError, ControlPlane};
use super::service::ServerThread;
use crate::rds::REGION;
pub use http_faults::{HttpFaults, SharedHttpFaults};
use rate_limit::{RequestQuota, TokenBucket};
use request::ApiRequest;

/// The account that has the databases: the emulators' usual one, moto's too.
pub const ACCOUNT: &str = "123456789012";
/// Access keys of roles begin with it, and end with the role's account.
const FOREIGN_KEY: &str = "ASIALAB";

/// `arn:aws:rds:eu-west-1:123456789012:cluster:orders`
#[must_use]
pub fn rds_arn(kind: &str, identifier: &str) -> String {
    format!("arn:aws:rds:{REGION}:{ACCOUNT}:{kind}:{identifier}")
}

/// How the API is to be.
#[derive(Clone, Debug, Default)]
pub struct ApiOptions {
    /// Each account's quota; AWS's by default.
    pub quota: RequestQuota,
    /// What is wrong with it; keep a clone to change it while it runs.
    pub faults: SharedHttpFaults,
}

/// What was asked since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Requests by action, refused ones included.
    pub by_action: BTreeMap<String, u64>,
    /// Those of them that the quota refused.
    pub throttled: u64,
}

/// A running API, ended with the value.
#[derive(Debug)]
pub struct ApiServer {
    service: ServerThread,
    shared: Arc<ApiState>,
}

impl ApiServer {
    /// Where it listens; the real port when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.service.address()
    }

    /// Its address as clients take it: `http://127.0.0.1:41234`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address())
    }

    /// What was asked since the start.
    #[must_use]
    pub fn calls(&self) -> CallCounts {
        self.shared.state().calls.clone()
    }

    /// The faults, to be changed.
    #[must_use]
    pub fn faults(&self) -> &SharedHttpFaults {
        &self.shared.options.faults
    }
}

struct ApiState {
    plane: Arc<dyn ControlPlane>,
    options: ApiOptions,
    state: Mutex<RequestCounts>,
    requests: AtomicU64,
}

#[derive(Default)]
struct RequestCounts {
    calls: CallCounts,
    buckets: HashMap<String, TokenBucket>,
}

impl std::fmt::Debug for ApiState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl ApiState {
    fn state(&self) -> std::sync::MutexGuard<'_, RequestCounts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, against its account's quota if it is one for RDS.
    fn admit_request(&self, request: &ApiRequest) -> Result<(), ApiError> {
        let now = Instant::now();
        let mut state = self.state();
        *state
            .calls
            .by_action
            .entry(request.action.clone())
            .or_default() += 1;
        if request.action == "AssumeRole" {
            return Ok(());
        }
        let key = format!("{} {}", request.account, request.region);
        let quota = self.options.quota;
        let bucket = state
            .buckets
            .entry(key)
            .or_insert_with(|| TokenBucket::new(quota, now));
        if bucket.try_acquire(now) {
            return Ok(());
        }
        state.calls.throttled += 1;
        Err(fault::throttling_error())
    }
}

/// Starts the API at an address (port 0: any free one), on threads of its own in the caller's network.
pub fn start_api(
    address: SocketAddr,
    plane: Arc<dyn ControlPlane>,
    options: ApiOptions,
) -> Result<ApiServer> {
    let shared = Arc::new(ApiState {
        plane,
        options,
        state: Mutex::default(),
        requests: AtomicU64::new(0),
    });
    let router = Router::new()
        .fallback(handle_request)
        .with_state(Arc::clone(&shared));
    let service = ServerThread::start("RDS API", move |stopped| {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok((address, async move {
            // Not by grace: a held-back answer would hold the end back.
            tokio::select! {
                _ = axum::serve(listener, router) => {}
                _ = stopped => {}
            }
        }))
    })?;
    Ok(ApiServer { service, shared })
}

async fn handle_request(
    State(shared): State<Arc<ApiState>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Response {
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    let authorization = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let form = if body.is_empty() {
        query.unwrap_or_default().into_bytes()
    } else {
        body.to_vec()
    };
    let (action, result) = match ApiRequest::read(authorization, &form) {
        Err(fault) => (String::new(), Err(fault)),
        Ok(request) => (
            request.action.clone(),
            run_request(&shared, request, id.clone()).await,
        ),
    };
    let (status, mut text) = match result {
        Ok(text) => (200, text),
        Err(fault) => (fault.status, answer::render_error(&fault, &id)),
    };
    let faults = shared.options.faults.get();
    if status == 200
        && faults.concerns(&action)
        && let Some(end) = faults.truncate_at
        && end < text.len()
    {
        text.truncate(text.floor_char_boundary(end));
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, text).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

async fn run_request(
    shared: &Arc<ApiState>,
    request: ApiRequest,
    id: String,
) -> Result<String, ApiError> {
    shared.admit_request(&request)?;
    let faults = shared.options.faults.get();
    if faults.concerns(&request.action) {
        tokio::time::sleep(faults.latency()).await;
        if faults.broken {
            return Err(fault::internal_failure("An internal error has occurred."));
        }
    }
    let shared = Arc::clone(shared);
    // A call may wait for the databases.
    tokio::task::spawn_blocking(move || answer::answer_request(&request, &*shared.plane, &id))
        .await
        .unwrap_or_else(|e| {
            Err(fault::internal_failure(format!(
                "the control plane failed: {e}"
            )))
        })
}
