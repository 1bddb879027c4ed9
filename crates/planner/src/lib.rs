//! The plan: from everything that is known to what is done next, and why not more.
//!
//! Pure and total: it never awaits, never reads a clock, never fails. What is blocked is a value
//! that names its gate. Nothing is done on a decision that is not yet recorded in the status: a
//! pass that decides records, and the next one acts.
#![forbid(unsafe_code)]

mod addresses;
mod candidates;
mod epochs;
mod gate;
mod gates;
mod life;
mod odds;
mod pending;
mod pods;
mod runs;
mod show;
mod sight;
mod steer;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod validate;
mod watch;
pub mod world;

use jiff::{SignedDuration, Timestamp};

use crate::validate::Valid;
use crate::world::World;
use dbbalance_api::spec::{Method, WorkloadKind};
use dbbalance_api::status::{DbBalancePolicyStatus, Trigger};
use dbbalance_core::budget::Load;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::stamp::{Claim, MoveCounter, Stamp};

pub use addresses::recorded_addresses;
pub use epochs::{open, recorded_topology};
pub use gate::{Gate, Held};
pub use life::halt;
pub use runs::status_time;

/// What is done next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The status with all transitions that this pass decides.
    pub status: DbBalancePolicyStatus,
    /// The memory of what is settling.
    pub settling: SettlingChanges,
    /// A pending epoch that opens now.
    pub open: Option<Opening>,
    /// One entry for each target of the spec, in order.
    pub targets: Vec<TargetPlan>,
    /// What people should hear of.
    pub notices: Vec<Notice>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Timestamp>,
}

/// An epoch to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its number.
    pub epoch: i64,
    /// What its event says.
    pub note: String,
}

/// One target's part of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetPlan {
    /// The target's name.
    pub target: String,
    /// The next step in words.
    pub action: String,
    /// The first gate that holds it.
    pub held: Option<Held>,
    /// What is done now.
    pub step: Option<Step>,
    /// Fresh pods that get the topology annotations: names and UIDs.
    pub annotate: Vec<(String, String)>,
    /// Connections that its recycles in progress may add, this step included.
    pub in_flight: Load,
    /// Whether it has a run in progress that no outer gate holds.
    pub running: bool,
    /// A reading of its pods that is no older than this is wanted, without waiting for the heartbeat.
    pub measure: Option<SignedDuration>,
    /// UIDs of pods that change now: they are read each second.
    pub closely: Vec<String>,
    /// Looks at DNS are wanted at the intense pace.
    pub look: bool,
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
        /// Names, UIDs, and the versions that were seen.
        pods: Vec<(String, String, String)>,
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

/// Something that people should hear of, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A first topology was taken as it is.
    Baseline(String),
    /// The status was lost and counted on from the stamps.
    StatusLost(String),
    /// A change has settled and raised an epoch.
    Settled(String),
    /// DNS has not followed a change in time.
    DnsLate(String),
    /// A token was taken up.
    Requested(String),
    /// A run began.
    RunStarted(String),
    /// The first pod came back.
    CanaryPassed(String),
    /// A run reached its end.
    RunSucceeded(String, Vec<Trigger>),
    /// A run has spent its recycles, and connections are still uneven.
    RunUneven(String, Vec<Trigger>),
    /// A run cannot go on.
    RunHalted(String, Vec<Trigger>),
    /// A newer epoch took over.
    RunSuperseded(String, Vec<Trigger>),
    /// Somebody took the stamp from the template.
    RevertDetected(String),
    /// An older policy owns the pods.
    Conflict(String),
    /// Pods were recycled by the fallback.
    FallbackUsed(String),
    /// The method failed on a pod.
    RecycleFailed(String),
}

/// Plans a pass.
#[must_use]
pub fn plan(world: &World, valid: &Valid, now: Timestamp) -> Plan {
    let mut plan = Plan {
        status: world.status.clone(),
        settling: world.settling.clone(),
        open: None,
        targets: Vec::new(),
        notices: Vec::new(),
        wake: None,
    };
    plan.status.observed_generation = world.policy.generation;
    if world.policy.deleting {
        return plan;
    }
    epochs::advance(world, now, &mut plan);
    addresses::record(world, &mut plan.status);
    runs::advance(world, valid, now, &mut plan);
    summarise(&mut plan);
    plan
}

impl Plan {
    /// Asks for another look at this time, if none is due earlier.
    fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |w| w.min(time)));
    }
}

/// The column of stale pods.
fn count_stale(status: &mut DbBalancePolicyStatus) {
    let (pods, stale) = status
        .targets
        .iter()
        .fold((0, 0), |(p, s), t| (p + t.pods, s + t.stale));
    status.stale = status.epoch.map(|_| format!("{stale}/{pods}"));
}

/// The ready-made columns: `JSONPath` cannot count.
fn summarise(plan: &mut Plan) {
    let status = &mut plan.status;
    count_stale(status);
    status.last_run_time = status
        .targets
        .iter()
        .filter_map(|t| t.run.as_ref().map(|r| r.start_time.clone()))
        .chain(status.history.iter().map(|r| r.start_time.clone()))
        .max();
    status.plan = plan
        .targets
        .iter()
        .map(|t| dbbalance_api::status::PlanStatus {
            target: t.target.clone(),
            action: t.action.clone(),
            waiting_for: t.held.as_ref().map(|h| h.gate.as_str().to_owned()),
            message: t.held.as_ref().map(|h| h.message.clone()),
            // The time of the next try would be written anew with every try.
            not_before: t
                .held
                .as_ref()
                .filter(|h| !matches!(h.gate, Gate::DisruptionBudget | Gate::ApiServer))
                .and_then(|h| h.until)
                .map(gates::to_second),
        })
        .collect();
}
