//! Recycles one pod in three steps, for the operator and for `kubectl dbbalance verify`: claim, effect, stamp.
//!
//! Each step is one request. A process that dies between two steps leaves a claim on the pod that says so. [`PodRecycle`]
//! has the steps; [`recycle_pod`] takes all of them and lets its caller act between them through [`RecycleCallbacks`].

use std::future::Future;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;

use crate::containers;
use crate::methods::annotate::{self, ClaimOutcome, StampOutcome, TopologyNote};
use crate::methods::{BlockedBy, EffectFault, EffectOutcome, PodRef, evict, signal};
use dbbalance_api::annotations;
use dbbalance_api::spec::{HttpSpec, Method, TargetSpec};
use dbbalance_core::stamp::{Attempt, Claim, MoveCounter, RestartMark, Stamp};

/// One pod to recycle, and what to write on it.
pub struct PodRecycle<'a> {
    /// The client without retries: a retried claim or eviction may come after the lease has ended.
    pub client: &'a Client,
    /// The pod's target, which has the settings of the method.
    pub target: &'a TargetSpec,
    /// The pod as the API server sent it. The claim fails if it has changed since.
    pub pod: &'a Pod,
    /// The pod's reference: namespace, name and UID.
    pub pod_ref: PodRef,
    /// The method: the target's, or its fallback.
    pub method: Method,
    /// The claim, as it is on the pod from [`Self::claim`] on.
    pub claim: Claim,
    /// Why the pod is moved, if a rebalance chose it; written with the claim.
    pub moved: Option<MoveCounter>,
    /// The stamp that ends the claim.
    pub stamp: Stamp,
    /// The topology that the stamp writes beside it.
    pub topology: TopologyNote,
    /// How many recycles of the pod there are with this one.
    pub recycles: u32,
}

/// Calls the HTTP hook of a pod. The operator calls the pod's address, the plugin goes through the API server.
pub trait CallHook {
    /// Makes one request to the pod.
    fn call_hook(
        &self,
        pod: &Pod,
        settings: &HttpSpec,
    ) -> impl Future<Output = EffectOutcome> + Send;
}

impl PodRecycle<'_> {
    /// Writes the claim on the pod, unless the pod has changed since it was read.
    pub async fn claim(&self) -> ClaimOutcome {
        let claim = self.claim.to_string();
        annotate::claim_pod(self.client, self.pod, &claim, &self.marks()).await
    }

    /// Returns the annotations that are written with the claim: the counter of moves, and the restarts that the pod has
    /// had. An evicted pod is not compared with itself.
    fn marks(&self) -> Vec<(&'static str, String)> {
        let moved = self.moved.as_ref().map(ToString::to_string);
        let moved = moved.map(|text| (annotations::MOVED, text));
        let restarts = self.mark_restarts();
        let restarts = restarts.map(|mark| (annotations::RESTARTS, mark.to_string()));
        moved.into_iter().chain(restarts).collect()
    }

    fn mark_restarts(&self) -> Option<RestartMark> {
        (self.method != Method::Evict)
            .then(|| containers::mark_restarts(self.pod, self.target, &self.claim))
            .flatten()
    }

    /// Writes in the mark of the claim that the app has answered with a failure, if the pod still has this claim.
    async fn note_refusal(&self) -> Option<StampOutcome> {
        let mark = RestartMark {
            refused: true,
            ..self.mark_restarts()?
        };
        let (claim, mark) = (self.claim.to_string(), mark.to_string());
        Some(annotate::replace_mark(self.client, &self.pod_ref, &claim, &mark).await)
    }

    /// Makes the effect of the method, once. The effect of `Annotate` is its stamp.
    pub async fn make_effect(&self, caller: &impl CallHook) -> EffectOutcome {
        let settings = &self.target.recycle;
        match (self.method, &settings.signal, &settings.http) {
            (Method::Signal, Some(spec), _) => {
                signal::send_signal(self.client, self.pod, spec).await
            }
            (Method::Http, _, Some(spec)) => caller.call_hook(self.pod, spec).await,
            (Method::Evict, _, _) => evict::evict_pod(self.client, &self.pod_ref).await,
            (Method::Annotate, _, _) => EffectOutcome::Done,
            // The schema requires the block, and a rollout is not made on pods.
            (Method::Signal | Method::Http | Method::Rollout, _, _) => EffectOutcome::Failed {
                fault: EffectFault::Invalid,
                message: format!(
                    "spec.targets[{}].recycle: {:?} has no settings",
                    self.target.name, self.method
                ),
            },
        }
    }

    /// Replaces the claim by the stamp, if the pod still has this claim.
    pub async fn stamp(&self) -> StampOutcome {
        annotate::stamp_pod(
            self.client,
            &self.pod_ref,
            &self.claim.to_string(),
            &self.stamp.to_string(),
            &self.topology,
            self.recycles,
        )
        .await
    }

    /// Removes the claim, if the pod still has it.
    pub async fn release(&self) -> StampOutcome {
        annotate::release_claim(self.client, &self.pod_ref, &self.claim.to_string()).await
    }

    /// Writes another claim in place of this one, if the pod still has it. The caller keeps `next` if that succeeded.
    pub async fn replace_claim(&self, next: &Claim) -> StampOutcome {
        annotate::replace_claim(
            self.client,
            &self.pod_ref,
            &self.claim.to_string(),
            &next.to_string(),
        )
        .await
    }

    /// Removes the claim of an effect that was held up, or puts the claim of the attempt before in its place.
    async fn undo_claim(&self) -> StampOutcome {
        match self.claim.clone().released() {
            None => self.release().await,
            Some(before) => self.replace_claim(&before).await,
        }
    }

    /// Records a failure in the claim. The first failure leaves the claim as it is, so that the effect is made once
    /// more; where the app of a canary has answered, its mark says so, and no other pod is tried meanwhile. After that, or when another attempt cannot help, the claim says that the pod has failed. A canary that
    /// fails for a reason that every pod shares is released: the run halts, and an edit of the policy restarts it.
    async fn record_failure(&self, fault: EffectFault, is_canary: bool) -> Option<LateWrite> {
        if fault.is_structural() && is_canary {
            return Some((self.release().await, "releasing the claim"));
        }
        if is_canary && fault.is_answer() && self.claim.attempt == Attempt::First {
            return Some((self.note_refusal().await?, "marking the app's answer"));
        }
        let next = match self.claim.attempt {
            Attempt::First if fault.is_structural() => Attempt::Failed,
            Attempt::Retry => Attempt::Failed,
            Attempt::FallbackRetry => Attempt::FallbackFailed,
            Attempt::First | Attempt::Failed | Attempt::Fallback | Attempt::FallbackFailed => {
                return None;
            }
        };
        let failed = Claim {
            attempt: next,
            ..self.claim.clone()
        };
        Some((self.replace_claim(&failed).await, "marking the failure"))
    }
}

