//! Faults of the API's HTTP answers, which can be changed while it runs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is wrong with the answers; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpFaults {
    /// Only answers to this action, such as `DescribeDBClusters`.
    pub action: Option<String>,
    /// Milliseconds that each answer is late.
    pub latency_ms: u64,
    /// Answers are HTTP 500, `InternalFailure`.
    pub broken: bool,
    /// Good answers end at this byte, with status 200 and a Content-Length that fits: no client sees it by HTTP.
    pub truncate_at: Option<usize>,
}

impl HttpFaults {
    /// How long answers to this action are held back.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// Is this action concerned?
    pub(super) fn concerns(&self, action: &str) -> bool {
        self.action.as_deref().is_none_or(|only| only == action)
    }
}

/// Faults that the server and whoever changes it share.
#[derive(Clone, Debug, Default)]
pub struct SharedHttpFaults(Arc<Mutex<HttpFaults>>);

impl SharedHttpFaults {
    /// What it is now.
    #[must_use]
    pub fn get(&self) -> HttpFaults {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What it is for all requests from now on.
    pub fn set(&self, faults: HttpFaults) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }
}
