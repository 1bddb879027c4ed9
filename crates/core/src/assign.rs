//! Assigns the pods of a target to readers by name, so that each reader gets its share with the least number of moves.
//!
//! It serves pools that connect to the instance that they are told. Pools that look a name up cannot be assigned; `balance`
//! chooses which of them to renew.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::topology::InstanceId;

/// A reader and its part of the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedReader {
    /// The instance.
    pub instance: InstanceId,
    /// Its part, relative to the other readers' weights. 0 empties it.
    pub weight: u32,
}

/// A pod whose reader pools can be told an instance.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignablePod {
    /// UID.
    pub id: String,
    /// Connections to each reader.
    pub held: BTreeMap<InstanceId, u32>,
    /// The instance that it was told last.
    pub told: Option<InstanceId>,
    /// Connections that its reader pools hold when they are full.
    pub size: u32,
    /// Whether it may be recycled now.
    pub movable: bool,
    /// Its Ready condition.
    pub ready: bool,
    /// How often it was recycled in its life.
    pub recycles: u32,
    /// When it was created.
    pub created: Option<Timestamp>,
}

impl AssignablePod {
    /// Returns the reader that the pod counts for: the one with most of its connections. Equal counts go to the reader
    /// that it was told, then by name.
    fn find_home(&self, readers: &[WeightedReader]) -> Option<usize> {
        let held = |index: usize| self.held.get(&readers[index].instance).copied();
        (0..readers.len())
            .filter(|index| held(*index).is_some_and(|n| n > 0))
            .max_by(|a, b| {
                let is_told = |i: usize| self.told.as_ref() == Some(&readers[i].instance);
                let by_name = readers[*b].instance.cmp(&readers[*a].instance);
                let by_told = is_told(*a).cmp(&is_told(*b));
                held(*a).cmp(&held(*b)).then(by_told).then(by_name)
            })
    }

    /// Orders the pods of a reader that has too many, the first to move first: one that serves nobody, then the one that
    /// was disturbed least, then the oldest.
    fn cmp_by_turn(&self, other: &Self) -> std::cmp::Ordering {
        (self.ready, self.recycles, self.created, &self.id).cmp(&(
            other.ready,
            other.recycles,
            other.created,
            &other.id,
        ))
    }
}

/// A pod and the reader that it is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAssignment {
    /// UID of the pod.
    pub pod: String,
    /// The reader.
    pub to: InstanceId,
}

/// Returns the moves that give each reader its share, in the order in which they even out most.
///
/// Pods of one size end within one pod of the exact shares, by the least number of moves for which that can be. Pods
/// of several sizes end inside the tolerance (`tolerance_percent` above a share, `floor_percent` of it below) where single
/// moves can reach it; which moves are the least is then a packing problem, and the answer is a good one. A pod without
/// connections to any reader is told the reader that lacks most, and is no move of another pod's.
///
/// Returns nothing if no reader has a weight: there is nowhere to go.
#[must_use]
pub fn assign_pods(
    pods: &[AssignablePod],
    readers: &[WeightedReader],
    tolerance_percent: u32,
    floor_percent: u32,
) -> Vec<PodAssignment> {
    let weights: u64 = readers.iter().map(|r| u64::from(r.weight)).sum();
    if weights == 0 {
        return Vec::new();
    }
    let mut fleet = AssignedFleet::new(pods, readers);
    let size = pods.first().map_or(0, |pod| pod.size);
    if pods.iter().all(|pod| pod.size == size) {
        fleet.move_to_quotas(weights);
    } else {
        fleet.move_into_tolerance(weights, tolerance_percent, floor_percent);
    }
    fleet.moves
}

/// The gain of a pod that holds nothing: it disturbs nobody, so it goes before all others, to the emptiest reader first.
const UNPLACED_FIRST: f64 = 1e12;

/// The pods by the reader that they count for, while moves are chosen.
struct AssignedFleet<'a> {
    pods: &'a [AssignablePod],
    readers: &'a [WeightedReader],
    /// The place of each pod's reader; `None` for a pod without connections.
    homes: Vec<Option<usize>>,
    moves: Vec<PodAssignment>,
}

impl<'a> AssignedFleet<'a> {
    fn new(pods: &'a [AssignablePod], readers: &'a [WeightedReader]) -> Self {
        Self {
            pods,
            readers,
            homes: pods.iter().map(|pod| pod.find_home(readers)).collect(),
            moves: Vec::new(),
        }
    }

    fn count_homes(&self) -> Vec<usize> {
        let mut counts = vec![0; self.readers.len()];
        for home in self.homes.iter().flatten() {
            counts[*home] += 1;
        }
        counts
    }

    fn move_pod(&mut self, pod: usize, to: usize) {
        self.homes[pod] = Some(to);
        self.moves.push(PodAssignment {
            pod: self.pods[pod].id.clone(),
            to: self.readers[to].instance.clone(),
        });
    }

