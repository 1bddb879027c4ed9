//! Decides for one target: brings the remembered state up to date, then applies the rules in order.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::inputs::{Inputs, Reach};
use super::misplaced::select_misplaced;
use super::others::at_places;
use super::pod_shares::PodShares;
use super::reader_set::ReaderSet;
use super::rebalance::{self, RebalanceStep};
use super::selection::{are_others_stuck, is_stuck};
use super::shares::{OtherSums, ShareStats, compute_share_stats};
use super::told::find_batch_receiver;
use super::verdict::{BalanceFigures, BalanceVerdict, Decision, Unknown, Wait, add_saturating};
use crate::topology::InstanceId;
use dbbalance_api::rebalance_state::{
    Episode, GateRecord, GaveUpReason, IncurableCause, RebalanceState,
};

/// How long a decision that waits for evidence or lookups trusts them to arrive on their own before it is made again.
const RETRY: SignedDuration = SignedDuration::from_secs(5);

/// Decides, for one target, whether its connections are where they should be, and which pods are recycled now.
///
/// Total and deterministic: every input has an answer. Fed with its own memory and an unchanged world it moves
/// nothing more.
#[must_use]
pub fn decide_balance(inputs: &Inputs) -> Decision {
    let mut memory = refresh_state(inputs);
    let fleet = match PodShares::from_inputs(inputs) {
        Ok(fleet) => fleet,
        Err(reason) => return decide_unknown(reason, memory, inputs),
    };
    let judged = judge_cluster(inputs, &fleet);
    let steered = judge_own_part(inputs, &fleet, &inputs.others.expected);
    let sweep = select_misplaced(inputs, &fleet, &mut memory);
    let RebalanceStep {
        moves,
        wait,
        wake,
        measure,
        look,
        unnamed,
        receiver,
    } = rebalance::plan_rebalance(inputs, &fleet, &steered, &mut memory, sweep.is_open);
    let figures = judged.figures;
    let broken = figures.misplaced.wrong_role + figures.misplaced.no_member;
    let verdict = if figures.misplaced.is_none() && judged.is_even {
        BalanceVerdict::Balanced {
            figures,
            limited_by: judged.limited_by,
        }
    } else {
        BalanceVerdict::Unbalanced { figures }
    };
    let second = add_saturating(inputs.now, SignedDuration::from_secs(1));
    let wake = if sweep.is_open { Some(second) } else { wake };
    // An epoch's open time can lie a second in the future.
    let event = inputs.event.filter(|at| *at > inputs.now);
    Decision {
        verdict,
        is_done: broken == 0 && steered.is_even,
        wait: match sweep.wait {
            // What is done about the excess says more.
            Some(incurable @ Wait::Incurable(_)) => wait.or(Some(incurable)),
            waits => waits.or(wait),
        },
        wake: wake.into_iter().chain(event).min(),
        measure: measure || sweep.measure,
        look: look || sweep.is_open,
        urgent: sweep.pods,
        has_open_sweep: sweep.is_open,
        repeats: sweep.repeats,
        moves,
        receiver,
        unnamed,
        memory,
    }
}

/// Computes the figures alone: shares, band and misplaced connections, regardless of how old the evidence is.
///
/// # Errors
/// Returns why nothing can be concluded from this evidence.
pub fn compute_figures(inputs: &Inputs) -> Result<BalanceFigures, Unknown> {
    let fleet = PodShares::from_inputs(inputs)?;
    Ok(judge_cluster(inputs, &fleet).figures)
}

/// Computes how even the readers are, and whether anybody could make them more even.
fn judge_cluster(inputs: &Inputs, fleet: &PodShares) -> ShareStats {
    let others = inputs.others;
    let smallest = at_places(&others.smallest, &fleet.places);
    let movable = smallest.iter().copied().filter(|n| *n > 0);
    let sums = OtherSums {
        held: at_places(&others.measured, &fleet.places),
        unit: movable.min(),
    };
    compute_share_stats(fleet, &sums, inputs.settings, |band, held| {
        is_stuck(&fleet.rows, band, held) && are_others_stuck(&smallest, band, held)
    })
}

