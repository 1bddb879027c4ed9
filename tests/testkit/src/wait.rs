//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

use dbbalance_testbed::{interrupt, wait};

/// How often a condition is probed: short beside what is measured, and no load.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until `probe` returns a value, and returns it.
///
/// # Panics
/// When `limit` has passed, or when the run is interrupted.
pub async fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(!interrupt::is_interrupted(), "interrupted");
        assert!(
            Instant::now() < deadline,
            "{what}: not within {} s",
            limit.as_secs()
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Waits until `probe` returns true, without a runtime.
///
/// # Panics
/// When `limit` has passed, or when the run is interrupted.
pub fn wait_until_blocking(what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
    wait::poll_until(what, limit, || Ok(probe().then_some(()))).unwrap();
}
