//! Renders what the bench measured, for readers: `docs/bench.md`, its chart, and a section of the README.
//!
//! - [`results`] reads and writes `docs/bench/results.json`, one row per run, and summarises the runs of a case;
//! - [`page`] renders the files, with [`share_chart`], [`failover_table`] and the table of narrowed names;
//! - [`quantile`] has the one definition of medians and percentiles, which the simulator and the end-to-end tests
//!   use too.
//!
//! The bench itself (`tests/bench`) measures; nothing here does.

pub mod failover_table;
mod narrowed_table;
pub mod page;
pub mod quantile;
pub mod results;
pub mod share_chart;

use std::path::PathBuf;

/// Returns the root folder of this checkout.
#[must_use]
pub fn checkout_folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
