//! Sorts the connections of a target's pods: those in the right places, and those that are broken.
//!
//! How even they are is computed in `shares`.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::inputs::{Holdings, Inputs, PodView, Pools, Strays};
use super::verdict::{Unknown, add_saturating};
use crate::topology::{InstanceId, Topology};

/// A pod that was read.
pub(super) struct PodShare<'a> {
    pub pod: &'a PodView,
    /// Connections to each place, in the order of the places.
    pub held: Vec<u32>,
    pub wrong_role: u32,
    /// Connections to no member; after a failover also those that lead nowhere.
    pub no_member: u32,
}

impl PodShare<'_> {
    pub(super) fn total(&self) -> u32 {
        self.held.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    /// Returns the number of connections to a wrong role or to no member.
    pub(super) const fn misplaced(&self) -> u32 {
        self.wrong_role.saturating_add(self.no_member)
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.wrong_role > 0 || self.no_member > 0
    }
}

/// The pods that were read, with the places that their connections lead to.
pub(super) struct PodShares<'a> {
    /// The instances among which the pools are spread: the readers; or the writer, if the target has only writer
    /// pools or the cluster has no readers (its reader endpoint then resolves to the writer).
    pub places: Vec<InstanceId>,
    /// The weights of the places.
    pub weights: Vec<u32>,
    pub rows: Vec<PodShare<'a>>,
    /// Number of counted pods, including unread ones.
    pub pods: usize,
}

impl<'a> PodShares<'a> {
    /// Sorts the connections of the inputs' pods.
    ///
    /// # Errors
    /// Returns why nothing can be concluded from this evidence.
    pub(super) fn from_inputs(inputs: &Inputs<'a>) -> Result<Self, Unknown> {
        let pods = inputs.pods.len();
        if pods == 0 {
            return Err(Unknown::NoPods);
        }
        let need = inputs.settings.read_percent;
        let read: Vec<(&PodView, &Holdings)> = inputs
            .pods
            .iter()
            .filter_map(|p| Some((p, p.holds.as_ref()?)))
            .collect();
        if !is_at_least_percent(read.len(), pods, need) {
            return Err(Unknown::EvidencePartial {
                read: read.len(),
                pods,
                need,
            });
        }
        if !read
            .iter()
            .any(|(p, h)| h.is_attributable() || count_dead(p, h) > 0)
        {
            let unknown = read
                .iter()
                .fold(0_u32, |sum, (_, h)| sum.saturating_add(h.unknown));
            return Err(match unknown {
                0 => Unknown::NoConnections,
                connections => Unknown::EvidenceUnattributable { connections },
            });
        }
        let topology = inputs.topology;
        let places = if inputs.pools.has_reader_pools() && !topology.readers.is_empty() {
            topology
                .readers
                .iter()
                .map(|r| r.instance.clone())
                .collect()
        } else {
            vec![topology.writer.instance.clone()]
        };
        let rows = read
            .into_iter()
            .map(|(pod, holds)| PodShare {
                pod,
                held: places
                    .iter()
                    .map(|place| holds.connections_to(place))
                    .collect(),
                wrong_role: count_wrong_role(
                    inputs.pools,
                    topology,
                    inputs
                        .previous_writer
                        .filter(|_| pod.before_failover && !holds.reopened),
                    holds,
                )
                .without_strays(inputs.settings.strays)
                .count(),
                no_member: holds
                    .no_member
                    .saturating_add(count_unknown_members(inputs, holds))
                    .saturating_add(count_dead(pod, holds)),
            })
            .collect();
        let weights = places.iter().map(|place| inputs.weights.weight(place));
        Ok(Self {
            weights: weights.collect(),
            places,
            rows,
            pods,
        })
    }

    /// Returns the connections to each place, over all pods.
    pub(super) fn connections_by_place(&self) -> Vec<u32> {
        let mut sums = vec![0_u32; self.places.len()];
        for row in &self.rows {
            for (sum, n) in sums.iter_mut().zip(&row.held) {
                *sum = sum.saturating_add(*n);
            }
        }
        sums
    }

    /// Returns the number of pods whose evidence can be acted on: recent, and newer than their last recycle and than
    /// `since`.
    pub(super) fn count_usable(&self, inputs: &Inputs, since: Option<Timestamp>) -> usize {
        self.rows
            .iter()
            .filter(|row| is_usable(inputs, row.pod) && row.pod.read_at >= since)
            .count()
    }
}

