//! Selection by stamps: which stale pods go next, in which order, or whether the workload rolls.

use super::batch::{Candidate, build_pod_steps, recycle_step};
use crate::gates::budget::{StepKind, check_budget};
use crate::gates::pacing::{
    count_free, count_free_to_replace, interval_end, is_exempt, pacing_gate, storm_cap_end,
};
use crate::gates::workload::single_replica_gate;
use crate::runs::canary::{
    Canary, check_stamped_canary, count_free_exempt, count_unanswered_canaries,
    most_unanswered_canaries,
};
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
        candidates.exempt.clear();
    }
    let withheld = candidates.cut_exempt(ctx).err();
    let interval = interval_end(ctx);
    let pace = match (interval, ctx.found.left_of_step) {
        (None, _) => StepPace::New,
        (Some(_), 0) => StepPace::Wait,
        (Some(_), left) => StepPace::Continue(left),
    };
    let canary = candidates.cut_to_pace(ctx, pace)?;
    if candidates.len() == 0 {
        return Err(withheld.unwrap_or_else(|| pacing_gate(ctx, interval.or(storm_cap))));
    }
    let all = candidates.all().copied();
    let (pods, adds) = build_pod_steps(ctx, all, method, in_flight, |p| ctx.is_urgent(p))?;
    let canary = canary.is_some_and(|uid| pods.iter().any(|p| p.uid == uid));
    Ok((recycle_step(ctx, pods, canary), adds))
}

/// What the interval between steps allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum StepPace {
    /// A new step.
    New,
    /// So many pods of the last step, which the rate limit has cut.
    Continue(usize),
    /// Only what never waits.
    Wait,
}

/// The stale pods that could go next, by why.
#[derive(Default)]
pub(crate) struct StaleCandidates<'a> {
    /// Not Ready and exempt: they do not count against `maxUnavailable`, and wait only for the first of themselves.
    exempt: Vec<Candidate<'a>>,
    /// Started, and never stamped: once more.
    retry: Vec<Candidate<'a>>,
    /// Ready, and untouched in this epoch.
    ready: Vec<Candidate<'a>>,
    /// Not Ready, and untouched in this epoch.
    not_ready: Vec<Candidate<'a>>,
    /// The method has failed on them.
    fallback: Vec<Candidate<'a>>,
    /// Whether those that are not Ready go before those that are: an eviction costs them nothing, and the others something.
    not_ready_first: bool,
}

impl<'a> StaleCandidates<'a> {
    /// Sorts the stale pods: urgent ones first, then what an older epoch has started, then the oldest, then by name, so
    /// that every pass agrees.
    fn of(ctx: &TargetContext<'a>, only_urgent: bool) -> Self {
        let mut found = Self {
            not_ready_first: !ctx.takes_nothing_away(),
            ..Self::default()
        };
        let is_urgent = |p: &PodFacts| ctx.is_urgent(p);
        let is_exempt = is_exempt(ctx, true);
        let mut stale: Vec<&PodFacts> = ctx.stale.clone();
        stale.retain(|p| !only_urgent || is_urgent(p));
        stale
            .sort_by_cached_key(|p| (!is_urgent(p), !ctx.is_started(p), p.created, p.name.clone()));
        for pod in stale {
            let (list, attempt) = match ctx.stage(pod) {
                Stage::Due(attempt) if !pod.ready && is_exempt && is_urgent(pod) => {
                    (&mut found.exempt, attempt)
                }
                Stage::Due(Attempt::First) if !pod.ready => (&mut found.not_ready, Attempt::First),
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
        let (first, second) = if self.not_ready_first {
            (&self.not_ready, &self.ready)
        } else {
            (&self.ready, &self.not_ready)
        };
        let lists = [&self.exempt, &self.retry, first, second, &self.fallback];
        lists.into_iter().flatten()
    }

    /// Leaves as many exempt pods as may go at once.
    fn cut_exempt(&mut self, ctx: &TargetContext) -> Result<(), ClosedGate> {
        if self.exempt.is_empty() {
            return Ok(());
        }
        let free = count_free_exempt(ctx);
        let most = free.as_ref().copied().unwrap_or(0);
        self.exempt.truncate(most.min(STORM_CAP_PER_SECOND));
        free.map(|_| ())
    }

    /// Leaves out what must wait: for the interval, for the canary, or for other pods to come back. Returns the UID of
    /// the canary, if one of them is it.
    fn cut_to_pace(
        &mut self,
        ctx: &TargetContext,
        pace: StepPace,
    ) -> Result<Option<String>, ClosedGate> {
        if ctx.is_verified() {
            if pace == StepPace::Wait {
                self.keep_exempt();
                return Ok(None);
            }
            let mut free = count_free(ctx);
            if let StepPace::Continue(left) = pace {
                free = free.min(left);
            }
            self.keep_free(ctx, &mut free);
            keep_free(&mut self.fallback, &mut free);
            return Ok(None);
        }
        self.cut_to_canary(ctx, pace == StepPace::Wait)
    }

    /// Leaves no pod but the canary, and what does not wait for it.
    fn cut_to_canary(
        &mut self,
        ctx: &TargetContext,
        within_interval: bool,
    ) -> Result<Option<String>, ClosedGate> {
        let unanswered = count_unanswered_canaries(ctx);
        // A first pod that does not answer, as on a lost node, says nothing about the method: others are tried at once,
        // one more each time.
        if within_interval && unanswered == 0 {
            self.keep_exempt();
            return Ok(None);
        }
        self.fallback.clear();
        let waiting = match check_stamped_canary(ctx) {
            Canary::Waiting(message) => Some(message),
            Canary::NotNeeded | Canary::Passed => None,
        };
        if within_interval {
            self.retry.clear();
        }
        if waiting.is_some() || (!self.retry.is_empty() && unanswered == 0) {
            self.ready.clear();
            self.not_ready.clear();
        } else {
            self.keep_free(ctx, &mut count_free(ctx));
            let left = most_unanswered_canaries(ctx.counted.len()).saturating_sub(unanswered);
            let most = (1 + unanswered).min(left);
            // A Ready pod shows more.
            self.ready.truncate(most);
            self.not_ready.truncate(most - self.ready.len());
        }
        let silent = (unanswered > 0)
            .then(|| format!("{unanswered} pods were tried first and do not answer"));
        match waiting.or(silent) {
            Some(message) if self.len() == 0 => Err(ClosedGate::new(Gate::Canary, message)),
            _ => {
                let mut first = self.ready.iter().chain(&self.not_ready);
                Ok(first.next().map(|c| c.pod.uid.clone()))
            }
        }
    }

    fn keep_exempt(&mut self) {
        self.retry.clear();
        self.ready.clear();
        self.not_ready.clear();
        self.fallback.clear();
    }

    /// Keeps as many untouched pods as may be taken.
    fn keep_free(&mut self, ctx: &TargetContext, free: &mut usize) {
        if self.not_ready_first {
            let mut to_replace = count_free_to_replace(ctx);
            keep_free(&mut self.not_ready, &mut to_replace);
            keep_free(&mut self.ready, free);
        } else {
            keep_free(&mut self.ready, free);
            keep_free(&mut self.not_ready, free);
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
