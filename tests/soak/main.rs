//! Long tests, by `make soak`: an RDS API that throttles for minutes or answers nonsense, and a fleet of policies
//! that must cost next to nothing while nothing happens.
//!
//! How long is set by `DBBALANCE_SOAK_THROTTLE_SECONDS` (300), and for all fleets by `DBBALANCE_SOAK_IDLE_SECONDS` and
//! `DBBALANCE_SOAK_CHANGING_SECONDS`; `DBBALANCE_SOAK_BINARY` is another build of the operator, such as the image's. Each
//! test prints a line of JSON with what it measured. The small fleet is a test for every day.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fixture;
mod fleet;
mod throttling;

use dbbalance_testkit::api_server::KubeApiServer;
use fleet::FleetSize;
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
#[ignore = "minutes of throttling: make soak"]
fn a_throttled_empty_or_alternating_rds_api_recycles_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    KubeApiServer::with("dbb-soak", throttling::run);
}

fn run_fleet(size: FleetSize) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    KubeApiServer::with("dbb-soak", |server| fleet::run(server, size));
}

#[test]
fn a_small_fleet_costs_nothing_while_quiet_and_follows_failovers_at_the_limit() {
    run_fleet(fleet::SMALL);
}

#[test]
#[ignore = "ten minutes of quiet and a storm of 2,000 pods: make soak"]
fn a_fleet_of_1_000_policies_costs_next_to_nothing_and_follows_a_storm_at_the_limit() {
    run_fleet(fleet::LARGE);
}

#[test]
#[ignore = "a storm of 3,000 pods: make soak"]
fn a_namespace_of_60_policies_and_3_000_pods_is_followed_at_the_limit() {
    run_fleet(fleet::DENSE);
}
