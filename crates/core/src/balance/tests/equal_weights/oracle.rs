//! The formulas of equal shares as they were before there were weights, kept word for word, so that the weighted ones
//! are held to something that they do not compute themselves.

use std::collections::BTreeMap;

use super::super::super::inputs::{PodView, Settings};
use super::super::super::pod_shares::{PodShare, PodShares};
use super::super::super::reader_set::ReaderSet;
use super::super::super::selection::{MoveCandidate, Selection};
use super::super::super::shares::{ceil_to_u32, to_f64};
use crate::topology::InstanceId;
use dbbalance_api::status::LimitedBy;

/// The band of a fleet, in connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ToleranceBand {
    pub fair: f64,
    pub lo: f64,
    pub hi: f64,
    /// The smallest number of connections that can be moved.
    pub unit: u32,
}

impl ToleranceBand {
    /// Computes the band. `pods` is the number of pods that hold connections to the places, `unit` the connections of
    /// the smallest of them.
    ///
    /// hi = max(1.15·f, ceil(P/n)·w, f + w/2), lo = min(0.5·f, floor(P/n)·w): the requested tolerance, widened to
    /// what whole pods can reach.
    pub(super) fn new(total: u32, places: usize, pods: usize, unit: u32, by: &Settings) -> Self {
        let n = places.max(1);
        let (fair, lo, hi) = compute_tolerated_range(total, n, by);
        let w = f64::from(unit);
        let hi = hi.max(to_f64(pods.div_ceil(n)) * w).max(fair + w / 2.0);
        let lo = lo.min(to_f64(pods / n) * w);
        Self { fair, lo, hi, unit }
    }

    pub(super) fn contains_all(&self, held: &[u32]) -> bool {
        is_between(held, self.lo, self.hi)
    }

    /// Returns whether a reader could take one more unit and end no further above the fair share than it was below.
    pub(super) fn is_under(&self, held: u32) -> bool {
        f64::from(held) < self.fair - f64::from(self.unit) / 2.0
    }

    pub(super) fn is_above_fair(&self, held: u32) -> bool {
        f64::from(held) > self.fair
    }

    /// Returns the least number of pods that must move to get inside the band.
    fn least_moves(&self, held: &[u32]) -> u32 {
        let unit = f64::from(self.unit.max(1));
        let sum = |far: &dyn Fn(f64) -> f64| {
            held.iter()
                .map(|c| ceil_to_u32((far(f64::from(*c)) - 0.001).max(0.0) / unit))
                .fold(0_u32, u32::saturating_add)
        };
        sum(&|c| c - self.hi).max(sum(&|c| self.lo - c))
    }

    /// Returns the number of pods that raise the emptiest reader to the fair share.
    pub(super) fn deepest_deficit(&self, held: &[u32]) -> usize {
        let least = held.iter().min().copied().unwrap_or(0);
        let gap = (self.fair - f64::from(least)).max(0.0);
        usize::try_from(ceil_to_u32(gap / f64::from(self.unit.max(1)))).unwrap_or(usize::MAX)
    }
}

/// Returns the fair share, and the least and most that the tolerance alone allows.
fn compute_tolerated_range(total: u32, places: usize, by: &Settings) -> (f64, f64, f64) {
    let fair = f64::from(total) / to_f64(places.max(1));
    let lo = fair * f64::from(by.floor_percent) / 100.0;
    let hi = fair * f64::from(by.tolerance_percent.saturating_add(100)) / 100.0;
    (fair, lo, hi)
}

/// Returns whether all values are between `lo` and `hi`, with a thousandth of a connection to spare: 1.15 · f is not
/// exact in binary.
fn is_between(held: &[u32], lo: f64, hi: f64) -> bool {
    held.iter()
        .map(|c| f64::from(*c))
        .all(|c| c >= lo - 0.001 && c <= hi + 0.001)
}

/// What the old formulas say of a fleet's sums.
#[derive(Debug, PartialEq)]
pub(super) struct OldStats {
    pub fair: f64,
    pub lo: f64,
    pub hi: f64,
    pub least: u32,
    pub deepest: usize,
    pub excess: u32,
    pub under: Vec<InstanceId>,
    pub is_even: bool,
    pub limited_by: Option<LimitedBy>,
    pub is_far: bool,
}

pub(super) fn old_stats(fleet: &PodShares, by: &Settings) -> (OldStats, ToleranceBand) {
    let held = fleet.connections_by_place();
    let sizes: Vec<u32> = fleet
        .rows
        .iter()
        .map(PodShare::total)
        .filter(|n| *n > 0)
        .collect();
    let unit = sizes.iter().min().copied().unwrap_or(0);
    let total = held.iter().fold(0_u32, |sum, c| sum.saturating_add(*c));
    let band = ToleranceBand::new(total, fleet.places.len(), sizes.len(), unit, by);
    let inside = band.contains_all(&held);
    let none_under = !held.iter().any(|c| band.is_under(*c));
    let is_even = inside || none_under || is_stuck(&fleet.rows, &band, &held);
    let (_, least, most) = compute_tolerated_range(total, held.len(), by);
    let limited_by = (is_even && !is_between(&held, least, most)).then_some(LimitedBy::PodQuantum);
    let far = band.fair * f64::from(by.drift_percent) / 100.0;
    let is_far = !is_even
        && held
            .iter()
            .any(|c| f64::from(*c) > far || f64::from(*c) < band.lo - 0.001);
    let excess = if is_even {
        0
    } else {
        held.iter()
            .map(|c| c.saturating_sub(ceil_to_u32(band.fair)))
            .fold(0, u32::saturating_add)
    };
    let mut names = vec![];
    for (i, c) in held.iter().enumerate() {
        if !is_even && band.is_under(*c) {
            names.push(fleet.places[i].clone());
        }
    }
    let stats = OldStats {
        fair: band.fair,
        lo: band.lo,
        hi: band.hi,
        least: if is_even {
            0
        } else {
            band.least_moves(&held).max(1)
        },
        deepest: band.deepest_deficit(&held),
        excess,
        under: names,
        is_even,
        limited_by,
        is_far,
    };
    (stats, band)
}

/// Selects at most `most` pods, until the sums are even or no move lowers them.
pub(super) fn select_pods<'a>(
    candidates: &[MoveCandidate<'a>],
    band: &ToleranceBand,
    held: &[u32],
    most: usize,
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
        for (sum, n) in held.iter_mut().zip(&row.held) {
            *sum = sum.saturating_sub(*n);
        }
        held[to] = held[to].saturating_add(row.total());
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
