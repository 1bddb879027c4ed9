//! Moves the excess by a narrowed name: pods connect to the one reader that it leads to, so no answer of DNS is waited
//! for that happens to be right.
//!
//! The receiver is the reader that lacks most of its share, one at a time. It is asked for here, and narrowed
//! to by the caller (`narrow`). Exactly as many pods move as raise it to its share.

use jiff::SignedDuration;

use super::candidates::candidates_without_gate;
use super::inputs::{Inputs, NameLead, PodView};
use super::pod_shares::{PodShare, PodShares};
use super::reader_set::ReaderSet;
use super::selection::{Selection, is_still_receiver, select_pods_for};
use super::shares::ShareStats;
use super::verdict::add_saturating;
use crate::topology::InstanceId;
use dbbalance_api::rebalance_state::RebalanceState;

/// How long a pod is left alone after its second recycle: the longest cache of a process that is set in practice
/// (60 s), and 5 s. Told where to connect, it can only have missed because its process kept the old address.
const LONG_COOLDOWN: SignedDuration = SignedDuration::from_secs(65);

/// Returns the reader that the name must lead to now; `None` if nothing can be moved to any. `is_measured`: the figures
/// may be acted on.
pub(super) fn find_receiver(
    inputs: &Inputs,
    fleet: &PodShares,
    judged: &ShareStats,
    memory: &RebalanceState,
    is_measured: bool,
) -> Option<InstanceId> {
    let lead = inputs.name?;
    memory.episode.as_ref()?;
    // A batch goes where it was sent, until it has been measured.
    if memory.batch.is_some() {
        return find_batch_receiver(memory);
    }
    let lacks = |id: &InstanceId| {
        let place = find_place(fleet, id);
        place.is_some_and(|place| {
            judged.under.contains(place) && is_still_receiver(&judged.band, &judged.held, place)
        })
    };
    if let Some(standing) = lead.narrowed_to.filter(|id| lacks(id)) {
        return Some(standing.clone());
    }
    let beyond = |place: usize| f64::from(judged.held[place]) - judged.band.fair_share(place);
    let under = judged.under.iter();
    let emptiest = under.min_by(|a, b| beyond(*a).total_cmp(&beyond(*b)));
    let emptiest = emptiest.and_then(|place| fleet.places.get(place));
    emptiest.filter(|_| is_measured).cloned()
}

/// Returns the one reader that the batch in progress was sent to; `None` without a batch, or if it had several.
#[must_use]
pub fn find_batch_receiver(memory: &RebalanceState) -> Option<InstanceId> {
    memory.episode.as_ref()?;
    let [name] = memory.batch.as_ref()?.receiver_names.as_slice() else {
        return None;
    };
    Some(InstanceId(name.clone()))
}

/// Selects the pods of the next batch for the reader that the name leads to; `None` until it leads to the receiver and
/// all caches follow.
pub(super) fn select_told<'a>(
    lead: NameLead,
    receiver: &InstanceId,
    rows: &[&'a PodShare<'a>],
    fleet: &PodShares,
    judged: &ShareStats,
    most: usize,
) -> Option<Selection<'a>> {
    if !lead.is_told || lead.narrowed_to != Some(receiver) {
        return None;
    }
    let place = find_place(fleet, receiver)?;
    let candidates = candidates_without_gate(rows, ReaderSet::from_iter([place]));
    Some(select_pods_for(
        &candidates,
        &judged.band,
        &judged.held,
        most,
        place,
    ))
}

fn find_place(fleet: &PodShares, instance: &InstanceId) -> Option<usize> {
    fleet.places.iter().position(|place| place == instance)
}

/// Returns until when a pod is left alone: as long as its process may keep the address that it last looked up.
pub(super) fn cooldown_end(inputs: &Inputs, pod: &PodView) -> Option<jiff::Timestamp> {
    let by = inputs.settings;
    let recycled = pod.last_recycled.map(|done| {
        let is_told_before = inputs.name.is_some() && pod.recycles > 1;
        let cooldown = if is_told_before {
            LONG_COOLDOWN.max(by.pod_cooldown)
        } else {
            by.pod_cooldown
        };
        add_saturating(done, cooldown)
    });
    let started = pod.started.filter(|_| inputs.name.is_some());
    let started = started.map(|at| add_saturating(at, by.pod_cooldown));
    recycled.max(started).filter(|until| inputs.now < *until)
}

/// Leaves of these pods those that missed before, if the last batch missed whole: the others' processes keep the old
/// address as well, and would be disturbed for nothing. Pods that were recycled by their eviction left no such mark.
pub(super) fn keep_missed<'a>(
    inputs: &Inputs,
    missed: u32,
    rows: Vec<&'a PodShare<'a>>,
) -> Vec<&'a PodShare<'a>> {
    let has_missed = inputs.name.is_some() && missed > 0;
    if !has_missed || !rows.iter().any(|r| r.pod.recycles > 0) {
        return rows;
    }
    rows.into_iter().filter(|r| r.pod.recycles > 0).collect()
}
