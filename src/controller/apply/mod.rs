//! Applies a plan. No other code of the operator changes a workload or a pod.
//!
//! Each effect waits for the rate limiter and then checks that this replica is still the leader. The recycle of a pod is
//! claim, effect and stamp; a crash in between leaves the claim on the pod.
//!
//! The name that pods look up is narrowed or widened before all else, by [`apply_name_action`].
//!
//! A pass claims for a few seconds at most, and leaves the rest of a step to the next one, which looks at everything
//! anew. Before each claim the policy is looked at in the cache. Effects that last longer than that go on without the
//! pass, so that pods that hang hold neither other targets nor other policies.

mod names;
mod records;
mod recycle;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::controller::context::{Context, EffectContext};
use crate::controller::errors::ReconcileError;
use crate::controller::guard::PolicyGuard;
use crate::controller::record_queue::PodRecord;
use crate::controller::state_cache::{LateResult, PolicyState};
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_core::pod::PodKey;
use dbbalance_core::stamp::{Claim, Stamp};
use dbbalance_kube::methods::annotate::TopologyNote;
use dbbalance_kube::methods::rollout::WorkloadTarget;
use dbbalance_kube::methods::{BlockedBy, EffectOutcome, rollout};
use dbbalance_kube::recycle::Recycled;
use dbbalance_planner::world::{EffectBackoff, World};
use dbbalance_planner::{Gate, Plan, PodStep, Step, TargetPlan};
pub use names::{NameApplied, apply_name_action, widen_before_exit, widen_orphans};
pub use records::write_records;
use recycle::{PodBatch, recycle_planned_pod};

/// How long to wait after a disruption budget has refused an eviction: short enough to continue soon when it allows one,
/// long enough not to load the API server.
const BLOCKED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// How long a pass claims pods. It bounds how old the facts are that a claim is made on, and how long a status, another
/// failover or an edit of the policy waits. With [`ANSWERING`], and what an API server takes that is slow, a pass ends
/// within 6 s.
pub const CLAIMING: Duration = Duration::from_secs(4);

/// How long a pass waits for the effects of its last claims.
const ANSWERING: Duration = Duration::from_millis(500);

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

    /// Adds the result for one pod.
    fn add_result(
        &mut self,
        claim: &Claim,
        is_canary: bool,
        result: Recycled,
        ctx: EffectContext<'_>,
    ) {
        match result {
            Recycled::Untouched => {}
            Recycled::Postponed => self.left += 1,
            Recycled::Done => {
                self.stepped = true;
                self.fallbacks += usize::from(claim.attempt.is_fallback());
            }
            Recycled::Blocked(by, message) => {
                self.blockade = Some(new_blockade(ctx, gate_of(by), message));
            }
            Recycled::Failed(fault, message) => {
                self.stepped = true;
                if fault.is_structural() && is_canary {
                    self.structural = Some(message.clone());
                }
                self.failure.get_or_insert(message);
            }
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
    shared: &Arc<Context>,
) -> Result<Applied, ReconcileError> {
    let ctx = shared.for_effects();
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
    let pass = ApplyPass {
        world,
        note: &note,
        guard: &guard,
        deadline,
        may_step,
        shared,
    };
    // At once: a target whose pods do not answer must not take the time of the others.
    let each = world.spec.targets.iter().zip(targets);
    let each = each.map(|(spec, target)| apply_target(pass, spec, target));
    for (target, done) in targets.iter().zip(join_all(each).await) {
        applied.targets.insert(target.target.clone(), done);
    }
    take_late_results(world, &mut applied, ctx);
    ctx.state
        .update(&world.policy.uid, |state| remember_left(state, &applied));
    Ok(applied)
}

/// What all targets of a pass share.
#[derive(Clone, Copy)]
struct ApplyPass<'a> {
    world: &'a World,
    note: &'a TopologyNote,
    guard: &'a PolicyGuard,
    /// No pod is claimed after this.
    deadline: Instant,
    may_step: bool,
    shared: &'a Arc<Context>,
}

