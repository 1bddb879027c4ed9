//! What the pollers read clusters from: the RDS API in production, a fake in tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::access::SourceKey;
use super::error::{ReadingError, SourceError};
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
