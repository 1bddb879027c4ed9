//! The way to Aurora: reads clusters through the RDS API, and keeps on reading them.
//!
//! - [`access`] says by whose right, and which roles may be used;
//! - [`factory`] makes a source, [`rds`] asks AWS: two batched calls for up to a hundred clusters;
//! - [`validate`] says whether an answer is whole, and makes it a reading;
//! - [`poller`] asks at the right pace, one task per account role and region, through the [`bucket`];
//! - [`dns`] looks at the endpoints, as pods see them.
//!
//! It tells what was read and never acts on it: what a change means is decided in `domain` and `controller`.

pub mod access;
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
pub use cadence::Cadence;
pub use dns::{DnsConfig, DnsUpdate, DnsWatch};
pub use error::{ErrorClass, ReadingError, SourceError};
pub use poller::{PollerConfig, Pollers};
pub use snapshot::{ClusterSnapshot, ObservationState};
pub use source::{ClusterSource, SourceFactory};
pub use stats::{NoStats, PollResult, PollStats};
