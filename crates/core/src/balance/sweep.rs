//! Bounds the recycles of pods whose misplaced connections no change of the topology explains.
//!
//! Such a connection can be one that every recycle brings back: a driver's monitor, a lock, a listener. Two pods go first.
//! If they, or their successors, hold misplaced connections again, the cause is incurable, and no other pod is touched for
//! it. Counted is on the target and not on pods: an evicted pod leaves no annotation.

use jiff::{SignedDuration, Timestamp};

use super::inputs::Inputs;
use super::pod_shares::{PodShares, is_usable};
use super::verdict::add_saturating;
use dbbalance_api::rebalance_state::{Incurable, IncurableCause, RebalanceState, Sweep};

/// How many pods go first, and how many may come back misplaced before the cause is incurable.
const FIRST: u32 = 2;
/// How many recycles each pod may take after a change besides its first: DNS may have sent it to the old writer.
const REDOS_AFTER_CHANGE: u32 = 2;
/// How long the successors of evicted pods are waited for before those that are there are judged.
const SUCCESSORS_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// After this time without a recycle, what has happened says nothing any more.
const FORGOTTEN_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// How many pods may go whose misplaced connections no change of the topology explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowance {
    /// So many.
    Some(u32),
    /// None until those that went are back and measured.
    Wait,
    /// None: it does not help, or the user has switched it off.
    None(Option<Incurable>),
}

/// Returns how many pods may go, and records the cause if recycles have shown that they do not cure it.
pub(super) fn allow_repeats(
    inputs: &Inputs,
    fleet: &PodShares,
    memory: &mut RebalanceState,
) -> Allowance {
    let forgotten = |s: &mut Sweep| inputs.now < add_saturating(s.at, FORGOTTEN_AFTER);
    memory.sweep = memory.sweep.take_if(|s| forgotten(s));
    let rows = fleet.rows.iter().filter(|r| r.is_broken());
    let broken = rows.filter(|r| !r.pod.is_explained()).count();
    let broken = u32::try_from(broken).unwrap_or(u32::MAX);
    let pods = u32::try_from(fleet.pods).unwrap_or(u32::MAX);
    if broken > 0 {
        let sweep = memory.sweep.get_or_insert(Sweep {
            broken,
            recycled: 0,
            fleet: pods,
            at: inputs.now,
        });
        sweep.broken = sweep.broken.max(broken);
    }
    let known = memory
        .incurable
        .filter(|i| i.cause == IncurableCause::Misplaced);
    if known.is_some() {
        return Allowance::None(known);
    }
    let Some(sweep) = memory.sweep.filter(|_| broken > 0) else {
        return Allowance::Some(0);
    };
    let recycled = sweep.recycled;
    if inputs.recent_change {
        let left = pods
            .saturating_mul(REDOS_AFTER_CHANGE)
            .saturating_sub(recycled);
        return if left == 0 {
            give_up(memory, recycled)
        } else {
            Allowance::Some(left)
        };
    }
    if !inputs.settings.drift_enabled {
        return Allowance::None(None);
    }
    if recycled < FIRST {
        return Allowance::Some(FIRST - recycled);
    }
    if !is_judgeable(inputs, fleet, &sweep) {
        return Allowance::Wait;
    }
    let cured = sweep.broken.saturating_sub(broken);
    let bound = sweep.broken.saturating_mul(5).saturating_add(2);
    if recycled.saturating_sub(cured) >= FIRST || recycled >= bound {
        return give_up(memory, recycled);
    }
    Allowance::Some(bound - recycled)
}

fn give_up(memory: &mut RebalanceState, recycled: u32) -> Allowance {
    let found = Incurable {
        cause: IncurableCause::Misplaced,
        recycled,
    };
    memory.incurable = Some(found);
    Allowance::None(Some(found))
}

/// Whether all that went is back, and every pod was measured since.
fn is_judgeable(inputs: &Inputs, fleet: &PodShares, sweep: &Sweep) -> bool {
    let late = inputs.now >= add_saturating(sweep.at, SUCCESSORS_WITHIN);
    let is_short = u32::try_from(fleet.pods).unwrap_or(u32::MAX) < sweep.fleet;
    let settles = inputs.pods.iter().any(|p| p.in_flight);
    let is_read = |at: Option<Timestamp>| at.is_some_and(|at| at > sweep.at);
    let mut rows = fleet.rows.iter();
    let measured = fleet.rows.len() == fleet.pods
        && rows.all(|r| is_usable(inputs, r.pod) && is_read(r.pod.read_at));
    (measured && !settles && !is_short) || late
}

/// Counts recycles that are about to be taken of pods whose misplaced connections no change of the topology explains, of a target with so
/// many pods. It must be recorded before they are taken.
pub fn count_repeats(memory: &mut RebalanceState, taken: u32, pods: u32, now: Timestamp) {
    if taken == 0 {
        return;
    }
    if let Some(sweep) = &mut memory.sweep {
        sweep.recycled = sweep.recycled.saturating_add(taken);
        sweep.fleet = pods;
        sweep.at = now;
    }
}