/// Returns whether a pod's evidence can be acted on.
pub(super) fn is_usable(inputs: &Inputs, pod: &PodView) -> bool {
    pod.read_at.is_some_and(|read| {
        inputs.now <= add_saturating(read, inputs.settings.evidence_age)
            && pod.last_recycled.is_none_or(|done| read > done)
    })
}

/// Returns the UIDs of the pods with connections to the wrong role or to an instance that is not a member, with their
/// number; empty if the evidence is inconclusive.
#[must_use]
pub fn count_misplaced(inputs: &Inputs) -> BTreeMap<String, u32> {
    let fleet = PodShares::from_inputs(inputs);
    let rows = fleet.iter().flat_map(|f| &f.rows);
    rows.filter(|r| r.is_broken())
        .map(|r| (r.pod.id.clone(), r.misplaced()))
        .collect()
}

/// Returns whether `part` of `whole` is at least `percent`.
pub(super) fn is_at_least_percent(part: usize, whole: usize, percent: u32) -> bool {
    let percent = usize::try_from(percent).unwrap_or(100);
    part.saturating_mul(100) >= whole.saturating_mul(percent)
}

/// Returns the number of a pod's sockets that a failover has left dead. A pool that does not validate its connections
/// keeps them, and hands them out. At other times a server closes connections that were idle for long, which its pools
/// are made for.
fn count_dead(pod: &PodView, holds: &Holdings) -> u32 {
    if pod.before_failover { holds.dead } else { 0 }
}

/// Returns the number of connections to instances that the topology does not list.
fn count_unknown_members(inputs: &Inputs, holds: &Holdings) -> u32 {
    holds
        .by_instance
        .iter()
        .filter(|(id, _)| !inputs.topology.members().any(|(m, _)| m.instance == **id))
        .fold(0, |sum, (_, n)| sum.saturating_add(*n))
}

/// One pod's connections to the wrong role, by where they lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrongRole {
    /// Connections of reader pools to the writer.
    pub on_writer: u32,
    /// Connections of writer pools to readers.
    pub on_readers: u32,
}

impl WrongRole {
    /// Leaves out the connections that each pod may hold to the other role.
    #[must_use]
    pub const fn without_strays(self, strays: Strays) -> Self {
        Self {
            on_writer: self.on_writer.saturating_sub(strays.to_writer),
            on_readers: self.on_readers.saturating_sub(strays.to_readers),
        }
    }

    /// Returns the number of misplaced connections. With both pools, the two counts are the same mistake seen from
    /// both sides.
    #[must_use]
    pub const fn count(self) -> u32 {
        if self.on_writer > self.on_readers {
            self.on_writer
        } else {
            self.on_readers
        }
    }
}

/// Counts connections of writer pools to readers, and of reader pools to the writer while readers serve. `old` is the
/// writer before a failover that the pod's connections may be older than.
#[must_use]
pub fn count_wrong_role(
    pools: Pools,
    topology: &Topology,
    old: Option<&InstanceId>,
    holds: &Holdings,
) -> WrongRole {
    let only = |on_writer, on_readers| WrongRole {
        on_writer,
        on_readers,
    };
    let on_writer = holds.connections_to(&topology.writer.instance);
    let on_readers = topology.readers.iter().fold(0_u32, |sum, r| {
        sum.saturating_add(holds.connections_to(&r.instance))
    });
    match pools {
        Pools::Writer => only(0, on_readers),
        // The reader endpoint resolves to the writer.
        Pools::Reader | Pools::Both { .. } if topology.readers.is_empty() => WrongRole::default(),
        Pools::Reader => only(on_writer, 0),
        Pools::Both { reader, writer } => {
            // A pool may be larger than declared, or not full: only connections that one side has too many of and the
            // other lacks can be in the wrong place.
            let from_readers = on_writer
                .saturating_sub(writer)
                .min(reader.saturating_sub(on_readers));
            let from_writers = on_readers
                .saturating_sub(reader)
                .min(writer.saturating_sub(on_writer));
            // Pools of equal size that a failover has swapped have the right counts.
            let swapped = match old {
                Some(old) if *old != topology.writer.instance => {
                    on_writer.min(holds.connections_to(old))
                }
                _ => 0,
            };
            only(from_readers.max(swapped), from_writers)
        }
    }
}