    /// Returns the movable pods of a reader, or those without one, by their turn.
    fn find_movable(&self, home: Option<usize>) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.pods.len())
            .filter(|pod| self.homes[*pod] == home && self.pods[*pod].movable)
            .collect();
        found.sort_by(|a, b| self.pods[*a].cmp_by_turn(&self.pods[*b]));
        found
    }

    /// Moves pods of one size until each reader has its quota, or nothing movable is left above one.
    fn move_to_quotas(&mut self, weights: u64) {
        let quotas = self.compute_quotas(weights);
        let mut counts = self.count_homes();
        let homeless = self.find_movable(None);
        let surplus = (0..self.readers.len()).flat_map(|reader| {
            let many = counts[reader].saturating_sub(quotas[reader]);
            self.find_movable(Some(reader)).into_iter().take(many)
        });
        let waiting: Vec<usize> = homeless.into_iter().chain(surplus).collect();
        for pod in waiting {
            let deepest = (0..quotas.len())
                .filter(|reader| counts[*reader] < quotas[*reader])
                .max_by_key(|reader| (quotas[*reader] - counts[*reader], usize::MAX - reader));
            let Some(to) = deepest else {
                return;
            };
            if let Some(from) = self.homes[pod] {
                counts[from] -= 1;
            }
            counts[to] += 1;
            self.move_pod(pod, to);
        }
    }

    /// Returns the number of pods of each reader: its share rounded down, and the rest one by one. Rounding up a reader
    /// that already has more pods than its share saves a move, whatever its remainder; among equals the larger remainder is
    /// nearer to the weights.
    fn compute_quotas(&self, weights: u64) -> Vec<usize> {
        let pods = u64::try_from(self.pods.len()).unwrap_or(u64::MAX);
        let product = |reader: usize| pods.saturating_mul(u64::from(self.readers[reader].weight));
        let counts = self.count_homes();
        let to_usize = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let mut quotas: Vec<usize> = (0..self.readers.len())
            .map(|reader| to_usize(product(reader) / weights))
            .collect();
        let mut rest = self.pods.len() - quotas.iter().sum::<usize>();
        let mut turns: Vec<usize> = (0..self.readers.len())
            .filter(|reader| product(*reader) % weights > 0)
            .collect();
        turns.sort_by_key(|reader| {
            let saves = counts[*reader] > quotas[*reader];
            std::cmp::Reverse((
                saves,
                product(*reader) % weights,
                counts[*reader],
                usize::MAX - reader,
            ))
        });
        for reader in turns {
            if rest > 0 {
                quotas[reader] += 1;
                rest -= 1;
            }
        }
        quotas
    }

    /// Moves pods of several sizes: each time the one that evens out most, until all readers are inside the tolerance.
    fn move_into_tolerance(&mut self, weights: u64, tolerance_percent: u32, floor_percent: u32) {
        let total: f64 = self.pods.iter().map(|pod| f64::from(pod.size)).sum();
        #[allow(clippy::cast_precision_loss)] // sums of a few weights of at most a thousand
        let ideal: Vec<f64> = self
            .readers
            .iter()
            .map(|reader| total * f64::from(reader.weight) / weights as f64)
            .collect();
        let is_tolerated = |held: &[f64]| {
            held.iter().zip(&ideal).all(|(held, ideal)| {
                let most = ideal * f64::from(tolerance_percent.saturating_add(100)) / 100.0;
                let least = ideal * f64::from(floor_percent) / 100.0;
                *held <= most + 0.001 && *held >= least - 0.001
            })
        };
        // Each pod moves once at most.
        for _ in 0..self.pods.len() {
            let held = self.sum_sizes();
            let homeless = self.homes.iter().any(Option::is_none);
            if is_tolerated(&held) && !homeless {
                return;
            }
            let Some((pod, to)) = self.find_best_move(&held, &ideal) else {
                return;
            };
            self.move_pod(pod, to);
        }
    }

    fn sum_sizes(&self) -> Vec<f64> {
        let mut held = vec![0.0; self.readers.len()];
        for (pod, home) in self.pods.iter().zip(&self.homes) {
            if let Some(home) = home {
                held[*home] += f64::from(pod.size);
            }
        }
        held
    }

    /// Returns the move that lowers the sum of squared distances from the shares most, of a pod that has not moved yet.
    fn find_best_move(&self, held: &[f64], ideal: &[f64]) -> Option<(usize, usize)> {
        let far = |reader: usize| held[reader] - ideal[reader];
        let mut best: Option<(f64, usize, usize)> = None;
        let homes = std::iter::once(None).chain((0..self.readers.len()).map(Some));
        for from in homes {
            for pod in self.find_movable(from) {
                if self.moves.iter().any(|m| m.pod == self.pods[pod].id) {
                    continue;
                }
                let size = f64::from(self.pods[pod].size);
                for to in (0..self.readers.len()).filter(|to| Some(*to) != from) {
                    if self.readers[to].weight == 0 {
                        continue;
                    }
                    let gain = from.map_or(UNPLACED_FIRST - far(to), |from| {
                        2.0 * size * (far(from) - far(to) - size)
                    });
                    if gain > 1e-9 && best.is_none_or(|(most, ..)| gain > most + 1e-9) {
                        best = Some((gain, pod, to));
                    }
                }
            }
        }
        best.map(|(_, pod, to)| (pod, to))
    }
}

#[cfg(test)]
mod tests;
