//! What the pollers read clusters from: the RDS API in production, a fake in tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::access::SourceKey;
use super::error::{ReadingError, SourceError};
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

/// Reads clusters: the RDS API, or a fake in tests.
#[async_trait]
pub trait ClusterSource: Send + Sync {
    /// Reads these clusters in as few calls as possible. The answer has an entry for each ID.
    ///
    /// # Errors
    /// A [`SourceError`] if nothing could be read. An error of one cluster is in its entry.
    async fn read(
        &self,
        ids: &BTreeSet<ClusterId>,
    ) -> Result<BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>, SourceError>;

    /// Returns how many calls the last read made, pages included: the cadence spares the account's quota by it.
    fn count_last_calls(&self) -> u32 {
        2
    }
}

/// Builds the source for a role and a region.
#[async_trait]
pub trait SourceFactory: Send + Sync {
    /// Builds a source with fresh credentials.
    ///
    /// # Errors
    /// [`SourceError::RoleNotAllowed`] for a role that is not allowed, else why there is no source.
    async fn make_source(&self, key: &SourceKey) -> Result<Arc<dyn ClusterSource>, SourceError>;
}
