//! Reports a reconcile: writes the status if it changed, then publishes events and counts metrics.
//!
//! The status is written on the resource version that was planned on. If the policy has changed since, the write is a
//! conflict and the reconcile is repeated. The status of an idle policy is never written.
//!
//! A step is recorded before it is taken. Whatever dies in the middle of it has left its time, and a policy that was
//! edited since it was read is not acted on.

mod balanced;
mod conditions;
mod notices;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::apply::Applied;
use super::context::ReportContext;
use super::errors::{ReconcileError, await_answer};
use super::state_cache::WrittenStatus;
use crate::metrics::RecycleResult;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::status::{
    BalanceState, DbBalancePolicyStatus, HaltReason, PlanStatus, TargetStatus,
};
use dbbalance_kube::refusal::is_lost_race;
use dbbalance_planner::policy::ParsedPolicy;
use dbbalance_planner::world::{EffectBackoff, World};
use dbbalance_planner::{
    Halt, Notice, Plan, Step, TargetPlan, halt_notice, mark_halted, open_epoch, status_time,
};

/// A step that took less has the time at which it began: one write instead of two.
const SHORT_STEP: SignedDuration = SignedDuration::from_secs(2);

/// The status that records the steps of a pass, as the API server has it.
#[derive(Debug)]
pub struct RecordedStatus {
    version: String,
    status: DbBalancePolicyStatus,
    at: Timestamp,
}

impl RecordedStatus {
    /// Returns the time of the steps after they were taken: as recorded, unless they took long. The interval to the next
    /// step counts from the end of the last one.
    fn step_time(&self, now: Timestamp) -> Timestamp {
        if now.duration_since(self.at) < SHORT_STEP {
            self.at
        } else {
            now
        }
    }
}

/// Records the steps that the plan is about to take. `None`: it takes none.
///
/// # Errors
/// When the status cannot be written, or this replica does not lead. No step may be taken then.
pub async fn record_steps(
    policy: &DbBalancePolicy,
    world: &World,
    parsed: &ParsedPolicy,
    plan: &Plan,
    ctx: ReportContext<'_>,
) -> Result<Option<RecordedStatus>, ReconcileError> {
    if !plan.targets.iter().any(is_recorded_first) {
        return Ok(None);
    }
    let now = (ctx.clock)();
    let status = merge_steps(world, parsed, plan, now);
    let planned_on = policy.resource_version().unwrap_or_default();
    let version = if status == world.status {
        planned_on
    } else if ctx.leadership.is_leading() {
        write_status(&planned_on, world, &status, ctx).await?
    } else {
        return Err(ReconcileError::Conflict);
    };
    Ok(Some(RecordedStatus {
        version,
        status,
        at: now,
    }))
}

/// Whether the target takes a step that its pace counts from.
fn is_recorded_first(target: &TargetPlan) -> bool {
    matches!(target.step, Some(Step::Pods { .. } | Step::Rollout { .. }))
}

/// Returns the planned status with the time of the steps.
fn merge_steps(
    world: &World,
    parsed: &ParsedPolicy,
    plan: &Plan,
    now: Timestamp,
) -> DbBalancePolicyStatus {
    let mut status = plan.status.clone();
    for (target, planned) in status.targets.iter_mut().zip(&plan.targets) {
        if let Some(run) = target.run.as_mut()
            && is_recorded_first(planned)
        {
            run.last_step_time = Some(status_time(now));
        }
    }
    conditions::set_conditions(&mut status, world, parsed, plan, now);
    status
}

/// The result of [`report_results`].
#[derive(Debug)]
pub struct Reported {
    /// The status was written. The next reconcile acts on what it records.
    pub changed: bool,
}

