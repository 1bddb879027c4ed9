//! Moves the excess: an episode moves what a reader has too much of, batch by batch, until the shares are even.
//!
//! Each batch settles and is measured before the next; there is no fixed interval. Which pods may be taken is decided
//! in `candidates`, which of them make up a batch in `selection`, whether DNS serves the right readers in `dns_gate`.

use jiff::{SignedDuration, Timestamp};

use super::candidates::{Eligible, candidates_behind_gate, candidates_without_gate, eligible_pods};
use super::decide::{is_out_of_reach, judge_own_part};
use super::dns_gate::{RecentAnswers, required_share, score_batch};
use super::inputs::{Inputs, NameLead, Reach};
use super::pod_shares::{PodShare, PodShares, is_at_least_percent};
use super::reader_set::ReaderSet;
use super::selection::{Selection, select_pods};
use super::shares::{ShareStats, ceil_to_u32, round_to_permille, to_f64};
use super::told::{find_receiver, select_told};
use super::verdict::{Wait, add_saturating};
use crate::topology::InstanceId;
use dbbalance_api::rebalance_state::{
    Batch, Episode, GaveUp, GaveUpReason, Incurable, IncurableCause, RebalanceState,
};

/// The share of gated recycles that land as predicted, roughly. The episode's budget is computed with it.
const GATED_SUCCESS: f64 = 0.8;

/// The longest rest after an episode without success is 2^5 hours (docs/adr/0014-steering.md).
const MAX_REST_DOUBLINGS: u32 = 5;

/// The pods of the next batch, or why there is none.
#[derive(Debug, Default)]
pub(super) struct RebalanceStep {
    pub moves: Vec<String>,
    pub wait: Option<Wait>,
    pub wake: Option<Timestamp>,
    pub measure: bool,
    pub look: bool,
    pub unnamed: Vec<InstanceId>,
    pub receiver: Option<InstanceId>,
}

impl RebalanceStep {
    fn waiting(wait: Wait, wake: Option<Timestamp>) -> Self {
        Self {
            wait: Some(wait),
            wake,
            look: true,
            ..Self::default()
        }
    }
}

/// Plans the next batch. `broken`: there are broken pods that can be helped, and the excess waits for them.
pub(super) fn plan_rebalance(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    memory: &mut RebalanceState,
    broken: bool,
) -> RebalanceStep {
    let settling = check_settling(inputs, memory);
    // Where nobody else is known, that is how it is.
    let is_even_by_others = judged.is_even
        && inputs.others.is_moving()
        && !judge_own_part(inputs, fleet, &inputs.others.measured).is_even;
    let since = memory.batch.as_ref().and_then(|b| b.settled);
    let usable = fleet.count_usable(inputs, since);
    let is_measured =
        settling.is_none() && is_at_least_percent(usable, fleet.pods, inputs.settings.read_percent);
    if memory.episode.is_none() && judged.is_even {
        memory.drift_since = None;
        if is_measured {
            memory.batch = None;
            memory.gave_up = None;
            memory.rest_until = None;
        }
        return RebalanceStep::default();
    }
    if memory.episode.is_none()
        && let Some(wait) = wait_for_trigger(inputs, judged, memory)
    {
        return wait;
    }
    if broken {
        return RebalanceStep::default();
    }
    let receiver = find_receiver(inputs, fleet, judged, memory, is_measured);
    if let Some(wait) = settling {
        let second = add_saturating(inputs.now, SignedDuration::from_secs(1));
        return RebalanceStep {
            receiver,
            ..RebalanceStep::waiting(wait, Some(second))
        };
    }
    if !is_measured || inputs.others.unread {
        let wait = Wait::MeasureFirst {
            usable,
            pods: fleet.pods,
        };
        return RebalanceStep {
            measure: true,
            receiver,
            ..RebalanceStep::waiting(
                wait,
                Some(add_saturating(inputs.now, SignedDuration::from_secs(5))),
            )
        };
    }
    close_batch(inputs, fleet, judged, memory);
    if is_even_by_others {
        let second = add_saturating(inputs.now, SignedDuration::from_secs(1));
        return RebalanceStep::waiting(Wait::OthersMoving, Some(second));
    }
    if judged.is_even {
        memory.episode = None;
        return RebalanceStep::default();
    }
    select_batch(inputs, fleet, judged, memory)
}

