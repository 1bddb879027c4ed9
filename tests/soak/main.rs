//! Long tests, by `make soak`: an RDS API that throttles for minutes or answers nonsense, and a fleet of policies
//! that must cost next to nothing while nothing happens.
//!
//! How long is set by `DBBALANCE_SOAK_THROTTLE_SECONDS` (300), `DBBALANCE_SOAK_IDLE_SECONDS` (600) and
//! `DBBALANCE_SOAK_MOVING_SECONDS` (60); `DBBALANCE_SOAK_BINARY` is another build of the operator, such as the
//! image's. Each test prints a line of JSON with what it measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod fleet;
mod throttling;

use dbbalance_testkit::api_server::KubeApiServer;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// One after the other: they share two cores, and one of them measures.
static TURN: Mutex<()> = Mutex::new(());

/// A duration that the user may set.
fn seconds(name: &str, default: u64) -> Duration {
    let set = std::env::var(format!("DBBALANCE_SOAK_{name}_SECONDS"));
    Duration::from_secs(set.map_or(default, |text| text.parse().expect("a number of seconds")))
}

#[test]
fn a_throttled_empty_or_alternating_rds_api_recycles_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    KubeApiServer::with("dbb-soak", throttling::run);
}

#[test]
fn a_quiet_fleet_costs_next_to_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    KubeApiServer::with("dbb-soak", fleet::run);
}
