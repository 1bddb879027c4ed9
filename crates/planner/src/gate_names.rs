//! The names of the gates, in the order in which they are checked.

/// A condition that must hold before a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// `mode: Observe`.
    Observe,
    /// `suspend: true`.
    Suspended,
    /// `pause-until`.
    Paused,
    /// The policy has a problem.
    InvalidSpec,
    /// An older policy owns the pods.
    TargetConflict,
    /// The workload does not exist.
    TargetNotFound,
    /// The last readings of the topology failed.
    TopologyNotCurrent,
    /// A writer change is settling.
    Settle,
    /// DNS has not followed a settled change yet, or does not lead to where connections are missing.
    Dns,
    /// A change has settled, and its epoch opens in the next pass.
    EpochNotOpen,
    /// A window.
    Window,
    /// The cool-down after the last run.
    Cooldown,
    /// Too many runs in an hour.
    HourlyLimit,
    /// Readers come and go.
    Flapping,
    /// Connections are not measured well enough to act on.
    Evidence,
    /// The workload is paused, in a rollout, or not complete.
    TargetNotSettled,
    /// The method is refused for this workload.
    Refused,
    /// The connection budget.
    Budget,
    /// No limit is known.
    BudgetUnknown,
    /// The pace within a run, and of runs on a cluster.
    Pacing,
    /// The first pod has not come back yet.
    Canary,
    /// A `PodDisruptionBudget`.
    DisruptionBudget,
    /// The API server refused the effect for another reason that passes.
    ApiServer,
    /// The run has halted.
    Halted,
}

impl Gate {
    /// All gates.
    pub const ALL: [Self; 24] = [
        Self::Observe,
        Self::Suspended,
        Self::Paused,
        Self::InvalidSpec,
        Self::TargetConflict,
        Self::TargetNotFound,
        Self::TopologyNotCurrent,
        Self::Settle,
        Self::Dns,
        Self::EpochNotOpen,
        Self::Window,
        Self::Cooldown,
        Self::HourlyLimit,
        Self::Flapping,
        Self::Evidence,
        Self::TargetNotSettled,
        Self::Refused,
        Self::Budget,
        Self::BudgetUnknown,
        Self::Pacing,
        Self::Canary,
        Self::DisruptionBudget,
        Self::ApiServer,
        Self::Halted,
    ];

    /// Returns the word in `status.plan` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "Observe",
            Self::Suspended => "Suspended",
            Self::Paused => "Paused",
            Self::InvalidSpec => "InvalidSpec",
            Self::TargetConflict => "TargetConflict",
            Self::TargetNotFound => "TargetNotFound",
            Self::TopologyNotCurrent => "TopologyNotCurrent",
            Self::Settle => "Settle",
            Self::Dns => "DNS",
            Self::EpochNotOpen => "EpochNotOpen",
            Self::Window => "Window",
            Self::Cooldown => "Cooldown",
            Self::HourlyLimit => "HourlyLimit",
            Self::Flapping => "Flapping",
            Self::Evidence => "Evidence",
            Self::TargetNotSettled => "TargetNotSettled",
            Self::Refused => "Refused",
            Self::Budget => "Budget",
            Self::BudgetUnknown => "BudgetUnknown",
            Self::Pacing => "Pacing",
            Self::Canary => "Canary",
            Self::DisruptionBudget => "DisruptionBudget",
            Self::ApiServer => "APIServer",
            Self::Halted => "Halted",
        }
    }

    /// Whether only the pace holds: the progress deadline keeps running.
    #[must_use]
    pub const fn is_pace(self) -> bool {
        matches!(self, Self::Pacing | Self::Canary)
    }
}