/// Makes the effects of one target's plan.
async fn apply_target(
    pass: ApplyPass<'_>,
    spec: &TargetSpec,
    target: &TargetPlan,
) -> TargetApplied {
    let TargetPlan {
        target: _,
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
    let ApplyPass {
        world,
        note,
        guard,
        deadline,
        may_step,
        shared,
    } = pass;
    let ctx = shared.for_effects();
    let done = match step {
        None => TargetApplied::default(),
        Some(Step::Stamp { pods, stamp }) => {
            ctx.records
                .add(plan_records(guard, pods, note, Some(stamp)));
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
            remember_sockets(world, spec, pods, ctx);
            let batch = PodBatch {
                namespace: world.policy.namespace.clone(),
                policy: world.policy.name.clone(),
                policy_uid: world.policy.uid.clone(),
                cluster: world.spec.cluster.identifier.clone(),
                spec: spec.clone(),
                stamp: stamp.clone(),
                topology: note.clone(),
                is_canary: *canary,
                guard: guard.clone(),
                deadline,
            };
            recycle_all(Arc::new(batch), pods, shared).await
        }
    };
    ctx.records.add(plan_records(guard, annotate, note, None));
    done
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

/// Recycles the pods at once, and waits for them no longer than a pass may last. An effect that lasts longer goes on
/// without its pass: its claim is on the pod, and the next pass takes up its result.
async fn recycle_all(
    batch: Arc<PodBatch>,
    pods: &[PodStep],
    shared: &Arc<Context>,
) -> TargetApplied {
    let (sender, mut results) = mpsc::unbounded_channel();
    for step in pods {
        let (batch, step, sender) = (Arc::clone(&batch), step.clone(), sender.clone());
        let own = Arc::clone(shared);
        let recycle = async move {
            let ctx = own.for_effects();
            let result = recycle_planned_pod(&batch, &step, ctx).await;
            let unsent = sender.send((step.claim.clone(), result)).err();
            if let Some(SendError((claim, result))) = unsent {
                keep_late_result(&batch, claim, result, ctx);
            }
        };
        shared.effect_tasks.spawn(recycle.in_current_span());
    }
    let mut done = TargetApplied::default();
    let mut running = isize::try_from(pods.len()).unwrap_or(isize::MAX);
    let ctx = shared.for_effects();
    let end = batch.deadline + ANSWERING;
    while running > 0
        && let Ok(Some((claim, result))) = timeout_at(end, results.recv()).await
    {
        running -= 1;
        done.add_result(&claim, batch.is_canary, result, ctx);
    }
    // What comes from now on is late, and what has come in between is not.
    results.close();
    while let Ok((claim, result)) = results.try_recv() {
        running -= 1;
        done.add_result(&claim, batch.is_canary, result, ctx);
    }
    if running > 0 {
        done.stepped = true;
        ctx.state
            .update(&batch.policy_uid, |state| state.unfinished += running);
    }
    done
}

fn keep_late_result(batch: &PodBatch, claim: Claim, result: Recycled, ctx: EffectContext<'_>) {
    ctx.state.update_known(&batch.policy_uid, |state| {
        state.unfinished -= 1;
        state.late_results.push(LateResult {
            target: batch.spec.name.clone(),
            claim,
            is_canary: batch.is_canary,
            result,
        });
    });
}

/// Takes up the results of effects that have lasted longer than their pass, if they are of the target's due epoch. Their
/// steps were taken then.
fn take_late_results(world: &World, applied: &mut Applied, ctx: EffectContext<'_>) {
    let mut late = Vec::new();
    ctx.state.update_known(&world.policy.uid, |state| {
        late = std::mem::take(&mut state.late_results);
    });
    for result in late {
        let mut targets = world.status.targets.iter();
        let target = targets.find(|t| t.name == result.target);
        let is_due = target.is_some_and(|t| t.due_epoch == result.claim.epoch);
        let Some(done) = applied.targets.get_mut(&result.target).filter(|_| is_due) else {
            continue;
        };
        let stepped = done.stepped;
        done.add_result(&result.claim, result.is_canary, result.result, ctx);
        done.stepped = stepped;
    }
}

/// Keeps the sockets of pods before their recycle, to prove later that it has renewed them.
fn remember_sockets(world: &World, spec: &TargetSpec, pods: &[PodStep], ctx: EffectContext<'_>) {
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

#[cfg(test)]
mod tests;
