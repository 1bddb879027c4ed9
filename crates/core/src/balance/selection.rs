//! Selects the pods whose move makes the shares most even.
//!
//! Greedy on the sum of squared deviations from the fair shares, each relative to its share: Σ (c − f)²/f, which for
//! equal shares orders moves as Σ c² does. It assumes that a pod lands on the reader where it raises that sum least, of
//! those that it can expect. A pod is never selected if none of its connections is above a fair share, or if its move
//! would not lower the sum. Connections to a reader without weight come first, and any place is better for them.

use std::collections::BTreeMap;

use super::inputs::PodView;
use super::pod_shares::PodShare;
use super::reader_set::ReaderSet;
use super::shares::ToleranceBand;

/// A pod that may be moved, with the readers that it can expect to land on.
pub(super) struct MoveCandidate<'a> {
    pub row: &'a PodShare<'a>,
    pub receivers: ReaderSet,
}

/// The pods of a batch.
#[derive(Default)]
pub(super) struct Selection<'a> {
    pub pods: Vec<&'a PodView>,
    pub connections: u32,
    /// The readers that are expected to receive their connections.
    pub receivers: ReaderSet,
}

/// Selects at most `most` pods, until the sums are even or no move lowers them.
pub(super) fn select_pods<'a>(
    candidates: &[MoveCandidate<'a>],
    band: &ToleranceBand,
    held: &[u32],
    most: usize,
) -> Selection<'a> {
    select_while(candidates, band, held, most, |_, _| true)
}

/// Selects at most `most` pods for one receiver alone, until the sums are even, no move lowers them, or another reader
/// needs the next one more.
pub(super) fn select_pods_for<'a>(
    candidates: &[MoveCandidate<'a>],
    band: &ToleranceBand,
    held: &[u32],
    most: usize,
    receiver: usize,
) -> Selection<'a> {
    let lacks = |before: &[u32], after: &[u32]| {
        band.receivers(before).contains(receiver)
            && (before == held
                || is_only_receiver(band, before, receiver)
                || band.least_moves(after) < band.least_moves(before))
    };
    select_while(candidates, band, held, most, lacks)
}

/// Returns whether one more pod from the fullest reader belongs to this one, rather than to another that has too little.
pub(super) fn is_still_receiver(band: &ToleranceBand, held: &[u32], receiver: usize) -> bool {
    if !band.receivers(held).contains(receiver) {
        return false;
    }
    let mut after = held.to_vec();
    if let Some(fullest) = after.iter_mut().max() {
        *fullest = fullest.saturating_sub(band.unit);
    }
    after[receiver] = after[receiver].saturating_add(band.unit);
    is_only_receiver(band, held, receiver) || band.least_moves(&after) < band.least_moves(held)
}

/// Returns whether no reader but this one should receive connections.
fn is_only_receiver(band: &ToleranceBand, held: &[u32], receiver: usize) -> bool {
    band.receivers(held).iter().all(|place| place == receiver)
}

/// Selects pods while `goes_on` takes the sums before and after the next move.
fn select_while<'a>(
    candidates: &[MoveCandidate<'a>],
    band: &ToleranceBand,
    held: &[u32],
    most: usize,
    goes_on: impl Fn(&[u32], &[u32]) -> bool,
) -> Selection<'a> {
    // Pods that hold the same are equally good: the least disturbed goes first.
    let mut kinds: BTreeMap<(&[u32], ReaderSet), Vec<&PodShare<'a>>> = BTreeMap::new();
    for candidate in candidates {
        kinds
            .entry((&candidate.row.held, candidate.receivers))
            .or_default()
            .push(candidate.row);
    }
    for rows in kinds.values_mut() {
        rows.sort_by(|a, b| disturbance_order(b.pod).cmp(&disturbance_order(a.pod)));
    }
    let mut held = held.to_vec();
    let mut picked = Selection::default();
    while picked.pods.len() < most && !is_even(band, &held) {
        let best = kinds
            .iter()
            .filter(|(_, rows)| !rows.is_empty())
            .filter_map(|((row, receivers), _)| {
                let (gain, to) = compute_gain(band, &held, row, *receivers)?;
                Some((gain, to, *row, *receivers))
            })
            .max_by_key(|(gain, ..)| *gain);
        let Some((_, to, counts, receivers)) = best else {
            break;
        };
        let Some(row) = kinds.get_mut(&(counts, receivers)).and_then(Vec::pop) else {
            break;
        };
        let rest = held.iter().zip(&row.held);
        let mut after: Vec<u32> = rest.map(|(sum, n)| sum.saturating_sub(*n)).collect();
        after[to] = after[to].saturating_add(row.total());
        if !goes_on(&held, &after) {
            break;
        }
        held = after;
        picked.pods.push(row.pod);
        picked.connections = picked.connections.saturating_add(row.total());
        picked.receivers = picked.receivers.union(receivers);
    }
    picked
}

