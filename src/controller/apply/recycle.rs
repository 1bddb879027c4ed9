//! Recycles the pods of a step by `dbbalance_kube::recycle`, with the operator's fence, limit, metrics and kill points.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use crate::controller::context::EffectContext;
use crate::controller::guard::PolicyGuard;
use crate::controller::observe::planned_pod;
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_core::stamp::{Claim, Stamp};
use dbbalance_kube::methods::annotate::{StampOutcome, TopologyNote};
use dbbalance_kube::methods::{EffectOutcome, PodRef};
use dbbalance_kube::recycle::{PodRecycle, RecycleCallbacks, Recycled, recycle_pod};
use dbbalance_planner::PodStep;

/// What the pods of one step of one target share. It owns all of it, because an effect may last longer than its pass.
#[derive(Debug)]
pub(super) struct PodBatch {
    pub namespace: String,
    pub policy: String,
    pub policy_uid: String,
    pub cluster: String,
    pub spec: TargetSpec,
    pub stamp: Stamp,
    pub topology: TopologyNote,
    pub is_canary: bool,
    pub guard: PolicyGuard,
    /// No pod is claimed after this.
    pub deadline: Instant,
}

/// Recycles one pod of the batch, if it is still as it was planned, and logs the result.
#[tracing::instrument(
    name = "recycle",
    level = "error",
    skip_all,
    fields(
        namespace = batch.namespace,
        policy = batch.policy,
        cluster = batch.cluster,
        epoch = step.claim.epoch,
        target = batch.spec.name,
        pod = step.name,
    )
)]
pub(super) async fn recycle_planned_pod(
    batch: &PodBatch,
    step: &PodStep,
    ctx: EffectContext<'_>,
) -> Recycled {
    let PodStep {
        name,
        uid,
        resource_version,
        claim,
        method,
        recycles,
        moved,
    } = step;
    let namespace = &batch.namespace;
    let Some(pod) = planned_pod(ctx.stores, namespace, name, uid, resource_version) else {
        return Recycled::Untouched;
    };
    let recycle = PodRecycle {
        client: ctx.client,
        target: &batch.spec,
        pod: &pod,
        pod_ref: PodRef {
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
        },
        method: *method,
        claim: claim.clone(),
        moved: moved.clone(),
        stamp: batch.stamp.clone(),
        topology: batch.topology.clone(),
        recycles: *recycles,
    };
    let callbacks = OperatorCallbacks {
        step,
        pod_ref: &recycle.pod_ref,
        is_claimed: AtomicBool::new(false),
        batch,
        ctx,
    };
    let result = recycle_pod(&recycle, batch.is_canary, ctx.pod_caller, &callbacks).await;
    callbacks.forget_failed_claim();
    log_result(&result, *method, claim);
    result
}

fn log_result(result: &Recycled, method: Method, claim: &Claim) {
    let (method, attempt) = (method.as_str(), claim.attempt.number());
    match result {
        Recycled::Done => tracing::info!(method, attempt, "Recycled pod"),
        Recycled::Untouched => tracing::debug!(
            method,
            attempt,
            "Left pod as it was: it has changed or this replica does not lead"
        ),
        Recycled::Postponed => tracing::debug!(
            method,
            attempt,
            "Left pod to the next pass: the rate limit is reached or the policy has changed"
        ),
        Recycled::Blocked(by, error) => {
            tracing::info!(
                method,
                attempt,
                reason = by.as_str(),
                error,
                "Recycle blocked, retrying later"
            );
        }
        Recycled::Failed(fault, error) => {
            tracing::warn!(
                method,
                attempt,
                fault = fault.as_str(),
                error,
                "Recycle failed"
            );
        }
    }
}

/// What the operator does between the steps of a recycle.
struct OperatorCallbacks<'a> {
    step: &'a PodStep,
    pod_ref: &'a PodRef,
    /// The claim is on the pod.
    is_claimed: AtomicBool,
    batch: &'a PodBatch,
    ctx: EffectContext<'a>,
}

impl OperatorCallbacks<'_> {
    /// Counts the pod as claimed from now on, though its claim is only sent: its pass may end before it is answered.
    fn remember_claim(&self) {
        let PodStep {
            uid,
            resource_version,
            claim,
            ..
        } = self.step;
        let (version, claim) = (resource_version.clone(), claim.clone());
        self.ctx.state.update(&self.batch.policy_uid, |state| {
            state.claimed.insert(uid.clone(), (version, claim));
        });
    }

    /// Takes that back if there was no claim.
    fn forget_failed_claim(&self) {
        if self.is_claimed.load(Ordering::Relaxed) {
            return;
        }
        self.ctx
            .state
            .update_known(&self.batch.policy_uid, |state| {
                state.claimed.remove(&self.step.uid);
            });
    }
}

impl RecycleCallbacks for OperatorCallbacks<'_> {
    async fn wait_for_permit(&self) -> bool {
        let permitted = self.ctx.limiter.acquire_claim(self.batch.deadline).await
            && self.batch.guard.stands(self.ctx.stores);
        if permitted {
            self.remember_claim();
        }
        permitted
    }

    fn may_act(&self) -> bool {
        self.ctx.leadership.is_leading()
    }

    fn on_claimed(&self, _: &Claim) {
        self.is_claimed.store(true, Ordering::Relaxed);
        fail::fail_point!("claimed");
    }

    fn on_effect(&self, outcome: &EffectOutcome) {
        self.ctx.metrics.count_effect(self.step.method, outcome);
        if *outcome == EffectOutcome::Done {
            fail::fail_point!("acted");
        }
    }

    fn on_written(&self, outcome: StampOutcome, doing: &'static str) {
        report_lost(outcome, self.pod_ref, doing);
    }
}

/// Logs a write after an effect that failed. It is not repeated: the claim stays, and the next reconcile acts on what
/// it says.
pub(super) fn report_lost(outcome: StampOutcome, of: &PodRef, doing: &str) {
    if let StampOutcome::Failed { fault, message } = outcome {
        tracing::warn!(
            pod = of.name,
            fault = fault.as_str(),
            error = message,
            operation = doing,
            "Write after an effect failed"
        );
    }
}
