//! Selection by stamps: which stale pods go next, in which order, or whether the workload rolls.

use super::batch::{Candidate, build_pod_steps, recycle_step};
use crate::gates::budget::{StepKind, check_budget};
use crate::gates::pacing::{count_busy, interval_end, pacing_gate, storm_cap_end};
use crate::gates::workload::single_replica_gate;
use crate::runs::canary::{Canary, check_stamped_canary};
use crate::target::{Stage, TargetContext};
use crate::types::{ClosedGate, Gate, Step};
use dbbalance_api::spec::Method;
use dbbalance_core::budget::Load;
use dbbalance_core::pacing::STORM_CAP_PER_SECOND;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Attempt;

/// Selects the next step of a run in progress, with what it may add. `None`: what was started goes on by itself.
///
/// # Errors
/// The gate that holds every pod that could go.
pub(crate) fn select_step(
    ctx: &mut TargetContext,
    only_urgent: bool,
    in_flight: Load,
) -> Result<Option<(Step, Load)>, ClosedGate> {
    if ctx.policy.recycle.method == Method::Rollout {
        return select_rollout(ctx, in_flight);
    }
    select_pods(ctx, only_urgent, in_flight).map(Some)
}

fn select_rollout(
    ctx: &mut TargetContext,
    in_flight: Load,
) -> Result<Option<(Step, Load)>, ClosedGate> {
    let Some(workload) = &ctx.found.workload else {
        return Ok(None);
    };
    let (stamp, due) = (ctx.stamp(), Some(ctx.status.due_epoch));
    if workload.template_stamp.as_ref() == Some(&stamp) || ctx.status.reverted_epoch == due {
        return Ok(None);
    }
    if let Some(stamped) = ctx.running().and_then(|r| r.template_generation) {
        // Until then the cache has not seen our own write yet.
        if workload.generation > stamped {
            ctx.status.reverted_epoch = due;
        }
        return Ok(None);
    }
    let max_unavailable = ctx.pass.policy.pacing.max_unavailable(workload.wanted);
    if let Some(message) = workload.rollout_refusal(max_unavailable) {
        return Err(ClosedGate::new(Gate::Refused, message));
    }
    let surge = workload.surge_pods();
    let adds = ctx.load(surge.max(1));
    let kind = StepKind {
        surges: surge > 0,
        urgent: ctx.has_urgent_pods(),
    };
    check_budget(&ctx.pass, in_flight, adds, kind)?;
    let step = Step::Rollout {
        kind: workload.kind,
        name: workload.name.clone(),
        stamp,
    };
    Ok(Some((step, adds)))
}

fn select_pods(
    ctx: &TargetContext,
    only_urgent: bool,
    in_flight: Load,
) -> Result<(Step, Load), ClosedGate> {
    let method = ctx.policy.recycle.method;
    let mut candidates = StaleCandidates::of(ctx, only_urgent);
    let evicts = method == Method::Evict || candidates.is_fallback_alone();
    if ctx.is_single_replica() {
        if evicts && candidates.len() > 0 {
            return Err(single_replica_gate());
        }
        candidates.fallback.clear();
    }
    // What the smallest step would add must fit before its pace is asked for.
    if candidates.len() > 0 && candidates.all().all(|c| c.adds) {
        let kind = StepKind {
            surges: evicts,
            urgent: candidates.all().any(|c| ctx.is_urgent(c.pod)),
        };
        check_budget(&ctx.pass, in_flight, ctx.load(1), kind)?;
    }
    let storm_cap = storm_cap_end(ctx);
    if storm_cap.is_some() {
        candidates.broken.clear();
    }
    candidates.broken.truncate(STORM_CAP_PER_SECOND);
    let interval = interval_end(ctx);
    let canary = candidates.cut_to_pace(ctx, interval.is_some())?;
    if candidates.len() == 0 {
        return Err(pacing_gate(ctx, interval.or(storm_cap)));
    }
    let all = candidates.all().copied();
    let (pods, adds) = build_pod_steps(ctx, all, method, in_flight, |p| ctx.is_urgent(p))?;
    let canary = canary.is_some_and(|uid| pods.iter().any(|p| p.uid == uid));
    Ok((recycle_step(ctx, pods, canary), adds))
}