/// Computes how even the readers are with what others hold, and whether a move of the target's own pods would make them
/// more even.
pub(super) fn judge_own_part(
    inputs: &Inputs,
    fleet: &PodShares,
    others: &BTreeMap<InstanceId, u32>,
) -> ShareStats {
    let sums = OtherSums {
        held: at_places(others, &fleet.places),
        unit: None,
    };
    compute_share_stats(fleet, &sums, inputs.settings, |band, held| {
        is_stuck(&fleet.rows, band, held)
    })
}

/// Returns the remembered state, brought up to date with topology, event, DNS answers and time.
fn refresh_state(inputs: &Inputs) -> RebalanceState {
    let mut memory = inputs.memory.clone();
    if memory.scope != inputs.scope {
        inputs.scope.clone_into(&mut memory.scope);
        memory.sweep = None;
        memory.missed = 0;
        memory.failures = 0;
        if memory.incurable.take().is_some() {
            memory.rest_until = None;
            memory.gave_up = None;
        }
    }
    let fingerprint = inputs.topology.fingerprint().0;
    if memory.fingerprint != fingerprint {
        memory.fingerprint = fingerprint;
        memory.seen_in_dns.clear();
        memory.batch = None;
        memory.drift_since = None;
        // An episode continues towards the new readers, with a new count. What opens one is the change's epoch.
        memory.episode = memory.episode.map(|_| Episode::new(inputs.now));
        memory.weights = inputs.weights.key();
    }
    let weights = inputs.weights.key();
    if memory.weights != weights {
        memory.weights = weights;
        if !is_out_of_reach(&memory) {
            open_episode(&mut memory, inputs.now);
        }
    }
    if inputs.event > memory.event && inputs.event.is_some_and(|at| at <= inputs.now) {
        memory.event = inputs.event;
        // A deploy changes nothing about what recycles could not cure.
        if !is_out_of_reach(&memory) {
            open_episode(&mut memory, inputs.now);
        }
    }
    if memory
        .record
        .dropped_until
        .is_some_and(|until| until <= inputs.now)
    {
        memory.record = GateRecord::default();
    }
    if inputs.reach != Reach::Unseen {
        let readers = inputs.topology.readers.iter();
        let readers: Vec<InstanceId> = readers.map(|r| r.instance.clone()).collect();
        let answered = inputs
            .looks
            .iter()
            .filter_map(|look| look.instance.as_ref());
        let seen = memory.seen_in_dns.iter().map(String::as_str);
        let named = ReaderSet::from_names(&readers, seen.chain(answered.map(|id| id.0.as_str())))
            .to_names(&readers);
        let is_new = named.len() > memory.seen_in_dns.len();
        memory.seen_in_dns = named;
        let reason = memory.gave_up.map(|g| g.reason);
        if is_new && reason == Some(GaveUpReason::ReaderUnnamed) {
            memory.episode = Some(Episode::new(inputs.now));
            memory.rest_until = None;
            memory.gave_up = None;
        }
    }
    memory
}

fn open_episode(memory: &mut RebalanceState, now: Timestamp) {
    memory.episode = Some(Episode::new(now));
    memory.drift_since = None;
    memory.rest_until = None;
    memory.gave_up = None;
}

/// Whether recycles have shown that they do not reach the readers that have too few connections.
pub(super) fn is_out_of_reach(memory: &RebalanceState) -> bool {
    let found = memory.incurable;
    found.is_some_and(|i| i.cause == IncurableCause::NeverReceives)
}

/// Returns a decision that moves nothing, because the evidence is inconclusive.
fn decide_unknown(reason: Unknown, memory: RebalanceState, inputs: &Inputs) -> Decision {
    // Another measurement only helps if reads have failed.
    let measure = matches!(reason, Unknown::EvidencePartial { .. }) && memory.episode.is_some();
    Decision {
        verdict: BalanceVerdict::Unknown { reason },
        is_done: false,
        urgent: vec![],
        has_open_sweep: false,
        repeats: vec![],
        moves: vec![],
        // The pods of a batch are on their way, whatever the evidence says meanwhile.
        receiver: inputs.name.and_then(|_| find_batch_receiver(&memory)),
        wait: None,
        wake: measure.then(|| add_saturating(inputs.now, RETRY)),
        measure,
        look: false,
        unnamed: vec![],
        memory,
    }
}
