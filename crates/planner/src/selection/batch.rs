//! A batch of pods: what both selections hand over, cut to the budget and turned into a step.

use crate::gates::budget::{StepKind, find_refusal};
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
/// them with what they add. `is_urgent`: whether a pod has the privileges of a failover. Of urgent pods one goes whatever
/// an estimate says.
///
/// # Errors
/// The budget's gate, if it has room for none.
pub(super) fn build_pod_steps<'a>(
    ctx: &TargetContext,
    candidates: impl Iterator<Item = Candidate<'a>>,
    method: Method,
    in_flight: Load,
    is_urgent: impl Fn(&PodFacts) -> bool,
) -> Result<(Vec<PodStep>, Load), ClosedGate> {
    struct Chosen {
        step: PodStep,
        adds: bool,
        urgent: bool,
    }
    let mut chosen: Vec<Chosen> = candidates
        .map(|c| Chosen {
            adds: c.adds,
            urgent: is_urgent(c.pod),
            step: build_pod_step(ctx, c, method),
        })
        .collect();
    loop {
        let adding = chosen.iter().filter(|c| c.adds).count();
        let adds = ctx.load(adding);
        let kind = StepKind {
            surges: chosen.iter().any(|c| c.step.method == Method::Evict),
            urgent: chosen.iter().all(|c| c.urgent),
        };
        let refusal = find_refusal(&ctx.pass, in_flight, adds, kind);
        let refusal = refusal.filter(|r| !(r.estimated && kind.urgent && adding <= 1));
        let Some(refusal) = refusal else {
            return Ok((chosen.into_iter().map(|c| c.step).collect(), adds));
        };
        if let Some(last) = chosen.iter().rposition(|c| c.adds) {
            chosen.remove(last);
        }
        if chosen.is_empty() {
            return Err(refusal.closed);
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