/// The stale pods that could go next, by why.
pub(crate) struct StaleCandidates<'a> {
    /// Not Ready: they neither wait for the canary nor count against `maxUnavailable`.
    broken: Vec<Candidate<'a>>,
    /// Started, and never stamped: once more.
    retry: Vec<Candidate<'a>>,
    /// Ready, and untouched in this epoch.
    ready: Vec<Candidate<'a>>,
    /// The method has failed on them.
    fallback: Vec<Candidate<'a>>,
}

impl<'a> StaleCandidates<'a> {
    /// Sorts the stale pods: urgent ones first, then what an older epoch has started, then the oldest, then by name, so
    /// that every pass agrees.
    fn of(ctx: &TargetContext<'a>, only_urgent: bool) -> Self {
        let mut found = Self {
            broken: vec![],
            retry: vec![],
            ready: vec![],
            fallback: vec![],
        };
        let is_urgent = |p: &PodFacts| ctx.is_urgent(p);
        let mut stale: Vec<&PodFacts> = ctx.stale.clone();
        stale.retain(|p| !only_urgent || is_urgent(p));
        stale
            .sort_by_cached_key(|p| (!is_urgent(p), !ctx.is_started(p), p.created, p.name.clone()));
        for pod in stale {
            let (list, attempt) = match ctx.stage(pod) {
                Stage::Due(attempt) if !pod.ready => (&mut found.broken, attempt),
                Stage::Due(Attempt::First) => (&mut found.ready, Attempt::First),
                Stage::Due(attempt) => (&mut found.retry, attempt),
                Stage::FallbackDue(attempt) => (&mut found.fallback, attempt),
                Stage::InFlight | Stage::Failed => continue,
            };
            list.push(Candidate {
                pod,
                attempt,
                adds: !ctx.is_started(pod),
            });
        }
        found
    }

    /// Returns the names of the pods that could go next, in their order.
    pub(crate) fn names(ctx: &TargetContext<'a>) -> Vec<&'a str> {
        let candidates = Self::of(ctx, false);
        candidates.all().map(|c| c.pod.name.as_str()).collect()
    }

    fn len(&self) -> usize {
        self.all().count()
    }

    fn is_fallback_alone(&self) -> bool {
        self.len() > 0 && self.len() == self.fallback.len()
    }

    /// Returns all, in the order in which they go.
    fn all(&self) -> impl Iterator<Item = &Candidate<'a>> {
        let lists = [&self.broken, &self.retry, &self.ready, &self.fallback];
        lists.into_iter().flatten()
    }

    /// Leaves out what must wait: for the interval, for the canary, or for other pods to come back. Returns the UID of
    /// the canary, if one of them is it.
    fn cut_to_pace(
        &mut self,
        ctx: &TargetContext,
        within_interval: bool,
    ) -> Result<Option<String>, ClosedGate> {
        if within_interval {
            self.retry.clear();
            self.ready.clear();
            self.fallback.clear();
            return Ok(None);
        }
        let mut free = ctx.max_unavailable().saturating_sub(count_busy(ctx));
        if ctx.is_verified() {
            keep_free(&mut self.ready, &mut free);
            keep_free(&mut self.fallback, &mut free);
            return Ok(None);
        }
        self.fallback.clear();
        let waiting = match check_stamped_canary(ctx) {
            Canary::Waiting(message) => Some(message),
            Canary::NotNeeded | Canary::Passed => None,
        };
        if waiting.is_some() || !self.retry.is_empty() {
            self.ready.clear();
        } else {
            self.ready.truncate(1);
            keep_free(&mut self.ready, &mut free);
        }
        match waiting {
            Some(message) if self.len() == 0 => Err(ClosedGate::new(Gate::Canary, message)),
            _ => Ok(self.ready.first().map(|c| c.pod.uid.clone())),
        }
    }
}

/// Keeps as many as may be taken. Pods whose recycle has started are counted already.
fn keep_free(candidates: &mut Vec<Candidate>, free: &mut usize) {
    candidates.retain(|c| {
        let fits = !c.adds || *free > 0;
        *free -= usize::from(fits && c.adds);
        fits
    });
}
