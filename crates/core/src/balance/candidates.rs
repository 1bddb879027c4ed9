//! Candidates: the pods that may be taken for the excess, as far as they themselves are concerned.
//!
//! Leaves out those in flight, in cool-down, recycled too often or not measured. Which of the others go
//! is decided in `pick`.

use jiff::{SignedDuration, Timestamp};

use super::fleet::{Fleet, Row, is_usable};
use super::gate::{Answers, share};
use super::inputs::Inputs;
use super::pick::{Candidate, pick};
use super::shares::Judged;
use super::verdict::{Wait, after};
use crate::topology::InstanceId;

/// The pods that may be taken, as far as they themselves are concerned.
pub(super) enum Able<'a> {
    Rows(Vec<&'a Row<'a>>),
    Wait(Wait, Timestamp),
    None,
}

pub(super) fn able<'a>(inputs: &Inputs, fleet: &'a Fleet<'a>, judged: &Judged) -> Able<'a> {
    let by = inputs.settings;
    let helps = |rows: &[&'a Row<'a>]| {
        let candidates = all(rows, judged.under);
        !pick(&candidates, &judged.band, &judged.held, 1)
            .pods
            .is_empty()
    };
    let rows: Vec<&Row> = fleet
        .rows
        .iter()
        .filter(|r| r.pod.movable && !r.pod.in_flight && r.pod.recycles < by.max_recycles)
        .filter(|r| is_usable(inputs, r.pod))
        .collect();
    let until = |r: &Row| {
        let done = r.pod.last_recycled?;
        let until = after(done, by.pod_cooldown);
        (inputs.now < until).then_some(until)
    };
    let (cooling, rested): (Vec<&Row>, Vec<&Row>) =
        rows.into_iter().partition(|r| until(r).is_some());
    if helps(&rested) {
        return Able::Rows(rested);
    }
    let helpful: Vec<&Row> = cooling.into_iter().filter(|r| helps(&[*r])).collect();
    if let Some(first) = helpful.iter().filter_map(|r| until(r)).min() {
        let wait = Wait::PodCooldown {
            pods: helpful.len(),
            until: first,
        };
        return Able::Wait(wait, first);
    }
    let flying = inputs.pods.iter().filter(|p| p.in_flight).count();
    if flying > 0 {
        // Overdue, and perhaps what would help.
        let wait = Wait::Settling {
            in_flight: flying,
            until: None,
        };
        return Able::Wait(wait, after(inputs.now, SignedDuration::from_secs(5)));
    }
    Able::None
}

pub(super) fn all<'a>(rows: &[&'a Row<'a>], receivers: u32) -> Vec<Candidate<'a>> {
    rows.iter()
        .map(|row| Candidate { row, receivers })
        .collect()
}

/// The pods whose cache serves the wanted readers often enough, each with those that it serves.
pub(super) fn behind_gate<'a>(
    rows: &[&'a Row<'a>],
    answers: &Answers,
    fleet: &Fleet,
    wanted: &[&InstanceId],
    need: u32,
    inputs: &Inputs,
) -> Vec<Candidate<'a>> {
    rows.iter()
        .filter_map(|row| {
            let seen = answers.of(row.pod);
            let open = seen.len() >= answers.least(inputs.settings)
                && share(seen, |id| wanted.contains(&id)) >= need;
            let named = seen.iter().flatten().copied();
            open.then(|| Candidate {
                row,
                receivers: fleet.bits(named.filter(|id| wanted.contains(id))),
            })
        })
        .collect()
}
