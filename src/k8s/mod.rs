//! The thin Kubernetes edge: clients, leadership, watches, events.
//!
//! Reads and writes; decides nothing about policies or pods.

pub mod clients;
pub mod events;
pub mod exec;
pub mod lease;
pub mod watch;
