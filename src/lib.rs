//! The `dbbalance` operator: recycles connection pools when the topology of an Aurora cluster changes.
//!
//! Each reconcile runs the same pipeline, from what is observed and not from what is remembered:
//!
//! 1. `aurora` polls the cluster's members through the RDS API and samples DNS as pods see it;
//!    `sockets` schedules the reads of pods' sockets.
//! 2. `controller::observe` reads topology, policy, workloads and pods into one value.
//! 3. `dbbalance_planner` checks the policy and decides: epochs, stale pods, gates, the next steps.
//! 4. `controller::apply` is the only writer; each effect is fenced by the lease.
//! 5. `controller::report` writes the status when it changed, events and metrics.
//!
//! `dbbalance_api` (the resource), `dbbalance_core` (values and rules) and `dbbalance_planner` (the decision) have no
//! runtime and no I/O. `dbbalance_kube` holds the Kubernetes clients that the kubectl plugin shares.
#![forbid(unsafe_code)]

pub mod aurora;
pub mod cli;
pub mod clock;
pub mod controller;
#[cfg(feature = "failpoints")]
pub mod failpoint;
pub mod http;
pub mod k8s;
pub mod metrics;
pub mod rate_limit;
pub mod run;
pub mod sockets;
pub mod telemetry;
