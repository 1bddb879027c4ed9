//! Selection by evidence: which of the pods that the balance names go now, and which are stamped without an effect.
//!
//! Exempt from `maxUnavailable`, under the storm cap, are pods that a failover has broken and whose method takes nothing away
//! from them; all else is what the balance was told to be free.

use super::assessment::UsableEvidence;
use super::batch::{Candidate, build_pod_steps, recycle_step};
use crate::gates::budget::{StepKind, check_budget};
use crate::gates::pacing::{
    count_free as count_free_pods, count_free_to_replace, is_exempt, pacing_gate, storm_cap_end,
    storm_cap_gate,
};
use crate::runs::canary::count_free_exempt;
use crate::target::{Stage, TargetContext};
use crate::types::{ClosedGate, Step};
use dbbalance_api::spec::Method;
use dbbalance_core::balance::Decision;
use dbbalance_core::budget::Load;
use dbbalance_core::evidence::Evidence;
use dbbalance_core::pacing::STORM_CAP_PER_SECOND;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Attempt;

/// How many pods without effect are stamped in one pass.
const MAX_STAMPS: usize = 50;

/// How many Ready pods may be taken.
pub(crate) struct FreePods {
    pub count: usize,
    /// The gate that leaves none free.
    pub closed: Option<ClosedGate>,
}

/// Counts the Ready pods that may be taken: what `maxUnavailable` leaves, no more than the budget has room for, and one before
/// the method is verified.
pub(crate) fn count_free(
    ctx: &TargetContext,
    usable: &UsableEvidence,
    method: Method,
    in_flight: Load,
) -> FreePods {
    let mut busy = usable.count_in_flight();
    busy += if ctx.takes_nothing_away() {
        ctx.count_lost()
    } else {
        ctx.missing()
    };
    let mut free = ctx.max_unavailable().saturating_sub(busy);
    if !ctx.is_verified() {
        free = free.min(1);
    }
    let kind = StepKind {
        surges: method == Method::Evict,
        urgent: false,
    };
    let beside = if usable.is_by_name() {
        count_starting(ctx)
    } else {
        0
    };
    let check = |pods| check_budget(&ctx.pass, in_flight, ctx.load(pods + beside), kind);
    let closed = if free == 0 {
        Some(pacing_gate(ctx, None))
    } else {
        check(1).err()
    };
    while free > 0 && check(free).is_err() {
        free -= 1;
    }
    FreePods {
        count: free,
        closed,
    }
}

/// Returns how many pods may connect by themselves while the name is narrowed: those that are not Ready.
fn count_starting(ctx: &TargetContext) -> usize {
    let pods = ctx.found.pods.iter();
    pods.filter(|p| !p.ready && !p.finished && !p.terminating)
        .count()
}

/// Which privileges of a failover a target has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Urgency {
    /// What is broken is so as after a failover.
    pub is_urgent: bool,
    /// Only that lets it through the gates, so nothing else may move.
    pub only_urgent: bool,
}

/// Selects the step, with what it may add; `None` if the balance has none now.
///
/// # Errors
/// The gate that holds all pods that the balance names.
pub(crate) fn select_step(
    ctx: &TargetContext,
    decision: &Decision,
    method: Method,
    urgency: Urgency,
    in_flight: Load,
) -> Result<Option<(Step, Load)>, ClosedGate> {
    let (mut pods, mut canary) = select_urgent(ctx, decision, urgency);
    let urgent = urgency.is_urgent && !pods.is_empty();
    // The surplus waits for what is broken, as the balance decides; a run that only a failover lets through
    // the gates moves nothing else.
    if pods.is_empty() && !urgency.only_urgent {
        pods = claimable_pods(ctx, &decision.moves);
        canary = !ctx.is_verified() && !pods.is_empty();
    }
    if pods.is_empty() {
        return Ok(None);
    }
    if let Some(until) = storm_cap_end(ctx) {
        return Err(storm_cap_gate(until));
    }
    pods.truncate(STORM_CAP_PER_SECOND);
    let (pods, adds) = build_pod_steps(ctx, pods.into_iter(), method, in_flight, |_| urgent)?;
    Ok(Some((recycle_step(ctx, pods, canary), adds)))
}

/// Returns the broken pods that may go now, and whether one of them is the canary.
fn select_urgent<'a>(
    ctx: &TargetContext<'a>,
    decision: &Decision,
    urgency: Urgency,
) -> (Vec<Candidate<'a>>, bool) {
    let mut free = count_free_pods(ctx);
    let mut to_replace = count_free_to_replace(ctx);
    let exempt = is_exempt(ctx, urgency.is_urgent);
    let mut exempt_left = count_free_exempt(ctx).unwrap_or(0);
    let verified = ctx.is_verified();
    let mut canary = false;
    let mut pods = claimable_pods(ctx, &decision.urgent);
    pods.retain(|candidate| {
        if exempt && !candidate.pod.ready {
            let goes = exempt_left > 0;
            exempt_left -= usize::from(goes);
            return goes;
        }
        // One pod shows first that the method works.
        if !verified && canary {
            return false;
        }
        if !exempt && candidate.attempt == Attempt::First {
            let replaces = !candidate.pod.ready && !ctx.takes_nothing_away();
            let left = if replaces { &mut to_replace } else { &mut free };
            if *left == 0 {
                return false;
            }
            *left -= 1;
        }
        canary = !verified;
        true
    });
    (pods, canary)
}

/// Returns the pods of these UIDs that can be claimed.
fn claimable_pods<'a>(ctx: &TargetContext<'a>, uids: &[String]) -> Vec<Candidate<'a>> {
    let pods = uids.iter().filter_map(|uid| {
        let pod = *ctx.counted.iter().find(|p| p.uid == *uid)?;
        match ctx.stage(pod) {
            Stage::Due(attempt) | Stage::FallbackDue(attempt) => Some(Candidate {
                pod,
                attempt,
                adds: attempt == Attempt::First,
            }),
            Stage::InFlight | Stage::Failed => None,
        }
    });
    pods.collect()
}

/// Selects the stale pods that are stamped: their connections were measured since the epoch opened, and are where they
/// should be.
pub(crate) fn select_stamps(ctx: &TargetContext, usable: &UsableEvidence) -> Option<Step> {
    let opened = ctx.status.open_time.as_ref().map(|t| t.0)?;
    let pods: Vec<_> = ctx
        .stale
        .iter()
        .filter(|p| !ctx.may_still_end(p) && usable.is_placed(&p.uid, opened))
        .take(MAX_STAMPS)
        .map(|p| p.key())
        .collect();
    (!pods.is_empty()).then(|| Step::Stamp {
        pods,
        stamp: ctx.stamp(),
    })
}

/// Selects the stale pods that are stamped because they hold no connection at all, as measured since the epoch opened: a
/// pool that is empty opens towards the new topology by itself.
pub(crate) fn select_idle_stamps(ctx: &TargetContext, evidence: &Evidence) -> Option<Step> {
    let opened = ctx.status.open_time.as_ref().map(|t| t.0)?;
    let is_idle = |pod: &&&PodFacts| {
        let read = ctx.found.evidence.reading(&pod.uid);
        read.is_some_and(|r| r.at >= opened && r.sockets.is_empty())
            && evidence.pods.contains_key(&pod.uid)
            && !ctx.may_still_end(pod)
    };
    let pods = ctx.stale.iter().filter(is_idle).take(MAX_STAMPS);
    let pods: Vec<_> = pods.map(|p| p.key()).collect();
    (!pods.is_empty()).then(|| Step::Stamp {
        pods,
        stamp: ctx.stamp(),
    })
}
