//! The counts of polls, which metrics implement.

use std::collections::HashSet;

use jiff::Timestamp;

use super::access::SourceKey;
use super::error::ErrorClass;

/// The result of a poll, as the label `result`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum PollResult {
    /// Each cluster was read completely, or AWS said for certain why it cannot be.
    Ok,
    /// AWS throttled the request.
    Throttled,
    /// AWS denied the request, or there are no credentials.
    Denied,
    /// AWS could not be reached, failed, or rejected the request.
    Failed,
    /// The answer about at least one cluster was incomplete.
    NotWhole,
}

impl PollResult {
    /// Returns the value of the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<ErrorClass> for PollResult {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Throttled => Self::Throttled,
            ErrorClass::Denied => Self::Denied,
            ErrorClass::Transient | ErrorClass::Permanent => Self::Failed,
            ErrorClass::NotWhole => Self::NotWhole,
        }
    }
}

/// Counts polls. It is called from the poller's task, so it must not block.
pub trait PollStats: Send + Sync {
    /// Counts a poll of this source that ended at `at`.
    fn count_poll(&self, source: &SourceKey, result: PollResult, at: Timestamp);

    /// Forgets all other sources: they are polled no longer.
    fn retain(&self, sources: &HashSet<SourceKey>);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStats;

impl PollStats for NoStats {
    fn count_poll(&self, _: &SourceKey, _: PollResult, _: Timestamp) {}

    fn retain(&self, _: &HashSet<SourceKey>) {}
}