/// Returns what has not come back yet. A batch that has, or that is overdue, is recorded as settled.
fn check_settling(inputs: &Inputs, memory: &mut RebalanceState) -> Option<Wait> {
    let in_flight = inputs.pods.iter().filter(|p| p.in_flight).count();
    let Some(batch) = &mut memory.batch else {
        return (in_flight > 0).then_some(Wait::Settling {
            in_flight,
            until: None,
        });
    };
    if batch.settled.is_some() {
        return None;
    }
    let until = add_saturating(batch.at, inputs.settings.settle);
    // Its claims may not have been observed yet.
    let is_young = inputs.now < add_saturating(batch.at, SignedDuration::from_secs(1));
    // Evicted pods come back under other names.
    let is_short = matches!(inputs.reach, Reach::Slow { .. })
        && (saturate_to_u32(inputs.pods.len()) < batch.fleet
            || inputs.pods.iter().any(|p| !p.ready));
    if (in_flight > 0 || is_young || is_short) && inputs.now < until {
        return Some(Wait::Settling {
            in_flight,
            until: Some(until),
        });
    }
    batch.settled = Some(inputs.now);
    None
}

/// Returns what is waited for outside the band and without an episode; `None` if one starts now.
fn wait_for_trigger(
    inputs: &Inputs,
    judged: &ShareStats,
    memory: &mut RebalanceState,
) -> Option<RebalanceStep> {
    let by = inputs.settings;
    if let Some(found) = memory.incurable.filter(|_| is_out_of_reach(memory)) {
        return Some(RebalanceStep {
            look: false,
            ..RebalanceStep::waiting(Wait::Incurable(found), None)
        });
    }
    memory.drift_since = if judged.is_far && by.drift_enabled {
        memory.drift_since.or(Some(inputs.now))
    } else {
        None
    };
    let opens = memory.drift_since.map(|since| {
        // A reader without weight is to be empty: one pod there is no noise.
        let lasts = if judged.holds_unwanted {
            SignedDuration::ZERO
        } else {
            by.drift
        };
        add_saturating(since, lasts).max(memory.rest_until.unwrap_or(since))
    });
    if opens.is_some_and(|at| at <= inputs.now) {
        memory.episode = Some(Episode::new(inputs.now));
        memory.drift_since = None;
        memory.rest_until = None;
        memory.gave_up = None;
        return None;
    }
    let wait = memory.gave_up.map_or(
        Wait::NotTriggered {
            drift_since: memory.drift_since,
            opens,
        },
        Wait::GaveUp,
    );
    Some(RebalanceStep {
        look: false,
        ..RebalanceStep::waiting(wait, opens)
    })
}

/// Closes a batch that has been measured: compares what the gate predicted with the outcome.
fn close_batch(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    memory: &mut RebalanceState,
) {
    let Some(batch) = memory.batch.take() else {
        return;
    };
    count_missed(inputs, fleet, judged, &batch, memory);
    if !batch.gated || batch.fleet != saturate_to_u32(inputs.pods.len()) || batch.connections == 0 {
        return;
    }
    let places = judged.held.len();
    let receivers = batch.receiver_names.iter().map(String::as_str);
    let receivers = ReaderSet::from_names(&fleet.places, receivers);
    let chance = round_to_permille(receivers.len(), saturate_to_u32(places));
    let held = sum_held(judged, receivers);
    memory.record = score_batch(memory.record, &batch, held, chance, inputs.settings);
    if memory.record.dropped_until.is_some()
        && let Some(episode) = &mut memory.episode
    {
        // Without the gate it takes more recycles: the budget is computed again from here.
        let left = compute_budget(judged, false);
        episode.budget = Some(episode.moved.saturating_add(left));
    }
}

/// Counts the pods that were moved and have not connected to a reader that has too few connections.
fn count_missed(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    batch: &Batch,
    memory: &mut RebalanceState,
) {
    if batch.fleet != saturate_to_u32(inputs.pods.len()) || batch.connections == 0 {
        return;
    }
    let receivers = batch.receiver_names.iter().map(String::as_str);
    let receivers = ReaderSet::from_names(&fleet.places, receivers);
    if sum_held(judged, receivers) > batch.held {
        memory.missed = 0;
    } else {
        memory.missed = memory.missed.saturating_add(batch.pods);
    }
}

/// Returns what the target's own pods hold of these readers: whether they have landed says nothing about others.
fn sum_held(judged: &ShareStats, readers: ReaderSet) -> u32 {
    judged
        .own
        .iter()
        .enumerate()
        .filter(|(i, _)| readers.contains(*i))
        .fold(0, |sum, (_, n)| sum.saturating_add(*n))
}

