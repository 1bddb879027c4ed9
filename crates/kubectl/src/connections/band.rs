//! Finds the band of a target: the operator's or, where it has recorded none, the one of the current readings.

use std::collections::BTreeSet;

use serde::Serialize;

use super::snapshot::SnapshotInput;
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_core::balance::{
    Holdings, Inputs, OtherConnections, PodView, Pools, Reach, Settings, compute_figures,
};
use dbbalance_core::evidence::Evidence;
use dbbalance_core::weights::ReaderWeights;

/// The band, in connections a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ConnectionBand {
    pub lowest: u32,
    pub highest: u32,
}

/// The band is the operator's, which knows the newest of all pods; where it has recorded none, as without
/// evidence, the same rule is asked about what was read here.
pub(super) fn find_band(
    input: &SnapshotInput,
    evidence: &Evidence,
    pools: Pools,
) -> Option<ConnectionBand> {
    // Of an only reader there is nothing to even out.
    if pools == Pools::Writer || input.topology.readers.len() < 2 {
        return None;
    }
    // Where shares are not equal each reader has a range of its own; where others hold connections, it is one of the sum.
    let mut shares = input.balance.into_iter().flat_map(|b| &b.shares);
    if shares.any(|s| s.wanted_percent.is_some() || s.cluster_percent.is_some()) {
        return None;
    }
    let recorded = input.balance.and_then(|balance| {
        Some(ConnectionBand {
            lowest: u32::try_from(balance.lowest?).ok()?,
            highest: u32::try_from(balance.highest?).ok()?,
        })
    });
    recorded.or_else(|| compute_band(input, evidence, pools))
}

fn compute_band(
    input: &SnapshotInput,
    evidence: &Evidence,
    pools: Pools,
) -> Option<ConnectionBand> {
    let pods: Vec<PodView> = input
        .pods
        .iter()
        .map(|(_, uid)| PodView {
            id: uid.clone(),
            node: None,
            holds: evidence.pods.get(uid).map(Holdings::from),
            read_at: Some(input.time),
            ready: true,
            in_flight: false,
            started: None,
            last_recycled: None,
            recycles: 0,
            movable: true,
            before_failover: false,
            stale: false,
        })
        .collect();
    let figures = compute_figures(&Inputs {
        now: input.time,
        topology: input.topology,
        leaving: &BTreeSet::new(),
        previous_writer: None,
        weights: &ReaderWeights::default(),
        others: &OtherConnections::default(),
        pools,
        pods: &pods,
        looks: &[],
        writer_looks: &[],
        free: 0,
        canary: false,
        event: None,
        reach: Reach::Unseen,
        name: None,
        settings: &Settings::new(input.tolerance, None),
        memory: &RebalanceState::default(),
        scope: "",
        recent_change: false,
    })
    .ok()?;
    let (lo, hi) = figures.common_band()?;
    Some(ConnectionBand {
        lowest: truncate_to_u32(lo.ceil()),
        highest: truncate_to_u32(hi.floor()),
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // connections: never negative, far within
fn truncate_to_u32(n: f64) -> u32 {
    n.clamp(0.0, f64::from(u32::MAX)) as u32
}