/// The outcome of a write after the effect, and what it was for.
type LateWrite = (StampOutcome, &'static str);

/// The result of [`recycle_pod`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recycled {
    /// The effect was made.
    Done,
    /// No effect was made: the pod is gone or has changed, or the caller may not act any more.
    Untouched,
    /// No effect was made, because the caller has refused the permit. Nothing was written.
    Postponed,
    /// Something that passes holds the effect; the claim is released.
    Blocked(BlockedBy, String),
    /// The effect was tried and failed.
    Failed(EffectFault, String),
}

/// What the caller of [`recycle_pod`] does between the steps: its fence, its limit, its records.
pub trait RecycleCallbacks {
    /// Waits until the caller's rate limit admits one more effect. Returns false if it does not in time, or if the effect
    /// is not wanted any more.
    fn wait_for_permit(&self) -> impl Future<Output = bool> + Send;

    /// Returns whether the caller may act at this moment. Asked before the claim and again before the effect.
    fn may_act(&self) -> bool;

    /// Called when the claim is on the pod, before the fence is asked again.
    fn on_claimed(&self, claim: &Claim);

    /// Called when the effect has an outcome, before anything is written about it.
    fn on_effect(&self, outcome: &EffectOutcome);

    /// Called with the outcome of a write after the effect. A write that failed is not repeated: the claim stays, and
    /// the next reconcile acts on what it says.
    fn on_written(&self, outcome: StampOutcome, doing: &'static str);
}

/// Recycles one pod: claims it, makes the effect, and stamps it, or records what happened instead. `is_canary`: the
/// pod is the first of its run.
pub async fn recycle_pod(
    recycle: &PodRecycle<'_>,
    is_canary: bool,
    caller: &(impl CallHook + Sync),
    callbacks: &(impl RecycleCallbacks + Sync),
) -> Recycled {
    if !callbacks.wait_for_permit().await {
        return Recycled::Postponed;
    }
    if !callbacks.may_act() {
        return Recycled::Untouched;
    }
    match recycle.claim().await {
        ClaimOutcome::Claimed => {}
        ClaimOutcome::LostRace | ClaimOutcome::Gone => return Recycled::Untouched,
        ClaimOutcome::Failed { fault, message } => return Recycled::Failed(fault, message),
    }
    callbacks.on_claimed(&recycle.claim);
    // Frozen or cut off since the claim: whoever may act now repeats the effect when the claim has expired.
    if !callbacks.may_act() {
        return Recycled::Untouched;
    }
    let outcome = recycle.make_effect(caller).await;
    callbacks.on_effect(&outcome);
    match outcome {
        EffectOutcome::Gone => Recycled::Untouched,
        EffectOutcome::Done => {
            // An evicted pod takes its claim along.
            if recycle.method != Method::Evict {
                callbacks.on_written(recycle.stamp().await, "stamping");
            }
            Recycled::Done
        }
        EffectOutcome::Blocked { by, message } => {
            callbacks.on_written(recycle.undo_claim().await, "releasing the claim");
            Recycled::Blocked(by, message)
        }
        EffectOutcome::Failed { fault, message } => {
            if let Some((outcome, doing)) = recycle.record_failure(fault, is_canary).await {
                callbacks.on_written(outcome, doing);
            }
            Recycled::Failed(fault, message)
        }
    }
}

#[cfg(test)]
mod tests;
