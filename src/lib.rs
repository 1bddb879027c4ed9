//! `dbbalance` recycles connection pools when the topology of an Aurora cluster changes.
//!
//! One pipeline, the same on every pass, from what is observed and never from what is remembered:
//!
//! 1. `aurora`: the poller reads the cluster's members through the RDS API, and DNS is looked at as pods do.
//!    `evidence` reads which pod holds how many connections to where.
//! 2. `controller::observe`: gathers topology, policy, workloads and pods into one value.
//! 3. `controller::validate`: says what of the policy cannot be worked with, and why.
//! 4. `controller::plan`: decides, purely: epochs, stale pods, gates, the next steps.
//! 5. `controller::apply`: the only writer; each effect fenced by the lease, done by `methods`.
//! 6. `controller::report`: status when it changed, events, metrics.
//!
//! `domain` holds the values and decisions, `api` the resource, `k8s` the thin Kubernetes edge.
//! `plugin` is the same program as seen by `kubectl dbbalance`.
#![forbid(unsafe_code)]

pub mod api;
pub mod aurora;
pub mod cli;
pub mod controller;
pub mod domain;
pub mod evidence;
#[cfg(feature = "failpoints")]
pub mod failpoint;
pub mod http;
pub mod k8s;
pub mod methods;
pub mod metrics;
pub mod plugin;
pub mod run;
pub mod telemetry;
