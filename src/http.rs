//! Serves metrics, liveness and readiness.
//!
//! The operator is live while its lease loop runs or has not started yet, and ready as soon as its caches have synced. A standby is ready too,
//! or a rolling update would never end.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::k8s::lease::{Leadership, LeaseConfig};
use crate::metrics::Metrics;

/// The content type of `OpenMetrics` 1.0, by which Prometheus selects its parser.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Added to the longest pause of a live lease loop, for a machine under load.
const SLACK: Duration = Duration::from_secs(10);

/// Describes why metrics and probes cannot be served.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: is it in use, or the port privileged? (--listen-address)")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The listener failed.
    #[error("cannot serve metrics and probes")]
    Serve(#[source] std::io::Error),
}

/// Whether all caches have synced. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Sets whether the caches have synced; false again on shutdown.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The sources of the answers.
#[derive(Clone, Debug)]
pub struct HttpState {
    metrics: Arc<Metrics>,
    leadership: Leadership,
    ready: Readiness,
    tick_limit: Duration,
}

impl HttpState {
    /// Returns the state; `lease` limits how long the lease loop may take.
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        leadership: Leadership,
        ready: Readiness,
        lease: &LeaseConfig,
    ) -> Self {
        Self {
            metrics,
            leadership,
            ready,
            tick_limit: lease.longest_pause() + SLACK,
        }
    }
}

/// Binds the address, so that a wrong one is reported at start.
///
/// `[::]` serves IPv4 as well, so one default fits clusters of either family. Where the kernel has no IPv6, all IPv4
/// addresses are bound instead.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind_listener(address: SocketAddr) -> Result<TcpListener, HttpError> {
    let bound = match TcpListener::bind(address).await {
        Err(error) if is_ipv6_absent(&error) && is_any_ipv6(address) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| HttpError::Bind { address, source })
}

fn is_any_ipv6(address: SocketAddr) -> bool {
    address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

/// Whether the kernel was built or started without IPv6 (`EAFNOSUPPORT`), or has it switched off (`EADDRNOTAVAIL`).
fn is_ipv6_absent(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Serves until `shutdown` is cancelled, then finishes the requests in progress.
///
/// # Errors
/// When the listener fails.
pub async fn serve_http(
    listener: TcpListener,
    state: HttpState,
    shutdown: CancellationToken,
) -> Result<(), HttpError> {
    axum::serve(listener, build_router(state))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
        .map_err(HttpError::Serve)
}

fn build_router(state: HttpState) -> Router {
    Router::new()
        .route("/metrics", get(get_metrics))
        .route("/healthz", get(get_healthz))
        .route("/readyz", get(get_readyz))
        .with_state(state)
}

async fn get_metrics(State(state): State<HttpState>) -> Response {
    match state.metrics.encode(state.leadership.is_leading()) {
        Ok(page) => ([(CONTENT_TYPE, OPEN_METRICS)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn get_healthz(State(state): State<HttpState>) -> (StatusCode, String) {
    // The keeper starts after the caches have synced, which may take minutes; the startup probe bounds that.
    let pause = state
        .leadership
        .last_tick()
        .map_or(Duration::ZERO, |tick| tick.elapsed());
    if pause <= state.tick_limit {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        let said = format!("the lease loop has not run for {} s\n", pause.as_secs());
        (StatusCode::SERVICE_UNAVAILABLE, said)
    }
}

async fn get_readyz(State(state): State<HttpState>) -> (StatusCode, &'static str) {
    if state.ready.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the caches have not synced yet\n",
        )
    }
}

#[cfg(test)]
mod tests;
