//! Selects the pods whose move makes the shares most even.
//!
//! Greedy on the sum of squared shares, assuming that a pod lands on the emptiest of the readers that it can expect.
//! A pod is never selected if none of its connections is above the fair share, or if its move would not lower the
//! sum.

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
        band.is_under(before[receiver])
            && (before == held
                || is_only_under(band, before, receiver)
                || band.least_moves(after) < band.least_moves(before))
    };
    select_while(candidates, band, held, most, lacks)
}

/// Returns whether one more pod from the fullest reader belongs to this one, rather than to another that has too little.
pub(super) fn is_still_receiver(band: &ToleranceBand, held: &[u32], receiver: usize) -> bool {
    if !band.is_under(held[receiver]) {
        return false;
    }
    let mut after = held.to_vec();
    if let Some(fullest) = after.iter_mut().max() {
        *fullest = fullest.saturating_sub(band.unit);
    }
    after[receiver] = after[receiver].saturating_add(band.unit);
    is_only_under(band, held, receiver) || band.least_moves(&after) < band.least_moves(held)
}

/// Returns whether no reader but this one has too little.
fn is_only_under(band: &ToleranceBand, held: &[u32], receiver: usize) -> bool {
    let mut places = held.iter().enumerate();
    places.all(|(place, sum)| place == receiver || !band.is_under(*sum))
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
    band.contains_all(held) || !held.iter().any(|c| band.is_under(*c))
}

/// Returns whether no single pod's move would make the sums more even.
pub(super) fn is_stuck(rows: &[PodShare], band: &ToleranceBand, held: &[u32]) -> bool {
    let mut kinds: Vec<&[u32]> = rows.iter().map(|r| r.held.as_slice()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let under: ReaderSet = held
        .iter()
        .enumerate()
        .filter(|(_, c)| band.is_under(**c))
        .map(|(place, _)| place)
        .collect();
    kinds
        .into_iter()
        .all(|row| compute_gain(band, held, row, under).is_none())
}

/// Returns by how much the sum of squares falls when the pod moves to the best of its receivers, and which that is;
/// `None` if the sum does not fall, or the pod holds nothing that is above the fair share.
fn compute_gain(
    band: &ToleranceBand,
    held: &[u32],
    row: &[u32],
    receivers: ReaderSet,
) -> Option<(i128, usize)> {
    if !held
        .iter()
        .zip(row)
        .any(|(sum, n)| *n > 0 && band.is_above_fair(*sum))
    {
        return None;
    }
    let total: i128 = row.iter().map(|n| i128::from(*n)).sum();
    let (to, rest) = held
        .iter()
        .zip(row)
        .map(|(sum, n)| i128::from(*sum) - i128::from(*n))
        .enumerate()
        .filter(|(i, _)| receivers.contains(*i))
        .min_by_key(|(_, rest)| *rest)?;
    // Σc² falls by Σ(c² − (c − n)²) and rises by (rest + total)² − rest².
    let falls: i128 = held
        .iter()
        .zip(row)
        .map(|(sum, n)| {
            let (c, n) = (i128::from(*sum), i128::from(*n));
            c * c - (c - n) * (c - n)
        })
        .sum();
    let rises = (rest + total) * (rest + total) - rest * rest;
    (falls > rises).then_some((falls - rises, to))
}

fn disturbance_order(pod: &PodView) -> (u32, Option<jiff::Timestamp>, &str) {
    (pod.recycles, pod.last_recycled, &pod.id)
}
