//! Reads Aurora clusters: polls the RDS API, and samples the DNS of their endpoints as pods see it.
//!
//! - [`access`] names the role and region of a cluster, and checks which roles are allowed; [`bindings`] checks which
//!   namespaces may name it.
//! - [`factory`] builds a [`source`]; [`rds`] makes two batched calls for up to a hundred clusters.
//! - [`validate`] checks that an answer is complete and turns it into a reading.
//! - [`poller`] polls, one task for each role and region, limited by [`crate::rate_limit`].
//! - [`snapshot`] is what is known of one cluster now.
//! - [`dns`] samples the endpoints.

pub mod access;
pub mod account_buckets;
pub mod bindings;
pub mod cadence;
pub mod dns;
pub mod error;
pub mod factory;
pub mod poller;
pub mod rds;
mod rds_fault;
pub mod snapshot;
pub mod source;
pub mod stats;
#[cfg(test)]
mod testing;
pub mod validate;
mod whole_body;

pub use access::{ClusterKey, RoleAllowList, RoleKey, SourceKey};
pub use bindings::{BindingVerdict, BindingsError, ClusterBindings, ClusterRequest};
pub use cadence::Cadence;
pub use dns::{DnsConfig, DnsUpdate, DnsWatch, LookRequest, LookRequester, LookUrgency};
pub use error::{ErrorClass, ReadingError, SourceError};
pub use poller::{PollerConfig, Pollers};
pub use snapshot::{ClusterSnapshot, ObservationState};
pub use source::{ClusterSource, SourceFactory};
pub use stats::{NoStats, PollResult, PollStats};
