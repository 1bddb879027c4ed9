//! Selects the pods that may be moved to reduce the excess, by the state of each pod alone.
//!
//! Leaves out pods that are in flight, in cool-down, recycled too often or not measured. Which of the others go is
//! decided in `selection`.

use jiff::{SignedDuration, Timestamp};

use super::dns_gate::{RecentAnswers, compute_share};
use super::inputs::Inputs;
use super::pod_shares::{PodShare, PodShares, is_usable};
use super::reader_set::ReaderSet;
use super::selection::{MoveCandidate, select_pods};
use super::shares::ShareStats;
use super::told::{cooldown_end, keep_missed};
use super::verdict::{Wait, add_saturating};
use crate::topology::InstanceId;

/// The result of the selection: pods that may be moved, or the reason why there are none now.
pub(super) enum Eligible<'a> {
    Rows(Vec<&'a PodShare<'a>>),
    Wait(Wait, Timestamp),
    None,
}

/// Returns the pods that may be moved. `missed`: pods moved since a reader with too few connections last got one.
pub(super) fn eligible_pods<'a>(
    inputs: &Inputs,
    fleet: &'a PodShares<'a>,
    judged: &ShareStats,
    missed: u32,
) -> Eligible<'a> {
    let by = inputs.settings;
    let helps = |rows: &[&'a PodShare<'a>]| {
        let candidates = candidates_without_gate(rows, judged.under);
        !select_pods(&candidates, &judged.band, &judged.held, 1)
            .pods
            .is_empty()
    };
    let rows: Vec<&PodShare> = fleet
        .rows
        .iter()
        .filter(|r| r.pod.movable && !r.pod.in_flight && r.pod.recycles < by.max_recycles)
        .filter(|r| is_usable(inputs, r.pod))
        .collect();
    let rows = keep_missed(inputs, missed, rows);
    let until = |r: &PodShare| cooldown_end(inputs, r.pod);
    let (cooling, rested): (Vec<&PodShare>, Vec<&PodShare>) =
        rows.into_iter().partition(|r| until(r).is_some());
    if helps(&rested) {
        return Eligible::Rows(rested);
    }
    let helpful: Vec<&PodShare> = cooling.into_iter().filter(|r| helps(&[*r])).collect();
    if let Some(first) = helpful.iter().filter_map(|r| until(r)).min() {
        let wait = Wait::PodCooldown {
            pods: helpful.len(),
            until: first,
        };
        return Eligible::Wait(wait, first);
    }
    let flying = inputs.pods.iter().filter(|p| p.in_flight).count();
    if flying > 0 {
        // Pods whose return is overdue, and which may be those that would help.
        let wait = Wait::Settling {
            in_flight: flying,
            until: None,
        };
        return Eligible::Wait(
            wait,
            add_saturating(inputs.now, SignedDuration::from_secs(5)),
        );
    }
    Eligible::None
}

pub(super) fn candidates_without_gate<'a>(
    rows: &[&'a PodShare<'a>],
    receivers: ReaderSet,
) -> Vec<MoveCandidate<'a>> {
    rows.iter()
        .map(|row| MoveCandidate { row, receivers })
        .collect()
}

/// Returns the pods whose DNS cache serves the wanted readers often enough, each with the readers that it serves.
pub(super) fn candidates_behind_gate<'a>(
    rows: &[&'a PodShare<'a>],
    answers: &RecentAnswers,
    fleet: &PodShares,
    wanted: &[&InstanceId],
    need: u32,
    inputs: &Inputs,
) -> Vec<MoveCandidate<'a>> {
    rows.iter()
        .filter_map(|row| {
            let seen = answers.for_pod(row.pod);
            let open = seen.len() >= answers.required_answers(inputs.settings)
                && compute_share(seen, |id| wanted.contains(&id)) >= need;
            let named = seen.iter().flatten().copied();
            open.then(|| MoveCandidate {
                row,
                receivers: ReaderSet::from_names(
                    &fleet.places,
                    named
                        .filter(|id| wanted.contains(id))
                        .map(|id| id.0.as_str()),
                ),
            })
        })
        .collect()
}
