//! The gate of DNS before a step that nothing verifies: a failover's run by stamps alone.
//!
//! The epoch opened when the cluster endpoint had followed. Each step checks the endpoints of the target's own pools
//! again: the reader endpoint follows later than the writer's, and a record may turn back between two steps.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::target::{Stage, TargetContext};
use crate::times::{add_duration, dns_wait_interval};
use crate::types::{ClosedGate, Gate, Step};
use crate::world::former_addresses;
use dbbalance_api::spec::{Endpoint, OnTimeout};
use dbbalance_core::dns::agreement::{ExpectedAnswers, check_pools};
use dbbalance_core::topology::Topology;

/// Whether the steps of this target wait for DNS: some of its stale pods are older than a failover, and
/// `dns.onTimeout: Proceed` has not run out.
pub(crate) fn is_awaited(ctx: &TargetContext) -> bool {
    let dns = &ctx.pass.policy.dns;
    let proceeds =
        dns.on_timeout == OnTimeout::Proceed && deadline(ctx).is_none_or(|at| at <= ctx.pass.now);
    ctx.has_urgent_pods() && !proceeds
}

/// Whether connections are measured, so that a pod which was sent to the wrong place is seen: stamps decide nevertheless
/// for a token, and where no reading was whole in time.
fn is_verified_afterwards(ctx: &TargetContext) -> bool {
    ctx.pass.policy.evidence.is_measured() && ctx.pass.world.evidence_allowed
}

fn deadline(ctx: &TargetContext) -> Option<Timestamp> {
    let opened = ctx.status.urgent_open_time.as_ref()?;
    Some(add_duration(opened.0, ctx.pass.policy.dns.timeout))
}

/// What the message of a hold says once its time has run out.
pub(crate) const LATE: &str = "DNS has not followed within";

/// How DNS lets a step pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DnsAdmission {
    /// Each pool is led where it belongs, or nothing is awaited.
    Open,
    /// The pools of the writer are, and the reader endpoint has not followed in time, as this says.
    WriterAlone(String),
}

/// What DNS holds.
pub(crate) struct DnsHold {
    pub closed: ClosedGate,
    /// When to check it again.
    pub again: Timestamp,
    /// Whether it has not followed within `dns.timeoutSeconds`.
    pub is_late: bool,
}

/// Checks that DNS leads each pool of the target where it belongs. The last step wants samples from after the step
/// before it: what the first one was sent by must have held.
///
/// A reader endpoint that does not follow holds the pools of the writer no longer than `dns.timeoutSeconds`: the only reader
/// may be lost with its zone, and the writers are broken now.
///
/// # Errors
/// What DNS holds, and until when.
pub(crate) fn check_step(ctx: &TargetContext, step: &Step) -> Result<DnsAdmission, DnsHold> {
    let Some(topology) = served_topology(ctx).filter(|_| is_awaited(ctx)) else {
        return Ok(DnsAdmission::Open);
    };
    let now = ctx.pass.now;
    let opened = ctx.status.urgent_open_time.as_ref().map_or(now, |t| t.0);
    let last_step = ctx.running().and_then(|r| r.last_step_time.as_ref());
    let before = last_step.filter(|_| is_last(ctx, step));
    let expected = ExpectedAnswers {
        topology: &topology,
        former: &former_addresses(ctx.pass.status, opened, now),
        // After a failover, pools are not led to a reader that goes as well.
        leaving: &BTreeSet::new(),
        hold: (!is_verified_afterwards(ctx)).then_some(ctx.pass.policy.dns.hold),
        // Only samples of the last seconds show what a pool would be answered now.
        since: now,
        after: before.map(|t| t.0),
    };
    let check = |endpoint: Endpoint| {
        let pools = Some(endpoint).filter(|e| ctx.policy.has_pool(*e));
        check_pools(pools, &expected, &ctx.pass.world.dns, now)
    };
    let until = deadline(ctx);
    let is_late = until.is_some_and(|at| at <= now);
    let seconds = ctx.pass.policy.dns.timeout.as_secs();
    let waiting = match (check(Endpoint::Writer), check(Endpoint::Reader)) {
        (Ok(()), Ok(())) => return Ok(DnsAdmission::Open),
        (Ok(()), Err(reader)) if is_late && ctx.policy.has_pool(Endpoint::Writer) => {
            return Ok(DnsAdmission::WriterAlone(format!(
                "{}; it has not followed within {seconds} s (dns.timeoutSeconds), so the pods go by the cluster endpoint alone",
                reader.message
            )));
        }
        (Err(waiting), _) | (Ok(()), Err(waiting)) => waiting,
    };
    let again = add_duration(now, dns_wait_interval(&waiting));
    let proceeds = ctx.pass.policy.dns.on_timeout == OnTimeout::Proceed;
    let message = if is_late {
        format!(
            "{}; {LATE} {seconds} s, and dns.onTimeout is Hold",
            waiting.message
        )
    } else {
        waiting.message
    };
    let closed = ClosedGate {
        gate: Gate::Dns,
        message,
        until: until.filter(|_| proceeds),
    };
    Err(DnsHold {
        closed,
        again,
        is_late,
    })
}

/// Returns the topology that DNS may serve: the settled one, or the one last read if its writer is the same. A reader that
/// has not settled yet is a reader nevertheless, and a pool that it gets is not misplaced.
fn served_topology(ctx: &TargetContext) -> Option<Topology> {
    let settled = ctx.pass.settled_topology()?;
    let read = ctx.pass.world.topology.current().map(|v| &v.topology);
    let read = read.filter(|t| t.arn == settled.arn && t.writer == settled.writer);
    Some(read.cloned().unwrap_or(settled))
}

/// Whether no stale pod is left to recycle after this step.
fn is_last(ctx: &TargetContext, step: &Step) -> bool {
    let Step::Pods { pods, .. } = step else {
        return true;
    };
    let is_due = |stage| matches!(stage, Stage::Due(_) | Stage::FallbackDue(_));
    let due = ctx.stale.iter().filter(|p| is_due(ctx.stage(p)));
    due.count() <= pods.len()
}
