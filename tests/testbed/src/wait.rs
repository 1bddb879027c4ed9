//! Waits for a condition, with a deadline: the only place of the crate that sleeps.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::interrupt;

/// Short enough not to add to a start that is measured in seconds, long enough not to steal a core of two.
const POLL: Duration = Duration::from_millis(40);

/// Calls `probe` until it gives a value. An error of the probe ends the wait at once: return `Ok(None)` for
/// "not yet". Ends early when the user has interrupted the program.
pub fn poll_until<T>(
    what: &str,
    limit: Duration,
    probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    poll_with(what, limit, true, probe)
}

/// The same for cleaning up, which an interrupt must not end.
pub fn poll_uninterrupted<T>(
    what: &str,
    limit: Duration,
    probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    poll_with(what, limit, false, probe)
}

fn poll_with<T>(
    what: &str,
    limit: Duration,
    interruptible: bool,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if interruptible && interrupt::is_interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        std::thread::sleep(POLL);
    }
}
