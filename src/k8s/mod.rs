//! Kubernetes access of the operator: leadership, caches, events and steered names.

pub mod events;
pub mod lease;
pub mod steering;
pub mod watch;
