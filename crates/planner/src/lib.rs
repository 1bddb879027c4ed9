//! Plans one pass over a policy: from everything that is known to what is done next, and why not more.
//!
//! [`plan`] is pure and total: it does not await, read a clock or fail. A step that is blocked is a value that names its
//! gate. No effect is made by a decision that is not yet recorded in the status: one pass records it, and the next one
//! acts.
#![forbid(unsafe_code)]

mod advance;
mod descriptions;
mod drain;
mod epochs;
mod gate_names;
mod gates;
mod name;
pub mod policy;
mod prepared;
mod runs;
mod selection;
mod target;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod times;
mod types;
mod weights;
pub mod world;

use jiff::Timestamp;

use crate::gates::policy::check_policy;
use crate::policy::{ParsedPolicy, readable_policy};
use crate::world::World;
use dbbalance_api::status::{DbBalancePolicyStatus, PlanStatus};
use dbbalance_core::narrow::NameAction;

pub use descriptions::pods::{UntakenPods, describe_refused_method, describe_untaken_pods};
pub use drain::{DrainReport, assess_drain};
pub use epochs::addresses::recorded_addresses;
pub use epochs::open_epoch;
pub use name::{SteeredState, describe_steered};
pub use prepared::{Preparedness, assess_preparedness};
pub use runs::holds::{LastingHold, find_lasting_hold};
pub use runs::lifecycle::{Halt, halt_notice, mark_halted};
pub use times::status_time;
pub use types::{ClosedGate, Gate, Notice, Opening, Plan, PodStep, Step, TargetPlan};
pub use world::recorded_topology;

/// Plans one pass at this time.
#[must_use]
pub fn plan(world: &World, policy: &ParsedPolicy, now: Timestamp) -> Plan {
    let mut plan = Plan {
        status: world.status.clone(),
        settling: world.settling.clone(),
        open: None,
        name_action: NameAction::Keep,
        targets: Vec::new(),
        notices: Vec::new(),
        wake: None,
    };
    plan.status.observed_generation = world.policy.generation;
    if world.policy.deleting {
        advance::release_name(world, policy, now, &mut plan);
        return plan;
    }
    if !world.cluster_allowed {
        hide_cluster(&mut plan.status);
    }
    epochs::advance_epochs(world, readable_policy(policy), now, &mut plan);
    epochs::addresses::record_addresses(world, &mut plan.status);
    let shares = readable_policy(policy).balance.shares;
    epochs::classes::record_classes(world, shares, &mut plan.status);
    advance::advance_runs(world, policy, now, &mut plan);
    fill_columns(&mut plan.status, &plan.targets);
    plan
}

/// Removes what a status shows of the cluster. Once it may be shown again, the topology is a baseline.
fn hide_cluster(status: &mut DbBalancePolicyStatus) {
    status.topology = None;
    status.pending_epoch = None;
    status.balance.clear();
}

/// Returns whether the policy acts on its pods when it has to. It does not if it only observes, is suspended or being
/// deleted, has a problem, names pods that an older policy owns, or lacks a target or a right. Only policies that act count
/// for others: those that do not would hold them by words alone.
#[must_use]
pub fn is_acting(world: &World, policy: &ParsedPolicy) -> bool {
    // A pause ends by itself: with the latest time, none is left.
    let is_open = |index| check_policy(world, policy, index, Timestamp::MAX).is_ok();
    !world.policy.deleting && (0..world.targets.len()).all(is_open)
}

/// Fills the fields that columns of `kubectl get` show: `JSONPath` cannot count.
fn fill_columns(status: &mut DbBalancePolicyStatus, targets: &[TargetPlan]) {
    epochs::count_stale(status);
    let runs = status.targets.iter().filter_map(|t| t.run.as_ref());
    let runs = runs.chain(&status.history);
    status.last_run_time = runs.map(|r| r.start_time.clone()).max();
    status.plan = targets.iter().map(show_target_plan).collect();
}

fn show_target_plan(target: &TargetPlan) -> PlanStatus {
    let held = target.held.as_ref();
    // The time of the next attempt would be written again with every attempt.
    let is_attempted = |c: &&ClosedGate| matches!(c.gate, Gate::DisruptionBudget | Gate::ApiServer);
    let until = held.filter(|c| !is_attempted(c)).and_then(|c| c.until);
    PlanStatus {
        target: target.target.clone(),
        action: target.action.clone(),
        waiting_for: held.map(|h| h.gate.as_str().to_owned()),
        message: held.map(|h| h.message.clone()),
        not_before: until.map(status_time),
    }
}
