//! The reasons of the condition `Prepared`: whether a failover that came now would be carried through.

/// Why the condition `Prepared` is as it is. The label of the metric `policies_unprepared`.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum PreparedReason {
    /// True: nothing would hold a failover.
    Prepared,
    /// True: the first pod shows first that the method works.
    MethodNotVerified,
    /// True: a failover is not held, but other runs are, as no limit is known for a method that surges.
    BudgetUnknown,
    /// True: a failover is not held, but no step of another run fits the budget.
    OnlyFailoversFit,
    /// False: `mode: Observe`.
    Observe,
    /// False: `suspend: true`.
    Suspended,
    /// False: `pause-until`.
    Paused,
    /// False: `triggers.failover.enabled: false`.
    FailoverDisabled,
    /// False: the policy has a problem.
    InvalidSpec,
    /// False: an older policy owns the pods.
    TargetConflict,
    /// False: the workload does not exist.
    TargetNotFound,
    /// False: the operator has not been granted what the policy needs in its namespace.
    NotGranted,
    /// False: the method recycles none of the pods, or not all.
    MethodRefused,
    /// False: the only pod may not be evicted.
    LonePod,
    /// False: a `PodDisruptionBudget` refuses every eviction, whatever the health of the pods is.
    DisruptionBudgetAllowsNone,
    /// False: the Secret of a hook's header cannot be read, or has no such value.
    HeaderSecretUnreadable,
    /// False: a rollout that does not end by itself is in the way.
    RolloutStuck,
    /// False: not even the smallest step fits the budget.
    BudgetNeverFits,
    /// False: connections are to be measured, and readings have said nothing for minutes.
    EvidenceSaysNothing,
    /// False: DNS answers nothing, and the policy holds until it does.
    DnsUnanswered,
    /// Unknown: the last readings of the topology failed.
    TopologyNotCurrent,
    /// Unknown: the cluster is stopping, stopped or starting.
    ClusterStopped,
    /// Unknown: the policy has not been planned yet.
    Pending,
}

impl PreparedReason {
    /// Returns the word that the condition shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
