//! The wall clock, injected so that tests decide what time it is.

use std::sync::Arc;

use jiff::Timestamp;

/// Returns the current time. Production code passes `Timestamp::now`.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
