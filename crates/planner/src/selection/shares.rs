//! Counts what a target holds of the readers, as others reckon with it: measured, and expected when what is in flight has
//! landed.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::inputs::{is_in_flight, may_move};
use crate::target::TargetContext;
use crate::times::add_duration;
use crate::types::Step;
use crate::world::TargetWorld;
use dbbalance_api::spec::Endpoint;
use dbbalance_core::balance::{OtherConnections, ReaderShares};
use dbbalance_core::evidence::PodHoldings;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::topology::{InstanceId, Topology};

/// How long the pods of a batch count where they are expected (docs/adr/0019-cluster-balance.md): a batch is measured after
/// 30 s at the latest, and a target whose batch is not measured must hold no other one for ever.
const RESERVED_FOR: SignedDuration = SignedDuration::from_mins(2);

/// How many of its pods must have been read, in percent, as for a decision.
const READ_PERCENT: usize = 90;

/// Counts the shares of a target, with the step that it takes now.
pub(crate) fn count_shares(ctx: &TargetContext, step: Option<&Step>) -> ReaderShares {
    let world = ctx.pass.world;
    if !ctx.pass.policy.evidence.is_measured() || !world.evidence_allowed {
        return ReaderShares::Unmeasured;
    }
    let topology = ctx.pass.settled_topology();
    let Some(topology) = topology.filter(|_| ctx.policy.has_pool(Endpoint::Reader)) else {
        return ReaderShares::Unmeasured;
    };
    let held: Vec<(&PodFacts, BTreeMap<InstanceId, u32>)> = ctx
        .counted
        .iter()
        .filter_map(|pod| Some((*pod, hold_readers(ctx, ctx.found, pod, &topology)?)))
        .collect();
    if held.len() * 100 < ctx.counted.len() * READ_PERCENT {
        return ReaderShares::Unread;
    }
    let mut shares = OtherConnections::default();
    let batch = ctx.status.balance.as_ref().and_then(|b| b.batch.as_ref());
    let batch = batch.filter(|b| ctx.pass.now < add_duration(b.at, RESERVED_FOR));
    for (pod, held) in &held {
        let flies = batch.is_some() && (is_taken(step, pod) || is_in_flight(ctx, pod));
        let mut one = OtherConnections {
            measured: held.clone(),
            ..OtherConnections::default()
        };
        if !flies {
            one.expected.clone_from(held);
        }
        if may_move(ctx, pod) {
            let total = held.values().fold(0_u32, |sum, n| sum.saturating_add(*n));
            let on = held.keys().map(|instance| (instance.clone(), total));
            one.smallest = on.collect();
        }
        shares.add(&one);
    }
    if let Some(batch) = batch {
        let receivers = &batch.receiver_names;
        let now = receivers
            .iter()
            .filter_map(|r| shares.expected.get(&InstanceId(r.clone())));
        let now = now.fold(0_u32, |sum, n| sum.saturating_add(*n));
        let flying = batch
            .connections
            .saturating_sub(now.saturating_sub(batch.held));
        expect_on(&mut shares.expected, receivers, flying);
    }
    ReaderShares::Read(shares)
}

/// Returns the connections of a pod to readers, without those that hold none; `None` if it was not read.
fn hold_readers(
    ctx: &TargetContext,
    found: &TargetWorld,
    pod: &PodFacts,
    topology: &Topology,
) -> Option<BTreeMap<InstanceId, u32>> {
    let reading = found.evidence.reading(&pod.uid)?;
    let book = &ctx.pass.world.dns.book;
    let holds = PodHoldings::from_sockets(&reading.sockets, book, topology);
    let on_readers = topology.readers.iter().map(|r| {
        let connections = holds.connections_to(&r.instance);
        (r.instance.clone(), connections)
    });
    Some(on_readers.filter(|(_, n)| *n > 0).collect())
}

fn is_taken(step: Option<&Step>, pod: &PodFacts) -> bool {
    match step {
        Some(Step::Pods { pods, .. }) => pods.iter().any(|p| p.uid == pod.uid),
        Some(Step::Rollout { .. } | Step::Stamp { .. }) | None => false,
    }
}

/// Adds connections in equal parts to the readers that are expected to receive them.
fn expect_on(expected: &mut BTreeMap<InstanceId, u32>, receivers: &[String], connections: u32) {
    let parts = u32::try_from(receivers.len()).unwrap_or(u32::MAX).max(1);
    let mut rest = connections % parts;
    for receiver in receivers {
        let one = u32::from(rest > 0);
        rest -= one;
        let held = expected.entry(InstanceId(receiver.clone())).or_default();
        *held = held.saturating_add(connections / parts + one);
    }
}
