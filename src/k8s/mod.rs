//! The thin Kubernetes edge: clients, leadership, watches, events, and what a pod's object tells.
//!
//! Reads and writes; decides nothing about policies or pods.

pub mod events;
pub mod lease;
pub mod watch;
