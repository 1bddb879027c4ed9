//! What the integration tests of the operator share.
//!
//! - [`suite`] starts one testbed for a test program, and gives each test a namespace and a cluster of its own;
//! - [`api_server`] starts a testbed that has an API server and no node;
//! - [`operator`] runs the operator as a process; [`plugin_program`] finds the built kubectl plugin;
//! - [`policies`], [`workloads`] and [`pool_apps`] make objects, and read what became of them;
//! - [`pod_watch`], [`audit`] and [`sockets`] observe from outside what the operator did; [`database_view`] judges what
//!   the databases themselves have seen;
//! - [`tcp_relay`] cuts connections, [`rds_relay`] records and distorts answers of the RDS API, [`pgbouncer`] puts
//!   a pooler in front of a database; [`http_client`] calls pods;
//! - [`wait`] waits for conditions with a deadline.
//!
//! A failure panics, as in a test: nothing here returns an error to handle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::return_self_not_must_use
)]

pub mod api_server;
pub mod audit;
pub mod database_view;
pub mod http_client;
pub mod operator;
pub mod pgbouncer;
pub mod plugin_program;
pub mod pod_watch;
pub mod policies;
pub mod pool_apps;
pub mod rds_relay;
pub mod sockets;
pub mod suite;
pub mod tcp_relay;
pub mod wait;
pub mod workloads;

use std::path::PathBuf;

pub use suite::{LIMIT, TestCase, TestSuite};
pub use wait::{POLL_INTERVAL, wait_until};

/// Returns a path in this checkout.
pub fn checkout_path(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}
