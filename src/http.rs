//! Serves metrics, liveness and readiness.
//!
//! The operator is live while its lease loop runs, and ready as soon as its caches have synced. A standby is ready too,
//! or a rolling update would never end.

use std::net::SocketAddr;
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
use tokio::time::Instant;
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
/// # Errors
/// When the address cannot be bound.
pub async fn bind_listener(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| HttpError::Bind { address, source })
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
    let pause = Instant::now().saturating_duration_since(state.leadership.last_tick());
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use tokio::sync::watch;

    use super::*;
    use crate::k8s::lease::LeaseState;

    fn lease() -> LeaseConfig {
        LeaseConfig {
            namespace: "system".to_owned(),
            name: "dbbalance".to_owned(),
            identity: "a".to_owned(),
            duration: Duration::from_secs(15),
            renew: Duration::from_secs(2),
        }
    }

    /// The state of a replica that leads or stands by.
    fn state(leads: bool) -> (HttpState, Readiness) {
        let (_, claim) = watch::channel(LeaseState {
            holder: leads.then(|| "a".into()),
            valid_until: Instant::now() + Duration::from_hours(1),
        });
        let ready = Readiness::default();
        let state = HttpState::new(
            Arc::new(Metrics::new()),
            Leadership::from_states("a", claim),
            ready.clone(),
            &lease(),
        );
        (state, ready)
    }

    #[tokio::test]
    async fn a_standby_is_ready_when_its_caches_have_synced() {
        let (state, ready) = state(false);
        let asked = || get_readyz(State(state.clone()));
        assert_eq!(asked().await.0, StatusCode::SERVICE_UNAVAILABLE);
        ready.set(true);
        assert_eq!(asked().await.0, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_loop_that_stands_still_is_not_live() {
        let (state, _) = state(true);
        assert_eq!(get_healthz(State(state.clone())).await.0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(30)).await;
        let hung_api_server = get_healthz(State(state.clone())).await;
        assert_eq!(hung_api_server.0, StatusCode::OK);
        tokio::time::advance(Duration::from_secs(30)).await;
        let (code, said) = get_healthz(State(state)).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert!(said.contains("60 s"), "{said}");
    }

    #[tokio::test]
    async fn metrics_are_served_and_the_server_ends_when_told() {
        let (state, _) = state(true);
        let listener = bind_listener(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve_http(listener, state, stop.clone()));
        let answer = reqwest::get(format!("http://{address}/metrics"))
            .await
            .unwrap();
        assert_eq!(answer.headers()["content-type"], OPEN_METRICS);
        let page = answer.text().await.unwrap();
        assert!(page.contains("dbbalance_leader 1"));
        assert!(page.ends_with("# EOF\n"));
        stop.cancel();
        served.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = bind_listener(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let error = bind_listener(first.local_addr().unwrap())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("--listen-address"));
    }
}
