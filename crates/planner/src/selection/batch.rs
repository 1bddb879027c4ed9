//! A batch of pods: what both selections hand over, cut to the budget and turned into a step.

use crate::gates::budget::check_budget;
use crate::target::TargetContext;
use crate::types::{ClosedGate, PodStep, Step};
use dbbalance_api::spec::Method;
use dbbalance_core::budget::Load;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::{Attempt, Claim};

/// A pod that could go next.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) pod: &'a PodFacts,
    /// The attempt to claim.
    pub(super) attempt: Attempt,
    /// Whether its recycle adds to what is in flight: it was not counted there before.
    pub(super) adds: bool,
}

/// Builds the steps of these pods, as far as the budget has room for them; the last ones are left out first. Returns
/// them with what they add.
///
/// # Errors
/// The budget's gate, if it has room for none.
pub(super) fn build_pod_steps<'a>(
    ctx: &TargetContext,
    candidates: impl Iterator<Item = Candidate<'a>>,
    method: Method,
    in_flight: Load,
) -> Result<(Vec<PodStep>, Load), ClosedGate> {
    let mut steps: Vec<(PodStep, bool)> = candidates
        .map(|c| (build_pod_step(ctx, c, method), c.adds))
        .collect();
    loop {
        let adds = ctx.load(steps.iter().filter(|(_, adds)| *adds).count());
        let surges = steps.iter().any(|(s, _)| s.method == Method::Evict);
        let Err(closed) = check_budget(&ctx.pass, in_flight, adds, surges) else {
            return Ok((steps.into_iter().map(|(step, _)| step).collect(), adds));
        };
        if let Some(last) = steps.iter().rposition(|(_, adds)| *adds) {
            steps.remove(last);
        }
        if steps.is_empty() {
            return Err(closed);
        }
    }
}

/// `method`: how the pod is recycled unless its attempt is the fallback's, which evicts.
fn build_pod_step(ctx: &TargetContext, candidate: Candidate, method: Method) -> PodStep {
    let Candidate { pod, attempt, .. } = candidate;
    PodStep {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        resource_version: pod.resource_version.clone(),
        claim: Claim {
            policy: ctx.mark.clone(),
            epoch: ctx.status.due_epoch,
            attempt,
            time: ctx.pass.now,
        },
        method: if attempt.is_fallback() {
            Method::Evict
        } else {
            method
        },
        recycles: pod.recycles.saturating_add(1),
        moved: ctx.next_moved(pod),
    }
}

/// Returns the step that recycles these pods.
pub(super) fn recycle_step(ctx: &TargetContext, pods: Vec<PodStep>, canary: bool) -> Step {
    Step::Pods {
        pods,
        stamp: ctx.stamp(),
        canary,
        verify_key: ctx.verify_key(),
    }
}
