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
#[cfg(test)]
mod testing;
pub mod validate;
mod whole_body;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

pub use access::{RoleAllowList, RoleKey, SourceKey};
pub use cadence::Cadence;
pub use dns::{DnsConfig, DnsUpdate, DnsWatch};
pub use error::{ErrorClass, ReadingError, SourceError};

pub use poller::{Clock, ClusterKey, NoStats, PollResult, PollStats, PollerConfig, Pollers};
pub use snapshot::{ClusterSnapshot, Observation};

use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

/// Something that can tell about clusters: AWS, or a test.
#[async_trait]
pub trait ClusterSource: Send + Sync {
    /// Reads all of these clusters in as few calls as can be. The answer has an entry for each asked id.
    ///
    /// # Errors
    /// A [`SourceError`] if nothing could be read; what concerns one cluster is in its own entry.
    async fn read(
        &self,
        ids: &BTreeSet<ClusterId>,
    ) -> Result<BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>, SourceError>;
}

/// Makes the source for an account role and a region.
#[async_trait]
pub trait SourceFactory: Send + Sync {
    /// Makes it anew, with credentials fetched anew.
    ///
    /// # Errors
    /// [`SourceError::RoleNotAllowed`] for a role that may not be used, else what kept it from being made.
    async fn make_source(&self, key: &SourceKey) -> Result<Arc<dyn ClusterSource>, SourceError>;
}
