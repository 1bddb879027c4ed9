//! The values of labels.

use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::spec::Method;
use dbbalance_api::status::{RunResult, Trigger};
use dbbalance_core::evidence::UnreadableReason;

/// The result of the recycle of one pod, as observed on the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
pub enum RecycleResult {
    /// The pod is fresh.
    Fresh,
    /// The method failed on it.
    Failed,
}

impl RecycleResult {
    /// Returns the value of the label `result`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What is written on a steered name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::VariantArray)]
pub enum NameWriteKind {
    /// It is led to one instance.
    Narrow,
    /// It is led to Aurora's own answer.
    Widen,
}

impl NameWriteKind {
    /// Returns the value of the label `action`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The results of a write on a name: done, and not.
pub(super) const NAME_RESULTS: [&str; 2] = ["Done", "Failed"];
pub(super) const TRIGGERS: [Trigger; 7] = [
    Trigger::ReaderAdded,
    Trigger::ReaderRemoved,
    Trigger::Failover,
    Trigger::Replaced,
    Trigger::Manual,
    Trigger::Imbalance,
    Trigger::Drain,
];
pub(super) const RESULTS: [RunResult; 4] = [
    RunResult::Succeeded,
    RunResult::Halted,
    RunResult::Superseded,
    RunResult::Uneven,
];
pub(super) const METHODS: [Method; 5] = [
    Method::Signal,
    Method::Http,
    Method::Evict,
    Method::Rollout,
    Method::Annotate,
];
pub(super) const STATUSES: [ConditionStatus; 3] = [
    ConditionStatus::True,
    ConditionStatus::False,
    ConditionStatus::Unknown,
];
/// The label of a read that succeeded.
pub(super) const READ: &str = "Read";
/// Why a read failed. Reasons that are known without a read are not results of one.
pub(super) const READ_FAILURES: [UnreadableReason; 10] = [
    UnreadableReason::NotGranted,
    UnreadableReason::NoReader,
    UnreadableReason::NotRunning,
    UnreadableReason::TableTooLarge,
    UnreadableReason::Garbled,
    UnreadableReason::Timeout,
    UnreadableReason::Connection,
    UnreadableReason::ApiServerBusy,
    UnreadableReason::ApiError,
    UnreadableReason::Gone,
];
pub(super) const OUTCOMES: [&str; 4] = ["Done", "Blocked", "Gone", "Failed"];
