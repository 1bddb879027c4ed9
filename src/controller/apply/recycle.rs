//! The recycle of one pod: claim, effect, stamp.
//!
//! Whatever dies in between leaves a claim that says so. It decides neither whom nor when.

use crate::controller::context::Context;
use crate::controller::observe::planned_pod;
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_core::stamp::{Claim, Stamp};
use dbbalance_kube::methods::annotate::{self, ClaimOutcome, StampOutcome, TopologyNote};
use dbbalance_kube::methods::{BlockedBy, EffectFault, EffectOutcome, PodRef, evict, signal};
use dbbalance_planner::PodStep;
use dbbalance_planner::world::World;

/// What came of one pod.
pub(super) enum Recycled {
    Done,
    /// Nothing was done: the pod is gone, changed, or this replica does not lead any more.
    Untouched,
    Blocked(BlockedBy, String),
    Failed(EffectFault, String),
}

pub(super) async fn recycle(
    world: &World,
    spec: &TargetSpec,
    step: &PodStep,
    stamp: &Stamp,
    note: &TopologyNote,
    canary: bool,
    ctx: &Context,
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
    let moved = moved.as_ref().map(ToString::to_string);
    let namespace = &world.policy.namespace;
    let client = &ctx.clients.effects;
    let Some(pod) = planned_pod(ctx, namespace, name, uid, resource_version) else {
        return Recycled::Untouched;
    };
    let of = PodRef {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: uid.clone(),
    };
    ctx.limiter.take().await;
    if !ctx.leadership.leads() {
        return Recycled::Untouched;
    }
    let value = claim.to_string();
    match annotate::claim_pod(client, &pod, &value, moved.as_deref()).await {
        ClaimOutcome::Claimed => {}
        ClaimOutcome::LostRace | ClaimOutcome::Gone => return Recycled::Untouched,
        ClaimOutcome::Failed { fault, message } => return Recycled::Failed(fault, message),
    }
    ctx.memory.note(&world.policy.uid, |m| {
        m.claimed
            .insert(uid.clone(), (resource_version.clone(), claim.clone()));
    });
    fail::fail_point!("claimed");
    // Frozen or cut off since the claim: whoever leads now redoes it when the claim has run out.
    if !ctx.leadership.leads() {
        return Recycled::Untouched;
    }
    let outcome = act(spec, *method, &pod, &of, ctx).await;
    ctx.metrics.effect(*method, &outcome);
    match outcome {
        EffectOutcome::Gone => Recycled::Untouched,
        EffectOutcome::Done => {
            fail::fail_point!("acted");
            if *method != Method::Evict {
                finish(client, &of, &value, stamp, note, *recycles).await;
            }
            Recycled::Done
        }
        EffectOutcome::Blocked { by, message } => {
            let let_go = match claim.clone().released() {
                None => annotate::release_claim(client, &of, &value).await,
                Some(before) => {
                    annotate::replace_claim(client, &of, &value, &before.to_string()).await
                }
            };
            report_lost(let_go, &of, "releasing the claim");
            Recycled::Blocked(by, message)
        }
        EffectOutcome::Failed { fault, message } => {
            mark_failure(client, &of, claim, fault, canary).await;
            Recycled::Failed(fault, message)
        }
    }
}

async fn act(
    spec: &TargetSpec,
    method: Method,
    pod: &k8s_openapi::api::core::v1::Pod,
    of: &PodRef,
    ctx: &Context,
) -> EffectOutcome {
    match (method, &spec.recycle.signal, &spec.recycle.http) {
        (Method::Signal, Some(signal), _) => {
            signal::send_signal(&ctx.clients.effects, pod, signal).await
        }
        (Method::Http, _, Some(http)) => ctx.caller.call(pod, http).await,
        (Method::Evict, _, _) => evict::evict_pod(&ctx.clients.effects, of).await,
        (Method::Annotate, _, _) => EffectOutcome::Done,
        // The schema requires the block, and a rollout is not made on pods.
        (Method::Signal | Method::Http | Method::Rollout, _, _) => EffectOutcome::Failed {
            fault: EffectFault::Invalid,
            message: format!(
                "spec.targets[{}].recycle: {method:?} has no settings",
                spec.name
            ),
        },
    }
}

async fn finish(
    client: &kube::Client,
    of: &PodRef,
    claim: &str,
    stamp: &Stamp,
    note: &TopologyNote,
    recycles: u32,
) {
    let stamped = annotate::stamp_pod(client, of, claim, &stamp.to_string(), note, recycles).await;
    report_lost(stamped, of, "stamping");
}

/// A failure leaves the claim, so that it is redone once; after that, or when no redo can help, the
/// claim says that the pod has failed. A canary that fails for a reason that every pod shares is
/// let go: the run halts, and an edit begins anew.
async fn mark_failure(
    client: &kube::Client,
    of: &PodRef,
    claim: &Claim,
    fault: EffectFault,
    canary: bool,
) {
    let value = claim.to_string();
    if fault.is_structural() && canary {
        return report_lost(
            annotate::release_claim(client, of, &value).await,
            of,
            "releasing the claim",
        );
    }
    let next = match claim.attempt {
        1 if fault.is_structural() => Claim::FAILED,
        Claim::LAST_ATTEMPT => Claim::FAILED,
        Claim::FALLBACK_REDO => Claim::FALLBACK_REDO + 1,
        _ => return,
    };
    let failed = Claim {
        attempt: next,
        ..claim.clone()
    };
    let marked = annotate::replace_claim(client, of, &value, &failed.to_string()).await;
    report_lost(marked, of, "marking the failure");
}

/// A write after an effect that did not go through is not tried again: the claim stays, and what it
/// says is handled by a later pass.
pub(super) fn report_lost(outcome: StampOutcome, of: &PodRef, doing: &str) {
    if let StampOutcome::Failed { fault, message } = outcome {
        tracing::warn!(
            pod = of.name,
            fault = fault.as_str(),
            message,
            doing,
            "write after an effect failed"
        );
    }
}
