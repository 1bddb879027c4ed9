//! The plan's own types: what a pass decides for each target, and the gate that holds one.

use jiff::{SignedDuration, Timestamp};

use dbbalance_api::spec::{Method, WorkloadKind};
use dbbalance_api::status::{DbBalancePolicyStatus, Trigger};
use dbbalance_core::balance::ReaderShares;
use dbbalance_core::budget::Load;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::narrow::NameAction;
use dbbalance_core::pod::PodKey;
use dbbalance_core::stamp::{Claim, MoveCounter, Stamp};

pub use crate::gate_names::Gate;

/// What one pass decides, for the operator to apply and report.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status with all transitions that this pass decides.
    pub status: DbBalancePolicyStatus,
    /// Since when differences from the settled topology have been there.
    pub settling: SettlingChanges,
    /// A pending epoch that opens now.
    pub open: Option<Opening>,
    /// What is done with the name of `spec.dns.steering`, before anything else. Widening is exempt from every gate.
    pub name_action: NameAction,
    /// One entry for each target of the spec, in order.
    pub targets: Vec<TargetPlan>,
    /// Events to publish.
    pub notices: Vec<Notice>,
    /// When to reconcile again, if nothing happens before.
    pub wake: Option<Timestamp>,
}

impl Plan {
    /// Asks for another pass at this time, if none is due earlier.
    pub(crate) fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |w| w.min(time)));
    }
}

/// An epoch to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its number.
    pub epoch: i64,
    /// The message of its event.
    pub note: String,
}

/// One target's part of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPlan {
    /// The target's name.
    pub target: String,
    /// The next step, for `status.plan`.
    pub action: String,
    /// The first gate that holds it.
    pub held: Option<ClosedGate>,
    /// The effect to make now.
    pub step: Option<Step>,
    /// Fresh pods that get the topology annotations.
    pub annotate: Vec<PodKey>,
    /// Connections that its recycles in progress may add, this step included.
    pub in_flight: Load,
    /// What its reader pools hold of the readers, with what it moves now.
    pub shares: ReaderShares,
    /// Whether it has a run in progress that counts among those of the cluster: no outer gate holds it, and it is not a
    /// failover's.
    pub running: bool,
    /// How old a reading of its pods may be; `None` leaves it to the heartbeat.
    pub max_reading_age: Option<SignedDuration>,
    /// UIDs of pods that change now: they are read each second.
    pub watch_pods: Vec<String>,
    /// Whether DNS is sampled at the fast interval.
    pub boost_dns: bool,
}

/// An effect to make now.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Recycle pods, each by its method.
    Pods {
        /// The pods, first to last.
        pods: Vec<PodStep>,
        /// The stamp that they get.
        stamp: Stamp,
        /// Whether it is the canary's step.
        canary: bool,
        /// The key under which the method counts as verified.
        verify_key: String,
    },
    /// Stamp pods without an effect: their connections are where they should be.
    Stamp {
        /// The pods, as they were seen.
        pods: Vec<PodKey>,
        /// The stamp.
        stamp: Stamp,
    },
    /// Stamp the template of a workload.
    Rollout {
        /// Kind.
        kind: WorkloadKind,
        /// Name.
        name: String,
        /// The stamp.
        stamp: Stamp,
    },
}

/// The recycle of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodStep {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The version that the claim tests.
    pub resource_version: String,
    /// The claim to set.
    pub claim: Claim,
    /// How it is recycled: the target's method, or its fallback.
    pub method: Method,
    /// The count to write with the stamp.
    pub recycles: u32,
    /// The mark of moves to write with the claim, where connections are measured.
    pub moved: Option<MoveCounter>,
}

/// An event to publish once, with its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A first topology was taken as it is.
    Baseline(String),
    /// The status was lost; epochs are counted on from the stamps.
    StatusLost(String),
    /// A change has settled and raised an epoch.
    Settled(String),
    /// DNS has not followed a change within its timeout.
    DnsLate(String),
    /// A token was accepted.
    Requested(String),
    /// A run has started.
    RunStarted(String),
    /// The first pod came back.
    CanaryPassed(String),
    /// A run has reached its end.
    RunSucceeded(String, Vec<Trigger>),
    /// A run has spent its recycles, and connections are still uneven.
    RunUneven(String, Vec<Trigger>),
    /// A run cannot continue.
    RunHalted(String, Vec<Trigger>),
    /// A newer epoch took over.
    RunSuperseded(String, Vec<Trigger>),
    /// The stamp was removed from the template.
    RevertDetected(String),
    /// An older policy owns the pods.
    Conflict(String),
    /// Pods were recycled by the fallback.
    FallbackUsed(String),
    /// The method failed on a pod.
    RecycleFailed(String),
    /// DNS works against the weights of the readers.
    WeightsFightDns(String),
    /// The name of `spec.dns.steering` was narrowed.
    Narrowed(String),
    /// It was widened.
    Widened(String),
}

/// A gate that holds a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedGate {
    /// Which gate.
    pub gate: Gate,
    /// Why, with the arithmetic.
    pub message: String,
    /// When it opens, if that is known.
    pub until: Option<Timestamp>,
}

impl ClosedGate {
    /// A gate that opens at an unknown time.
    pub(crate) fn new(gate: Gate, message: impl Into<String>) -> Self {
        Self {
            gate,
            message: message.into(),
            until: None,
        }
    }

    /// A gate that opens at a known time.
    pub(crate) fn until(gate: Gate, message: impl Into<String>, until: Timestamp) -> Self {
        Self {
            gate,
            message: message.into(),
            until: Some(until),
        }
    }
}

/// Why a halted run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResumeCause {
    /// The policy was edited.
    Edit,
    /// The pods that failed are gone.
    FailuresGone,
    /// Its cause may have passed.
    Retry,
}

impl ResumeCause {
    /// Returns the cause in words.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Edit => "as the policy was edited",
            Self::FailuresGone => "as the pods that failed are gone",
            Self::Retry => "as what halted it may have passed",
        }
    }
}
