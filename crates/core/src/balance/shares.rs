//! Computes how even connections are: the fair share, the band around it, and whether single pods can still improve
//! it.
//!
//! Works on sums. Which pods move is decided in `selection`.

use super::inputs::Settings;
use super::pod_shares::PodShares;
use super::reader_set::ReaderSet;
use super::verdict::{BalanceFigures, InstanceShare, Misplaced};
use dbbalance_api::status::LimitedBy;

/// The band of a fleet, in connections: one range for each place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToleranceBand {
    /// In the order of the places.
    pub places: Vec<PlaceBand>,
    /// The smallest number of connections that can be moved.
    pub unit: u32,
}

/// What one reader should hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct PlaceBand {
    /// Its weight. With 0 it should hold nothing, and never receives.
    pub weight: u32,
    pub fair: f64,
    pub lo: f64,
    pub hi: f64,
}

impl ToleranceBand {
    /// Computes the band. `weights` are those of the places, `pods` is the number of pods that hold connections to
    /// them, `unit` the connections of the smallest of these pods.
    ///
    /// For a place with the part p of the weights and the fair share f: hi = max(1.15·f, ceil(P·p)·w, f + w/2),
    /// lo = min(0.5·f, floor(P·p)·w): the requested tolerance, widened to what whole pods can reach.
    pub(super) fn new(total: u32, weights: &[u32], pods: usize, unit: u32, by: &Settings) -> Self {
        let sum = sum_weights(weights);
        let w = f64::from(unit);
        let pods = u64::try_from(pods).unwrap_or(u64::from(u32::MAX));
        let places = weights.iter().map(|weight| {
            let (fair, lo, hi) = compute_tolerated_range(total, *weight, sum, by);
            if *weight == 0 {
                return PlaceBand {
                    weight: 0,
                    fair,
                    lo,
                    hi,
                };
            }
            let units = pods.saturating_mul(u64::from(*weight));
            let most = u64_to_f64(units.div_ceil(u64::from(sum)));
            let least = u64_to_f64(units / u64::from(sum));
            PlaceBand {
                weight: *weight,
                fair,
                lo: lo.min(least * w),
                hi: hi.max(most * w).max(fair + w / 2.0),
            }
        });
        Self {
            places: places.collect(),
            unit,
        }
    }

    /// Returns whether each place holds what its range allows, with a thousandth of a connection to spare: 1.15 · f is
    /// not exact in binary.
    pub(super) fn contains_all(&self, held: &[u32]) -> bool {
        let mut places = self.places.iter().zip(held);
        places.all(|(place, c)| is_between(*c, place.lo, place.hi))
    }

    /// Returns whether a reader could take one more unit and end no further above its fair share than it was below.
    fn is_under(&self, place: usize, held: u32) -> bool {
        f64::from(held) < self.fair_share(place) - f64::from(self.unit) / 2.0
    }

    /// Returns the share of a place that its weight gives it.
    pub(super) fn fair_share(&self, place: usize) -> f64 {
        self.places.get(place).map_or(0.0, |p| p.fair)
    }

    pub(super) fn is_above_fair(&self, place: usize, held: u32) -> bool {
        self.places
            .get(place)
            .is_some_and(|p| f64::from(held) > p.fair)
    }

    /// Returns the readers that should receive connections: those that hold too little. While a reader without weight
    /// still holds some and no other lacks any, every reader with a weight may take them.
    pub(super) fn receivers(&self, held: &[u32]) -> ReaderSet {
        let numbered = || held.iter().enumerate();
        let under: ReaderSet = numbered()
            .filter(|(place, c)| self.is_under(*place, **c))
            .map(|(place, _)| place)
            .collect();
        let has_weight = |place: usize| self.places.get(place).is_some_and(|p| p.weight > 0);
        if under.is_empty() && self.holds_unwanted(held) {
            return (0..held.len()).filter(|place| has_weight(*place)).collect();
        }
        under
    }

    /// Returns whether a reader without weight holds connections.
    fn holds_unwanted(&self, held: &[u32]) -> bool {
        let mut places = self.places.iter().zip(held);
        places.any(|(place, c)| *c > 0 && place.weight == 0)
    }

    /// Returns the least number of pods that must move to get inside the band.
    pub(super) fn least_moves(&self, held: &[u32]) -> u32 {
        let unit = f64::from(self.unit.max(1));
        let sum = |far: &dyn Fn(&PlaceBand, f64) -> f64| {
            self.places
                .iter()
                .zip(held)
                .map(|(place, c)| ceil_to_u32((far(place, f64::from(*c)) - 0.001).max(0.0) / unit))
                .fold(0_u32, u32::saturating_add)
        };
        sum(&|place, c| c - place.hi).max(sum(&|place, c| place.lo - c))
    }

    /// Returns the number of pods that raise the reader that lacks most to its fair share.
    pub(super) fn deepest_deficit(&self, held: &[u32]) -> usize {
        let places = self.places.iter().zip(held);
        let gaps = places.map(|(place, c)| place.fair - f64::from(*c));
        let gap = gaps.fold(0.0, f64::max);
        usize::try_from(ceil_to_u32(gap / f64::from(self.unit.max(1)))).unwrap_or(usize::MAX)
    }
}

/// Returns the sum of the weights; at least 1.
fn sum_weights(weights: &[u32]) -> u32 {
    let sum = weights.iter().fold(0_u32, |sum, w| sum.saturating_add(*w));
    sum.max(1)
}

