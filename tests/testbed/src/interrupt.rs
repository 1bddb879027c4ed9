//! Ctrl-C as a value: a flag that every wait checks, so that an interrupted `up` can clean up after itself.
//!
//! Only programs turn it on. In other test processes signals keep their usual meaning.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

fn interrupt_flag() -> &'static Arc<AtomicBool> {
    FLAG.get_or_init(Arc::default)
}

/// Makes these signals set the flag instead of ending the process.
pub fn catch_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(interrupt_flag()))
            .context("cannot catch signals")?;
    }
    Ok(())
}

/// Reports whether such a signal has arrived.
#[must_use]
pub fn is_interrupted() -> bool {
    interrupt_flag().load(Ordering::Relaxed)
}