/// Returns the budget of recycles: ceil(4·M/p) + 2, where p is the chance that a recycle lands on the right reader.
fn compute_budget(judged: &ShareStats, gated: bool) -> u32 {
    let chance = to_f64(judged.figures.under.len().max(1)) / to_f64(judged.held.len().max(1));
    let p = if gated { GATED_SUCCESS } else { chance };
    ceil_to_u32(4.0 * f64::from(judged.figures.least) / p).saturating_add(2)
}

/// Selects the next batch of an episode whose shares were measured and are uneven, or returns why there is none.
fn select_batch(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    memory: &mut RebalanceState,
) -> RebalanceStep {
    let by = inputs.settings;
    let now = inputs.now;
    let asks = inputs.reach == Reach::Prompt && memory.record.dropped_until.is_none();
    let missed = memory.missed;
    let Some(episode) = &mut memory.episode else {
        return RebalanceStep::default();
    };
    let budget = *episode
        .budget
        .get_or_insert_with(|| compute_budget(judged, asks || inputs.name.is_some()));
    let left = budget.saturating_sub(episode.moved);
    if left == 0 {
        return give_up(GaveUpReason::BudgetSpent, inputs, memory);
    }
    let rows = match eligible_pods(inputs, fleet, judged, missed) {
        Eligible::Rows(rows) => rows,
        Eligible::Wait(wait, wake) => return RebalanceStep::waiting(wait, Some(wake)),
        Eligible::None => return give_up(GaveUpReason::PodsExhausted, inputs, memory),
    };
    let most = inputs.free.min(usize::try_from(left).unwrap_or(usize::MAX));
    if let Some(lead) = inputs.name {
        return select_by_name(inputs, fleet, judged, memory, lead, &rows, most);
    }
    if inputs.free == 0 {
        return RebalanceStep::waiting(Wait::NothingFree, None);
    }

    let asks_dns = !matches!(
        inputs.reach,
        Reach::Unseen | Reach::Slow { resolver: false }
    );
    let answers = RecentAnswers::from_fresh(inputs.looks, now, by);
    let mut receivers = judged.under;
    let seen = memory.seen_in_dns.iter().map(String::as_str);
    let seen = ReaderSet::from_names(&fleet.places, seen);
    if asks_dns && judged.under.intersection(seen).is_empty() {
        let unnamed: Vec<InstanceId> = judged.under.instances(&fleet.places).cloned().collect();
        let until = add_saturating(episode.since, by.naming);
        // If no lookup is answered, pods would not find the database either.
        let (_, answered) = answers.count_agreeing(|_| true);
        if now < until || answered == 0 {
            let wait = Wait::NeverNamed {
                readers: unnamed,
                until,
            };
            let second = add_saturating(now, SignedDuration::from_secs(1));
            return RebalanceStep::waiting(wait, Some(second));
        }
        // Pods would not find it either. It is taken up again when a look-up names it.
        return RebalanceStep {
            unnamed,
            ..give_up(GaveUpReason::ReaderUnnamed, inputs, memory)
        };
    }
    if asks_dns {
        receivers = receivers.intersection(seen);
    }
    let gated = asks;

    let wanted: Vec<&InstanceId> = receivers.instances(&fleet.places).collect();
    let share = answers.best_share(|id| wanted.contains(&id));
    let since = episode.waiting_since.unwrap_or(now);
    let is_overdue = gated && is_overdue(since, inputs);
    let (_, answered) = answers.count_agreeing(|_| true);
    if is_overdue && share == 0 && answered >= by.looks {
        // It was named once, and is listed; but nothing leads to it now. Without an answer at all, DNS itself fails.
        return give_up(GaveUpReason::ReaderUnnamed, inputs, memory);
    }
    let gated = gated && !(share > 0 && is_overdue);
    let picked = if gated {
        episode.waiting_since = Some(since);
        let need = required_share(since, wanted.len(), fleet.places.len(), inputs);
        let candidates = candidates_behind_gate(&rows, &answers, fleet, &wanted, need, inputs);
        let picked = select_pods(&candidates, &judged.band, &judged.held, most);
        if picked.pods.is_empty() {
            let wait = Wait::GateClosed { share, need, since };
            let second = add_saturating(now, SignedDuration::from_secs(1));
            return RebalanceStep::waiting(wait, Some(second));
        }
        picked
    } else {
        let candidates = candidates_without_gate(&rows, receivers);
        let most = most.min(limit_ungated_pods(inputs, fleet, judged));
        select_pods(&candidates, &judged.band, &judged.held, most)
    };
    if picked.pods.is_empty() {
        return give_up(GaveUpReason::PodsExhausted, inputs, memory);
    }
    record_batch(inputs, fleet, judged, memory, &picked, gated)
}