/// Writes the status, publishes events and counts metrics.
///
/// # Errors
/// When the status cannot be written.
pub async fn report_results(
    policy: &DbBalancePolicy,
    world: &World,
    parsed: &ParsedPolicy,
    plan: &Plan,
    applied: &Applied,
    recorded: Option<&RecordedStatus>,
    ctx: ReportContext<'_>,
) -> Result<Reported, ReconcileError> {
    let now = (ctx.clock)();
    let stepped_at = recorded.map_or(now, |r| r.step_time(now));
    let (mut status, mut notices) = merge_status(world, plan, applied, stepped_at);
    conditions::set_conditions(&mut status, world, parsed, plan, now);
    let uid = &world.policy.uid;
    let changed = status != *recorded.map_or(&world.status, |r| &r.status);
    if changed {
        // Another replica may be the leader by now and writes the status itself.
        if !ctx.leadership.is_leading() {
            return Ok(Reported { changed: false });
        }
        let version = match recorded {
            Some(recorded) => recorded.version.clone(),
            None => policy.resource_version().unwrap_or_default(),
        };
        write_status(&version, world, &status, ctx).await?;
    }
    ctx.state.update(uid, |state| {
        state.settling = plan.settling.clone();
        for balance in &plan.status.balance {
            if balance.state != BalanceState::Unknown {
                state.last_evidence.insert(balance.target.clone(), now);
            }
        }
        for target in &plan.targets {
            let blockade = applied
                .targets
                .get(&target.target)
                .and_then(|t| t.blockade.clone());
            if let Some(blockade) = blockade {
                state.blockades.insert(target.target.clone(), blockade);
            }
        }
        state
            .blockades
            .retain(|name, b| b.until > now && plan.targets.iter().any(|t| t.target == *name));
        let pods: std::collections::HashSet<&str> = world
            .targets
            .iter()
            .flat_map(|t| &t.pods)
            .map(|p| p.uid.as_str())
            .collect();
        state.claimed.retain(|uid, _| pods.contains(uid.as_str()));
        state
            .sockets_before_recycle
            .retain(|uid, _| pods.contains(uid.as_str()));
    });
    notices.splice(0..0, plan.notices.iter().cloned());
    count_pods(world, &status, ctx);
    notices::publish_notices(policy, world, &status, &notices, ctx).await;
    let changed = changed || recorded.is_some();
    Ok(Reported { changed })
}

/// Counts recycles and failures since the last status. A recycle succeeds when the pod is fresh, not when its hook
/// answers 200.
fn count_pods(world: &World, status: &DbBalancePolicyStatus, ctx: ReportContext<'_>) {
    for (spec, target) in world.spec.targets.iter().zip(&status.targets) {
        let Some(run) = &target.run else { continue };
        let before = world
            .status
            .targets
            .iter()
            .find(|t| t.name == target.name)
            .and_then(|t| t.run.as_ref());
        let before = before.filter(|b| b.epoch == run.epoch && b.start_time == run.start_time);
        let first_step =
            run.last_step_time.is_some() && before.is_none_or(|b| b.last_step_time.is_none());
        if let (true, Some(open)) = (first_step, &target.open_time) {
            let after = (ctx.clock)().duration_since(open.0);
            for trigger in &run.triggers {
                ctx.metrics
                    .observe_reaction(*trigger, Duration::try_from(after).unwrap_or_default());
            }
        }
        let (recycled, failed) = before.map_or((0, 0), |b| (b.recycled, b.failed));
        for _ in recycled..run.recycled {
            ctx.metrics
                .count_recycle(spec.recycle.method, RecycleResult::Fresh);
        }
        for _ in failed..run.failed {
            ctx.metrics
                .count_recycle(spec.recycle.method, RecycleResult::Failed);
        }
    }
}