/// Returns whether the sums are inside the band, or no reader has too little.
fn is_even(band: &ToleranceBand, held: &[u32]) -> bool {
    band.contains_all(held) || band.receivers(held).is_empty()
}

/// Returns whether no single pod's move would make the sums more even.
pub(super) fn is_stuck(rows: &[PodShare], band: &ToleranceBand, held: &[u32]) -> bool {
    let mut kinds: Vec<&[u32]> = rows.iter().map(|r| r.held.as_slice()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let receivers = band.receivers(held);
    kinds
        .into_iter()
        .all(|row| compute_gain(band, held, row, receivers).is_none())
}

/// Returns whether no move of the smallest pod that others have on a reader would make the sums more even. `smallest`:
/// its connections, by place; 0 where there is none.
pub(super) fn are_others_stuck(smallest: &[u32], band: &ToleranceBand, held: &[u32]) -> bool {
    let receivers = band.receivers(held);
    smallest.iter().enumerate().all(|(place, connections)| {
        let mut row = vec![0; held.len()];
        if let Some(n) = row.get_mut(place) {
            *n = *connections;
        }
        compute_gain(band, held, &row, receivers).is_none()
    })
}

/// What a move is worth; the greater, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gain {
    /// Connections that leave readers without weight.
    drained: i128,
    /// By how much the sum of relative squares falls, in fixed point.
    fall: i128,
}

/// One divided by a weight is exact to so much. The squares of 2³² connections leave room for it.
const FIXED_POINT: i128 = 1 << 40;

/// Returns what the move of a pod to the best of its receivers is worth, and which that is; `None` if it makes nothing
/// more even, or the pod holds nothing that is above a fair share.
fn compute_gain(
    band: &ToleranceBand,
    held: &[u32],
    row: &[u32],
    receivers: ReaderSet,
) -> Option<(Gain, usize)> {
    let counts = || held.iter().zip(row).enumerate();
    if !counts().any(|(place, (sum, n))| *n > 0 && band.is_above_fair(place, *sum)) {
        return None;
    }
    // Σ (c − f)²/f is Σ c²/f and a constant, as long as Σ c stays; f is in proportion to the weight.
    let relative = |place: usize| {
        let weight = band.places.get(place).map_or(0, |p| p.weight);
        (weight > 0).then(|| FIXED_POINT / i128::from(weight))
    };
    let total: i128 = row.iter().map(|n| i128::from(*n)).sum();
    // A receiver's part rises by (rest + total)² − rest².
    let (to, rises) = counts()
        .filter(|(place, _)| receivers.contains(*place))
        .filter_map(|(place, (sum, n))| {
            let rest = i128::from(*sum) - i128::from(*n);
            let rises = (rest + total) * (rest + total) - rest * rest;
            Some((place, rises * relative(place)?))
        })
        .min_by_key(|(_, rises)| *rises)?;
    // A giver's part falls by c² − (c − n)².
    let mut gain = Gain {
        drained: 0,
        fall: -rises,
    };
    for (place, (sum, n)) in counts() {
        let (c, n) = (i128::from(*sum), i128::from(*n));
        match relative(place) {
            Some(relative) => gain.fall += (c * c - (c - n) * (c - n)) * relative,
            None => gain.drained += n,
        }
    }
    (gain.drained > 0 || gain.fall > 0).then_some((gain, to))
}

fn disturbance_order(pod: &PodView) -> (u32, Option<jiff::Timestamp>, &str) {
    (pod.recycles, pod.last_recycled, &pod.id)
}
