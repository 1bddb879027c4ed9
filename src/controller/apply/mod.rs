//! Applies a plan. No other code of the operator changes a workload or a pod.
//!
//! Each effect waits for the rate limiter and then checks that this replica is still the leader. The recycle of a pod is
//! claim, effect and stamp; a crash in between leaves the claim on the pod.
//!
//! The name that pods look up is narrowed or widened before all else, by [`apply_name_action`].
//!
//! A pass claims for a few seconds at most, and leaves the rest of a step to the next one, which looks at everything
//! anew. Before each claim the policy is looked at in the cache.

mod names;
mod records;
mod recycle;

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::controller::context::EffectContext;
use crate::controller::errors::ReconcileError;
use crate::controller::guard::PolicyGuard;
use crate::controller::record_queue::PodRecord;
use crate::controller::state_cache::PolicyState;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::Method;
use dbbalance_core::pod::PodKey;
use dbbalance_core::stamp::Stamp;
use dbbalance_kube::methods::annotate::TopologyNote;
use dbbalance_kube::methods::rollout::WorkloadTarget;
use dbbalance_kube::methods::{BlockedBy, EffectOutcome, rollout};
use dbbalance_kube::recycle::Recycled;
use dbbalance_planner::world::{EffectBackoff, World};
use dbbalance_planner::{Gate, Plan, Step, TargetPlan};
pub use names::{NameApplied, apply_name_action, widen_before_exit, widen_orphans};
pub use records::write_records;
use recycle::{PodBatch, recycle_planned_pod};

/// How long to wait after a disruption budget has refused an eviction: short enough to continue soon when it allows one,
/// long enough not to load the API server.
const BLOCKED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// How long a pass claims pods. It bounds how old the facts are that a claim is made on, and how long a status, another
/// failover or an edit of the policy waits.
pub const CLAIMING: Duration = Duration::from_secs(5);

/// The time from the creation of an epoch's event to its open time: the granularity of the API server's times.
const OPENING: SignedDuration = SignedDuration::from_secs(1);

/// The result of [`apply_plan`].
#[derive(Debug, Default)]
pub struct Applied {
    /// The epoch that has opened, and its open time.
    pub opened: Option<(i64, Timestamp)>,
    /// By target.
    pub targets: HashMap<String, TargetApplied>,
}

/// The result for one target.
#[derive(Debug, Default)]
pub struct TargetApplied {
    /// At least one pod was claimed, or the workload was rolled.
    pub stepped: bool,
    /// Pods of the step that are left to the next pass, which the pace does not hold again.
    pub left: usize,
    /// Pods that were recycled by the fallback.
    pub fallbacks: usize,
    /// The message of the first failure.
    pub failure: Option<String>,
    /// A failure of the canary that every pod of the template would have.
    pub structural: Option<String>,
    /// What blocks the target for a while.
    pub blockade: Option<EffectBackoff>,
    /// The workload's generation after its template was stamped.
    pub template_generation: Option<i64>,
}

impl TargetApplied {
    /// A step of which nothing was done.
    fn left(pods: usize) -> Self {
        Self {
            left: pods,
            ..Self::default()
        }
    }
}

/// Makes the effects of a plan. `may_step`: its steps are recorded; else they are left to the next pass.
///
/// # Errors
/// When the pending epoch cannot be opened. Failed effects are not errors; they are in the result.
#[tracing::instrument(
    name = "apply",
    level = "error",
    skip_all,
    fields(
        namespace = world.policy.namespace,
        policy = world.policy.name,
        cluster = world.spec.cluster.identifier,
        epoch = plan.status.epoch,
    )
)]
pub async fn apply_plan(
    policy: &DbBalancePolicy,
    world: &World,
    plan: &Plan,
    may_step: bool,
    ctx: EffectContext<'_>,
) -> Result<Applied, ReconcileError> {
    let Plan {
        status,
        settling: _,
        open,
        name_action: _, // applied before
        targets,
        notices: _,
        wake: _,
    } = plan;
    let mut applied = Applied::default();
    if let Some(opening) = open {
        if !ctx.leadership.is_leading() {
            return Ok(applied);
        }
        let created = ctx
            .events
            .open_epoch(policy, opening.epoch, &opening.note)
            .await?;
        ctx.state
            .update(&world.policy.uid, |m| m.start_grace((ctx.clock)()));
        // The API server's times have whole seconds: a pod created within this second may be older than the epoch.
        let time = created.saturating_add(OPENING).unwrap_or(created);
        applied.opened = Some((opening.epoch, time));
    }
    let note = TopologyNote::from_status(status.topology.as_ref());
    let guard = PolicyGuard::new(policy);
    let deadline = Instant::now() + CLAIMING;
    for (spec, target) in world.spec.targets.iter().zip(targets) {
        let TargetPlan {
            target: name,
            action: _,
            held: _,
            step,
            annotate,
            in_flight: _,
            shares: _,
            running: _,
            max_reading_age: _,
            watch_pods: _,
            boost_dns: _,
        } = target;
        let done = match step {
            None => TargetApplied::default(),
            Some(Step::Stamp { pods, stamp }) => {
                ctx.records
                    .add(plan_records(&guard, pods, &note, Some(stamp)));
                TargetApplied::default()
            }
            Some(Step::Rollout { .. }) if !may_step => TargetApplied::left(1),
            Some(Step::Pods { pods, .. }) if !may_step => TargetApplied::left(pods.len()),
            Some(Step::Rollout { kind, name, stamp }) => {
                let uid = world
                    .targets
                    .iter()
                    .filter_map(|t| t.workload.as_ref())
                    .find(|w| w.kind == *kind && w.name == *name)
                    .map(|w| w.uid.clone())
                    .unwrap_or_default();
                let workload = WorkloadTarget {
                    kind: *kind,
                    namespace: world.policy.namespace.clone(),
                    name: name.clone(),
                    uid,
                };
                if ctx.limiter.acquire_claim(deadline).await && guard.stands(ctx.stores) {
                    roll_workload(&workload, stamp, ctx).await
                } else {
                    TargetApplied::left(1)
                }
            }
            Some(Step::Pods {
                pods,
                stamp,
                canary,
                verify_key: _,
            }) => {
                let batch = PodBatch {
                    world,
                    spec,
                    pods,
                    stamp,
                    topology: &note,
                    is_canary: *canary,
                    guard: &guard,
                    deadline,
                };
                recycle_all(batch, ctx).await
            }
        };
        ctx.records.add(plan_records(&guard, annotate, &note, None));
        applied.targets.insert(name.clone(), done);
    }
    ctx.state
        .update(&world.policy.uid, |state| remember_left(state, &applied));
    Ok(applied)
}

