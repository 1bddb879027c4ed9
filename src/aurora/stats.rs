//! The counts of polls, which metrics implement.

use jiff::Timestamp;

use super::access::SourceKey;
use super::error::ErrorClass;

/// How a poll ended, as a label.
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
    /// All readings were whole, or told for certain why there is none.
    Ok,
    /// AWS throttles.
    Throttled,
    /// AWS denies, or there are no credentials.
    Denied,
    /// AWS could not be reached, failed or refused.
    Failed,
    /// The answer was not whole, of one cluster at least.
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

/// Counts polls; metrics implement it. Called from the poller's task, so it must not block.
pub trait PollStats: Send + Sync {
    /// A poll of this source has ended, at `at`.
    fn count_poll(&self, source: &SourceKey, result: PollResult, at: Timestamp);
}

/// Counts nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStats;

impl PollStats for NoStats {
    fn count_poll(&self, _: &SourceKey, _: PollResult, _: Timestamp) {}
}
