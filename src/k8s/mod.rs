//! Kubernetes access of the operator: leadership, caches and events.

pub mod events;
pub mod lease;
pub mod watch;
