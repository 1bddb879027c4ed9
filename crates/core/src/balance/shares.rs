//! Computes how even connections are: the fair share, the band around it, and whether single pods can still improve
//! it.
//!
//! Works on sums. Which pods move is decided in `selection`.

use super::inputs::Settings;
use super::pod_shares::PodShares;
use super::reader_set::ReaderSet;
use super::verdict::{BalanceFigures, InstanceShare, Misplaced};
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
    pub(super) fn least_moves(&self, held: &[u32]) -> u32 {
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

/// The statistics of a fleet's sums.
pub(super) struct ShareStats {
    pub figures: BalanceFigures,
    pub band: ToleranceBand,
    pub held: Vec<u32>,
    /// Readers that hold too little.
    pub under: ReaderSet,
    /// Whether the sums are inside the band, or as near as whole pods allow.
    pub is_even: bool,
    pub limited_by: Option<LimitedBy>,
    /// Whether a reader is far above its fair share, or below the band, which opens an episode by itself.
    pub is_far: bool,
}

/// Computes the statistics of the sums. `is_stuck` returns whether no single pod's move would make them more even; it
/// is called only outside the band.
pub(super) fn compute_share_stats(
    fleet: &PodShares,
    by: &Settings,
    is_stuck: impl Fn(&ToleranceBand, &[u32]) -> bool,
) -> ShareStats {
    let held = fleet.connections_by_place();
    let sizes: Vec<u32> = fleet
        .rows
        .iter()
        .map(super::pod_shares::PodShare::total)
        .filter(|n| *n > 0)
        .collect();
    let unit = sizes.iter().min().copied().unwrap_or(0);
    let total = held.iter().fold(0_u32, |sum, c| sum.saturating_add(*c));
    let band = ToleranceBand::new(total, fleet.places.len(), sizes.len(), unit, by);
    let inside = band.contains_all(&held);
    let none_under = !held.iter().any(|c| band.is_under(*c));
    let is_even = inside || none_under || is_stuck(&band, &held);
    let (_, least, most) = compute_tolerated_range(total, held.len(), by);
    let limited_by = (is_even && !is_between(&held, least, most)).then_some(LimitedBy::PodQuantum);
    let far = band.fair * f64::from(by.drift_percent) / 100.0;
    let is_far = !is_even
        && held
            .iter()
            .any(|c| f64::from(*c) > far || f64::from(*c) < band.lo - 0.001);
    let sum = |of: fn(&super::pod_shares::PodShare) -> u32| {
        fleet.rows.iter().map(of).fold(0, u32::saturating_add)
    };
    let excess = if is_even {
        0
    } else {
        held.iter()
            .map(|c| c.saturating_sub(ceil_to_u32(band.fair)))
            .fold(0, u32::saturating_add)
    };
    let mut under = ReaderSet::default();
    let mut names = vec![];
    for (i, c) in held.iter().enumerate() {
        if !is_even && band.is_under(*c) {
            under.insert(i);
            names.push(fleet.places[i].clone());
        }
    }
    let figures = BalanceFigures {
        shares: fleet
            .places
            .iter()
            .zip(&held)
            .map(|(instance, c)| InstanceShare {
                instance: instance.clone(),
                connections: *c,
                permille: round_to_permille(*c, total),
            })
            .collect(),
        fair: band.fair,
        lo: band.lo,
        hi: band.hi,
        unit,
        under: names,
        least: if is_even {
            0
        } else {
            band.least_moves(&held).max(1)
        },
        misplaced: Misplaced {
            wrong_role: sum(|r| r.wrong_role),
            no_member: sum(|r| r.no_member),
            excess,
        },
        broken_pods: fleet.rows.iter().filter(|r| r.is_broken()).count(),
        tolerance_percent: by.tolerance_percent,
        read: fleet.rows.len(),
        pods: fleet.pods,
    };
    ShareStats {
        figures,
        band,
        held,
        under,
        is_even,
        limited_by,
        is_far,
    }
}

/// Returns `part` of `whole` in thousandths, rounded; 0 if `whole` is 0.
pub(super) fn round_to_permille(part: u32, whole: u32) -> u32 {
    let (part, whole) = (u64::from(part), u64::from(whole));
    let rounded = (part * 1000 + whole / 2).checked_div(whole).unwrap_or(0);
    u32::try_from(rounded).unwrap_or(1000)
}

/// Converts to a floating-point number; counts of pods and readers are far below 2³².
pub(super) fn to_f64(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Rounds up, to at least 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturating, and never negative
pub(super) fn ceil_to_u32(x: f64) -> u32 {
    x.ceil().max(0.0) as u32
}