/// Returns the planned status with what was done, and the notices of that.
fn merge_status(
    world: &World,
    plan: &Plan,
    applied: &Applied,
    now: Timestamp,
) -> (DbBalancePolicyStatus, Vec<Notice>) {
    let mut status = plan.status.clone();
    let mut notices = Vec::new();
    if let Some((epoch, time)) = applied.opened {
        open_epoch(&mut status, epoch, time);
    }
    let mut ended = Vec::new();
    for target in &mut status.targets {
        let Some(done) = applied.targets.get(&target.name) else {
            continue;
        };
        if let Some(run) = target.run.as_mut() {
            if done.stepped {
                run.last_step_time = Some(status_time(now));
            }
            if done.template_generation.is_some() {
                run.template_generation = done.template_generation;
                run.last_progress_time = status_time(now);
            }
        }
        if let (Some(failure), Some(run)) = (&done.failure, target.run.as_mut()) {
            if run.message.as_ref() != Some(failure) {
                notices.push(Notice::RecycleFailed(format!(
                    "target {}: {failure}",
                    target.name
                )));
            }
            run.message = Some(failure.clone());
        }
        if let Some(blockade) = &done.blockade {
            stay_blocked(world, target, &mut status.plan, blockade);
        }
        if done.fallbacks > 0 {
            notices.push(Notice::FallbackUsed(format!(
                "target {}: {} pods were evicted, as the method failed on them",
                target.name, done.fallbacks
            )));
        }
        let halt = done.structural.as_ref();
        let halt = halt.map(|message| Halt::new(HaltReason::MethodRefused, message));
        if let Some(halt) = halt
            && let Some(run) = mark_halted(target, &halt, world.policy.generation, now)
        {
            notices.push(halt_notice(&run, &halt.message));
            ended.push(run);
        }
    }
    for run in ended {
        status.history.insert(0, run);
    }
    status.history.truncate(10);
    (status, notices)
}

/// Shows a step that was refused as a closed gate. The time of the last progress stays as it was, so that repeated
/// attempts do not change the status.
fn stay_blocked(
    world: &World,
    target: &mut TargetStatus,
    plan: &mut [PlanStatus],
    blockade: &EffectBackoff,
) {
    let gate = blockade.gate.as_str();
    let Some(shown) = plan.iter_mut().find(|p| p.target == target.name) else {
        return;
    };
    shown.waiting_for = Some(gate.to_owned());
    shown.message = Some(blockade.message.clone());
    shown.not_before = None;
    let before = &world.status;
    let was_blocked = before
        .plan
        .iter()
        .any(|p| p.target == target.name && p.waiting_for.as_deref() == Some(gate));
    let then = before
        .targets
        .iter()
        .find(|t| t.name == target.name)
        .and_then(|t| t.run.as_ref());
    if let (true, Some(then), Some(run)) = (was_blocked, then, target.run.as_mut())
        && then.epoch == run.epoch
        && then.recycled == run.recycled
    {
        run.last_progress_time = then.last_progress_time.clone();
    }
}

/// Writes the status on this resource version of the policy. Returns the version after it.
async fn write_status(
    version: &str,
    world: &World,
    status: &DbBalancePolicyStatus,
    ctx: ReportContext<'_>,
) -> Result<String, ReconcileError> {
    let facts = &world.policy;
    let patch = json!([
        {"op": "test", "path": "/metadata/uid", "value": facts.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "add", "path": "/status", "value": status},
    ]);
    let doing = format!(
        "writing the status of policy {}/{}",
        facts.namespace, facts.name
    );
    let patch: Patch<PartialObjectMeta<DbBalancePolicy>> = match serde_json::from_value(patch) {
        Ok(patch) => Patch::Json(patch),
        Err(error) => {
            return Err(ReconcileError::Kube {
                doing,
                source: Box::new(kube::Error::SerdeError(error)),
            });
        }
    };
    let api: Api<DbBalancePolicy> = Api::namespaced(ctx.client.clone(), &facts.namespace);
    let params = PatchParams::default();
    let written = await_answer(&doing, api.patch_status(&facts.name, &params, &patch)).await;
    let written = written.inspect_err(|_| {
        // It may be stored nevertheless.
        ctx.state.update(&facts.uid, |m| m.must_read = true);
    })?;
    match written {
        Ok(written) => {
            let text = written.resource_version().unwrap_or_default();
            let version = super::observe::parse_version(&written);
            ctx.state.update(&facts.uid, |m| {
                m.must_read = false;
                m.written = Some(WrittenStatus {
                    version,
                    status: written.status.unwrap_or_default(),
                });
            });
            Ok(text)
        }
        Err(kube::Error::Api(status)) if is_lost_race(&status) => {
            ctx.state.update(&facts.uid, |m| m.must_read = true);
            Err(ReconcileError::Conflict)
        }
        Err(source) => Err(ReconcileError::Kube {
            doing,
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests;
