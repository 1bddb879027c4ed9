//! Recycles the pods of a step by `dbbalance_kube::recycle`, with the operator's fence, limit, metrics and kill points.

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
use dbbalance_planner::world::World;

/// The pods of one step of one target, and what all of them share.
#[derive(Clone, Copy)]
pub(super) struct PodBatch<'a> {
    pub world: &'a World,
    pub spec: &'a TargetSpec,
    pub pods: &'a [PodStep],
    pub stamp: &'a Stamp,
    pub topology: &'a TopologyNote,
    pub is_canary: bool,
    pub guard: &'a PolicyGuard,
    /// No pod is claimed after this.
    pub deadline: Instant,
}

/// Recycles one pod of the batch, if it is still as it was planned, and logs the result.
#[tracing::instrument(
    name = "recycle",
    level = "error",
    skip_all,
    fields(
        namespace = batch.world.policy.namespace,
        policy = batch.world.policy.name,
        cluster = batch.world.spec.cluster.identifier,
        epoch = step.claim.epoch,
        target = batch.spec.name,
        pod = step.name,
    )
)]
pub(super) async fn recycle_planned_pod(
    batch: PodBatch<'_>,
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
    let policy = &batch.world.policy;
    let Some(pod) = planned_pod(ctx.stores, &policy.namespace, name, uid, resource_version) else {
        return Recycled::Untouched;
    };
    let recycle = PodRecycle {
        client: ctx.client,
        target: batch.spec,
        pod: &pod,
        pod_ref: PodRef {
            namespace: policy.namespace.clone(),
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
        pod_ref: &recycle.pod_ref,
        resource_version,
        method: *method,
        batch,
        ctx,
    };
    let result = recycle_pod(&recycle, batch.is_canary, ctx.pod_caller, &callbacks).await;
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
    pod_ref: &'a PodRef,
    /// The version of the pod that the claim was written on.
    resource_version: &'a str,
    method: Method,
    batch: PodBatch<'a>,
    ctx: EffectContext<'a>,
}

impl RecycleCallbacks for OperatorCallbacks<'_> {
    async fn wait_for_permit(&self) -> bool {
        self.ctx.limiter.acquire_claim(self.batch.deadline).await
            && self.batch.guard.stands(self.ctx.stores)
    }

    fn may_act(&self) -> bool {
        self.ctx.leadership.is_leading()
    }

    fn on_claimed(&self, claim: &Claim) {
        let (uid, version) = (self.pod_ref.uid.clone(), self.resource_version.to_owned());
        let policy = &self.batch.world.policy.uid;
        self.ctx.state.update(policy, |m| {
            m.claimed.insert(uid, (version, claim.clone()));
        });
        fail::fail_point!("claimed");
    }

    fn on_effect(&self, outcome: &EffectOutcome) {
        self.ctx.metrics.count_effect(self.method, outcome);
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