/// Returns the fair share of a place with this part of the weights, and the least and most that the tolerance alone
/// allows. Equal weights are 1 each, so that the share is the quotient of total and places to the last bit.
fn compute_tolerated_range(total: u32, weight: u32, sum: u32, by: &Settings) -> (f64, f64, f64) {
    let fair = f64::from(total) * f64::from(weight) / f64::from(sum);
    let lo = fair * f64::from(by.floor_percent) / 100.0;
    let hi = fair * f64::from(by.tolerance_percent.saturating_add(100)) / 100.0;
    (fair, lo, hi)
}

fn is_between(held: u32, lo: f64, hi: f64) -> bool {
    let c = f64::from(held);
    c >= lo - 0.001 && c <= hi + 0.001
}

/// The statistics of a fleet's sums.
pub(super) struct ShareStats {
    pub figures: BalanceFigures,
    pub band: ToleranceBand,
    /// The sums, those of others included.
    pub held: Vec<u32>,
    /// Those of the target's own pods.
    pub own: Vec<u32>,
    /// Readers that hold too little.
    pub under: ReaderSet,
    /// Whether the sums are inside the band, or as near as whole pods allow.
    pub is_even: bool,
    pub limited_by: Option<LimitedBy>,
    /// Whether a reader is far above its fair share, or below the band, which opens an episode by itself.
    pub is_far: bool,
    /// Whether the target itself holds connections to a reader without weight.
    pub holds_unwanted: bool,
}

/// What others hold of the places, in their order.
#[derive(Default)]
pub(super) struct OtherSums {
    pub held: Vec<u32>,
    /// The connections of the smallest pod that others could move, if the target is judged by what anybody could do.
    pub unit: Option<u32>,
}

impl OtherSums {
    fn is_none(&self) -> bool {
        self.held.iter().all(|n| *n == 0)
    }
}

/// Computes the statistics of the sums, with what others hold. `is_stuck` returns whether no single pod's move would make them more even; it
/// is called only outside the band.
pub(super) fn compute_share_stats(
    fleet: &PodShares,
    others: &OtherSums,
    by: &Settings,
    is_stuck: impl Fn(&ToleranceBand, &[u32]) -> bool,
) -> ShareStats {
    let own = fleet.connections_by_place();
    let more = others.held.iter().chain(std::iter::repeat(&0));
    let held: Vec<u32> = own
        .iter()
        .zip(more)
        .map(|(own, more)| own.saturating_add(*more))
        .collect();
    let sizes: Vec<u32> = fleet
        .rows
        .iter()
        .map(super::pod_shares::PodShare::total)
        .filter(|n| *n > 0)
        .collect();
    let unit = sizes.iter().copied().chain(others.unit).min().unwrap_or(0);
    let total = held.iter().fold(0_u32, |sum, c| sum.saturating_add(*c));
    let weights = &fleet.weights;
    let pods = if others.is_none() {
        sizes.len()
    } else {
        // As many of the smallest pods as would hold the sum.
        usize::try_from(total / unit.max(1)).unwrap_or(usize::MAX)
    };
    let band = ToleranceBand::new(total, weights, pods, unit, by);
    let receivers = band.receivers(&held);
    let inside = band.contains_all(&held);
    let is_even = inside || receivers.is_empty() || is_stuck(&band, &held);
    let weights_sum = sum_weights(weights);
    let is_tolerated = |(weight, c): (&u32, &u32)| {
        let (_, least, most) = compute_tolerated_range(total, *weight, weights_sum, by);
        is_between(*c, least, most)
    };
    let tolerated = weights.iter().zip(&held).all(is_tolerated);
    let limited_by = (is_even && !tolerated).then_some(LimitedBy::PodQuantum);
    let is_far_off = |(place, c): (&PlaceBand, &u32)| {
        let far = place.fair * f64::from(by.drift_percent) / 100.0;
        f64::from(*c) > far || f64::from(*c) < place.lo - 0.001
    };
    let is_far = !is_even && band.places.iter().zip(&held).any(is_far_off);
    let sum = |of: fn(&super::pod_shares::PodShare) -> u32| {
        fleet.rows.iter().map(of).fold(0, u32::saturating_add)
    };
    let under = if is_even {
        ReaderSet::default()
    } else {
        receivers
    };
    let excess = if is_even {
        0
    } else {
        band.places
            .iter()
            .zip(&held)
            .map(|(place, c)| c.saturating_sub(ceil_to_u32(place.fair)))
            .fold(0, u32::saturating_add)
    };
    let figures = BalanceFigures {
        shares: fleet
            .places
            .iter()
            .zip(band.places.iter().zip(&held))
            .map(|(instance, (place, c))| InstanceShare {
                instance: instance.clone(),
                connections: *c,
                permille: round_to_permille(*c, total),
                weight: place.weight,
                fair: place.fair,
                lo: place.lo,
                hi: place.hi,
            })
            .collect(),
        unit,
        under: under.instances(&fleet.places).cloned().collect(),
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
        others: others.held.iter().fold(0, |sum, n| sum.saturating_add(*n)),
        read: fleet.rows.len(),
        pods: fleet.pods,
    };
    ShareStats {
        holds_unwanted: !is_even && band.holds_unwanted(&own),
        figures,
        band,
        held,
        own,
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

/// Converts to a floating-point number, likewise.
fn u64_to_f64(n: u64) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// Rounds up, to at least 0.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturating, and never negative
pub(super) fn ceil_to_u32(x: f64) -> u32 {
    x.ceil().max(0.0) as u32
}
