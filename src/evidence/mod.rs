//! Evidence: decides when which pod's sockets are read, and keeps what was read.
//!
//! One pod is read by `dbbalance_kube::sockets`; what the readings mean is judged in `dbbalance_core::evidence`.

pub mod probe;

pub use probe::{Freshness, Pace, Probe, ProbeConfig, TargetKey};