async fn roll_workload(
    workload: &WorkloadTarget,
    stamp: &Stamp,
    ctx: EffectContext<'_>,
) -> TargetApplied {
    let mut done = TargetApplied::default();
    if !ctx.leadership.is_leading() {
        return done;
    }
    fail::fail_point!("claimed");
    let rolled = rollout::roll_workload(ctx.client, workload, &stamp.to_string()).await;
    ctx.metrics.count_effect(
        Method::Rollout,
        rolled.as_ref().err().unwrap_or(&EffectOutcome::Done),
    );
    match rolled {
        Ok(generation) => {
            fail::fail_point!("acted");
            done.stepped = true;
            done.template_generation = Some(generation);
            tracing::info!(kind = ?workload.kind, workload = workload.name, %stamp, "Started rollout");
        }
        Err(EffectOutcome::Failed { fault, message }) => {
            tracing::warn!(fault = fault.as_str(), error = message, "Rollout failed");
            if fault.is_structural() {
                done.structural = Some(message);
            } else {
                done.blockade = Some(new_blockade(ctx, Gate::ApiServer, message));
            }
        }
        Err(EffectOutcome::Blocked { by: _, message }) => {
            done.blockade = Some(new_blockade(ctx, Gate::ApiServer, message));
        }
        Err(EffectOutcome::Gone | EffectOutcome::Done) => {}
    }
    done
}

async fn recycle_all(batch: PodBatch<'_>, ctx: EffectContext<'_>) -> TargetApplied {
    let recycles = batch
        .pods
        .iter()
        .map(|pod| recycle_planned_pod(batch, pod, ctx));
    let mut done = TargetApplied::default();
    remember_sockets(batch, ctx);
    for (pod, result) in batch.pods.iter().zip(join_all(recycles).await) {
        match result {
            Recycled::Untouched => {}
            Recycled::Postponed => done.left += 1,
            Recycled::Done => {
                done.stepped = true;
                done.fallbacks += usize::from(pod.claim.attempt.is_fallback());
            }
            Recycled::Blocked(by, message) => {
                done.blockade = Some(new_blockade(ctx, gate_of(by), message));
            }
            Recycled::Failed(fault, message) => {
                done.stepped = true;
                if fault.is_structural() && batch.is_canary {
                    done.structural = Some(message.clone());
                }
                done.failure.get_or_insert(message);
            }
        }
    }
    done
}

/// Keeps the sockets of pods before their recycle, to prove later that it has renewed them.
fn remember_sockets(batch: PodBatch<'_>, ctx: EffectContext<'_>) {
    let PodBatch {
        world, spec, pods, ..
    } = batch;
    let mut targets = world.spec.targets.iter().zip(&world.targets);
    let Some((_, found)) = targets.find(|(s, _)| s.name == spec.name) else {
        return;
    };
    let read = |uid: &str| found.evidence.measured.pods.get(uid)?.reading().cloned();
    ctx.state.update(&world.policy.uid, |state| {
        for pod in pods {
            if let Some(reading) = read(&pod.uid) {
                state
                    .sockets_before_recycle
                    .insert(pod.uid.clone(), reading.sockets);
            }
        }
    });
}

/// Remembers how many pods of each step are left, so that the next pass continues the step.
fn remember_left(state: &mut PolicyState, applied: &Applied) {
    for (target, done) in &applied.targets {
        if done.left > 0 {
            state.left_of_step.insert(target.clone(), done.left);
        } else if done.stepped {
            state.left_of_step.remove(target);
        }
    }
}

fn plan_records<'a>(
    guard: &'a PolicyGuard,
    pods: &'a [PodKey],
    topology: &'a TopologyNote,
    stamp: Option<&'a Stamp>,
) -> impl Iterator<Item = PodRecord> + use<'a> {
    pods.iter().map(move |pod| PodRecord {
        guard: guard.clone(),
        pod: guard.pod_ref(&pod.name, &pod.uid),
        version: pod.version.clone(),
        topology: topology.clone(),
        stamp: stamp.cloned(),
    })
}

fn gate_of(by: BlockedBy) -> Gate {
    match by {
        BlockedBy::DisruptionBudget | BlockedBy::TooManyDisruptionBudgets => Gate::DisruptionBudget,
        BlockedBy::ApiServerBusy | BlockedBy::NamespaceTerminating => Gate::ApiServer,
    }
}

fn new_blockade(ctx: EffectContext<'_>, gate: Gate, message: String) -> EffectBackoff {
    let until = (ctx.clock)()
        .saturating_add(BLOCKED_FOR)
        .unwrap_or(Timestamp::MAX);
    EffectBackoff {
        gate,
        message,
        until,
    }
}
