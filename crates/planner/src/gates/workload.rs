//! The gates of the workload: no step while something else moves its pods, and methods that are refused for it.

use super::privilege::Privilege;
use crate::target::TargetContext;
use crate::types::{ClosedGate, Gate};
use dbbalance_api::spec::Method;
use dbbalance_core::workload::{RolloutStrategy, WorkloadFacts};

/// Checks that the workload is complete, not paused, and in no rollout but ours.
pub(crate) fn check_workload(ctx: &TargetContext, privilege: Privilege) -> Result<(), ClosedGate> {
    let Some(workload) = &ctx.found.workload else {
        return Ok(());
    };
    let name = workload.describe();
    let not_settled = |message| Err(ClosedGate::new(Gate::TargetNotSettled, message));
    if is_held_by_rollout(ctx, workload, privilege) {
        return not_settled(format!(
            "{name} is in a rollout{}: {} of {} pods are of its newest template",
            if workload.rollout_failed {
                " that has failed"
            } else {
                ""
            },
            workload.updated,
            workload.wanted
        ));
    }
    // A stamp on the template of a paused workload rolls nothing, and becomes part of what the user is changing.
    let rolls = ctx.policy.recycle.method == Method::Rollout;
    if workload.paused && (rolls || !privilege.urgent) {
        return not_settled(format!("{name} is paused: resume it"));
    }
    if privilege.urgent {
        return Ok(());
    }
    // A failed rollout leaves its surge pods, which are nothing to wait for.
    let stuck = workload.is_rolling() && workload.rollout_failed;
    // Within a run the missing pods may be ours; pacing counts them.
    if ctx.running().is_none() && workload.present != workload.wanted && !stuck {
        return not_settled(format!(
            "{name} has {} pods and wants {}",
            workload.present, workload.wanted
        ));
    }
    Ok(())
}

/// Says which rollout would hold a failover and does not end by itself, with what to do; `None` if there is none.
pub(crate) fn find_stuck_rollout(ctx: &TargetContext) -> Option<String> {
    let workload = ctx.found.workload.as_ref()?;
    let name = workload.describe();
    let urgent = Privilege {
        urgent: true,
        ..Privilege::default()
    };
    let held = is_held_by_rollout(ctx, workload, urgent);
    // A stamp on the template of a paused workload rolls nothing.
    if workload.paused && (held || ctx.policy.recycle.method == Method::Rollout) {
        return Some(format!("{name} is paused: resume it"));
    }
    if held && workload.rollout_failed {
        return Some(format!(
            "{name} is in a rollout that has failed: finish it or undo it"
        ));
    }
    (held && workload.strategy == RolloutStrategy::OnDelete).then(|| {
        format!(
            "{name} has strategy OnDelete and pods of an older template, which an eviction would roll out: delete those pods, or undo the change of the template"
        )
    })
}

/// Whether a rollout, in progress or stuck, holds a step: it moves the pods that the step would move, or the step would
/// move it on.
fn is_held_by_rollout(ctx: &TargetContext, workload: &WorkloadFacts, privilege: Privilege) -> bool {
    if !workload.is_rolling() {
        return false;
    }
    let ours = workload.template_stamp.as_ref().is_some_and(|s| {
        s.policy == ctx.mark
            && (s.epoch == ctx.status.due_epoch
                || (privilege.urgent && workload.generation <= last_stamped_generation(ctx)))
    });
    match ctx.policy.recycle.method {
        Method::Rollout => !ours,
        // The successor of an evicted pod has the template of the pod's own revision, but for OnDelete: an eviction
        // would roll out what the user holds back.
        Method::Evict => {
            workload.strategy == RolloutStrategy::OnDelete
                || !(workload.is_held_by_strategy()
                    || (privilege.urgent && workload.rollout_failed))
        }
        Method::Signal | Method::Http | Method::Annotate => {
            !privilege.urgent && workload.is_moving_pods()
        }
    }
}

/// Returns the generation of our last stamp on the template. A stamp stays there through later deploys, so a rollout of
/// a newer generation is not ours.
fn last_stamped_generation(ctx: &TargetContext) -> i64 {
    let history = ctx.pass.status.history.iter();
    let runs = history.filter(|r| r.target == ctx.policy.name);
    let runs = runs.chain(&ctx.status.run);
    runs.filter_map(|r| r.template_generation)
        .max()
        .unwrap_or(i64::MIN)
}

/// Returns the gate of an eviction of a target's only pod, which the user has not allowed.
pub(crate) fn single_replica_gate() -> ClosedGate {
    ClosedGate::new(
        Gate::Refused,
        "the only pod is not evicted: set recycle.allowSingleReplica, run two, or use Signal or HTTP",
    )
}
