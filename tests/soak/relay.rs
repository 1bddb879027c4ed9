//! A relay in front of the RDS API that counts calls, and can answer with nothing or with two truths in turn.
//!
//! Throttling is not its business: microburst, behind it, throttles in AWS's own words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// What the relay does with answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Nothing.
    Pass,
    /// Lists come back empty.
    Empty,
    /// Every second list of clusters has writers and readers swapped.
    Alternating,
}

#[derive(Debug)]
struct Inner {
    upstream: String,
    client: reqwest::Client,
    mode: AtomicU8,
    calls: AtomicU64,
    lists: AtomicU64,
}

/// A running relay; ends with its value.
#[derive(Debug)]
pub struct Relay {
    inner: Arc<Inner>,
    address: SocketAddr,
    // Ends the server when it is dropped.
    _runtime: Runtime,
}

impl Relay {
    /// Starts one, on a free port of `ip`, in the network of the calling thread.
    pub fn start(ip: &str, upstream: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let inner = Arc::new(Inner {
            upstream: upstream.to_owned(),
            client,
            mode: AtomicU8::new(Mode::Pass as u8),
            calls: AtomicU64::new(0),
            lists: AtomicU64::new(0),
        });
        let listener = runtime.block_on(TcpListener::bind((ip, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(relay).with_state(Arc::clone(&inner));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            inner,
            address,
            _runtime: runtime,
        }
    }

    /// Its address, such as `http://198.18.0.1:41234`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Another mode, from the next answer on.
    pub fn set(&self, mode: Mode) {
        self.inner.mode.store(mode as u8, Relaxed);
    }

    /// Lists of clusters that came while [`Mode::Alternating`]; every second one was swapped.
    pub fn alternated(&self) -> u64 {
        self.inner.lists.load(Relaxed)
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Relaxed)
    }
}

async fn relay(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, String), StatusCode> {
    inner.calls.fetch_add(1, Relaxed);
    let answer = inner
        .client
        .post(&inner.upstream)
        .headers(headers)
        .body(body)
        .send()
        .await
        .map_err(|_| StatusCode::BAD_GATEWAY)?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let mut text = answer.text().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    if status.is_success() {
        let mode = inner.mode.load(Relaxed);
        if mode == Mode::Empty as u8 {
            for list in ["DBClusters", "DBInstances"] {
                text = emptied(&text, list);
            }
        } else if mode == Mode::Alternating as u8
            && text.contains("<DBClusters>")
            && inner.lists.fetch_add(1, Relaxed).is_multiple_of(2)
        {
            text = swapped(&text);
        }
    }
    // The length and how it is told are for the server to say anew.
    headers.remove("content-length");
    headers.remove("transfer-encoding");
    Ok((status, headers, text))
}

/// An XML text with nothing in this list.
fn emptied(text: &str, list: &str) -> String {
    let (open, close) = (format!("<{list}>"), format!("</{list}>"));
    match (text.find(&open), text.rfind(&close)) {
        (Some(start), Some(end)) if start < end => {
            format!("{}{}", &text[..start + open.len()], &text[end..])
        }
        _ => text.to_owned(),
    }
}

/// Clusters of two members with their roles swapped.
fn swapped(text: &str) -> String {
    let tag = |value: &str| format!("<IsClusterWriter>{value}</IsClusterWriter>");
    text.replace(&tag("true"), &tag("?"))
        .replace(&tag("false"), &tag("true"))
        .replace(&tag("?"), &tag("false"))
}