/// Selects the next batch by the narrowed name. A name is not narrowed while no pod is free, but stays so: the pods in
/// between come back.
fn select_by_name(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    memory: &mut RebalanceState,
    lead: NameLead,
    rows: &[&PodShare],
    most: usize,
) -> RebalanceStep {
    let Some(receiver) = find_receiver(inputs, fleet, judged, memory, true) else {
        return give_up(GaveUpReason::PodsExhausted, inputs, memory);
    };
    let is_narrowed = lead.narrowed_to == Some(&receiver);
    if inputs.free == 0 {
        return RebalanceStep {
            receiver: Some(receiver).filter(|_| is_narrowed),
            ..RebalanceStep::waiting(Wait::NothingFree, None)
        };
    }
    let Some(picked) = select_told(lead, &receiver, rows, fleet, judged, most) else {
        let wait = Wait::NotTold {
            receiver: receiver.clone(),
            is_narrowed,
        };
        let second = add_saturating(inputs.now, SignedDuration::from_secs(1));
        return RebalanceStep {
            receiver: Some(receiver),
            ..RebalanceStep::waiting(wait, Some(second))
        };
    };
    if picked.pods.is_empty() {
        return give_up(GaveUpReason::PodsExhausted, inputs, memory);
    }
    RebalanceStep {
        receiver: Some(receiver),
        ..record_batch(inputs, fleet, judged, memory, &picked, false)
    }
}

/// Returns whether the gate has held too long. Alternating answers can stay at chance for ever, so while any lookup
/// is answered, the gate holds no longer than it would for a reader that is never named.
fn is_overdue(since: Timestamp, inputs: &Inputs) -> bool {
    let by = inputs.settings;
    [by.patience, by.yielding, by.naming]
        .into_iter()
        .fold(since, add_saturating)
        <= inputs.now
}

/// Returns the most pods of a batch for which no lookup was made.
fn limit_ungated_pods(inputs: &Inputs, fleet: &PodShares, judged: &ShareStats) -> usize {
    match inputs.reach {
        Reach::Slow { .. } => usize::MAX,
        Reach::Prompt | Reach::Unseen => (fleet.pods / 10)
            .min(judged.band.deepest_deficit(&judged.held))
            .max(1),
    }
}

fn record_batch(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    memory: &mut RebalanceState,
    picked: &Selection,
    gated: bool,
) -> RebalanceStep {
    memory.batch = Some(Batch {
        at: inputs.now,
        settled: None,
        fleet: saturate_to_u32(inputs.pods.len()),
        pods: saturate_to_u32(picked.pods.len()),
        connections: picked.connections,
        receiver_names: picked.receivers.to_names(&fleet.places),
        held: sum_held(judged, picked.receivers),
        // The canary's gate required little: its result does not predict the others'.
        gated: gated && !inputs.canary,
    });
    if let Some(episode) = &mut memory.episode {
        episode.moved = episode
            .moved
            .saturating_add(saturate_to_u32(picked.pods.len()));
        episode.waiting_since = None;
    }
    RebalanceStep {
        moves: picked.pods.iter().map(|p| p.id.clone()).collect(),
        wake: Some(add_saturating(inputs.now, SignedDuration::from_secs(1))),
        look: true,
        ..RebalanceStep::default()
    }
}

fn give_up(reason: GaveUpReason, inputs: &Inputs, memory: &mut RebalanceState) -> RebalanceStep {
    let moved = memory.episode.as_ref().map_or(0, |e| e.moved);
    let gave_up = GaveUp { reason, moved };
    memory.episode = None;
    memory.gave_up = Some(gave_up);
    let doublings = memory.failures.min(MAX_REST_DOUBLINGS);
    memory.failures = memory.failures.saturating_add(1);
    let rest = inputs.settings.rest * (1 << doublings);
    memory.rest_until = Some(add_saturating(inputs.now, rest));
    let step = |wait| RebalanceStep {
        look: false,
        ..RebalanceStep::waiting(wait, memory.rest_until)
    };
    // Of a whole episode at least one pod would have connected to such a reader by chance.
    let is_spent = reason != GaveUpReason::ReaderUnnamed && moved > 0;
    if is_spent && memory.missed >= moved {
        let found = Incurable {
            cause: IncurableCause::NeverReceives,
            recycled: moved,
        };
        memory.incurable = Some(found);
        return step(Wait::Incurable(found));
    }
    step(Wait::GaveUp(gave_up))
}

fn saturate_to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
