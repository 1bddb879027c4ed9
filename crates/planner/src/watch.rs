//! Watches over runs in progress: what they have done, what failed, and when one halts.
//!
//! Decides nothing about pods; a halted run stays so until a new epoch, an edit or a token.

use jiff::Timestamp;

use super::gate::{Gate, Held};
use super::gates;
use super::life::halt;
use super::pods::{Scene, Stage};
use super::runs::count;
use super::{Notice, Plan, TargetPlan};
use crate::world::World;
use dbbalance_api::spec::Method;
use dbbalance_api::status::{RunResult, TargetStatus};

/// Counts progress and failures, and halts what does not come forward.
pub(super) fn watch_over(
    world: &World,
    scene: &mut Scene,
    plan: &mut Plan,
    now: Timestamp,
    part: &mut TargetPlan,
) {
    let stale = scene.target.stale;
    let failed = count(
        scene
            .stale
            .iter()
            .filter(|p| scene.stage(p, now) == Stage::Failed)
            .count(),
    );
    let verified = scene.is_verified();
    let counted = scene.counted.len();
    let was_held = was_held(world, &scene.target.name);
    let outer = part.held.as_ref().is_some_and(|h| !h.gate.is_pace());
    let Some(run) = scene
        .target
        .run
        .as_mut()
        .filter(|r| r.result == RunResult::Running)
    else {
        return;
    };
    let recycled = run.stale.saturating_sub(stale).max(run.recycled);
    if recycled > run.recycled || failed > run.failed || (was_held && !outer) {
        run.last_progress_time = gates::to_second(now);
    }
    run.recycled = recycled;
    run.failed = failed;
    let deadline = gates::after(
        run.last_progress_time.0,
        world.spec.pacing.progress_deadline_seconds,
    );
    let cause = run
        .message
        .as_ref()
        .map_or_else(String::new, |m| format!("; the last failure: {m}"));
    let allowed = (counted / 10).max(1);
    let method = scene.spec.recycle.method.as_str();
    let reverted = scene.target.reverted_epoch == Some(run.epoch);
    let halt = if reverted {
        Some("somebody took the stamp from the pod template (GitOps?); it is not put back before the next epoch".to_owned())
    } else if usize::try_from(failed).unwrap_or(0) > allowed {
        Some(format!(
            "{method} failed twice on {failed} of {counted} pods, {allowed} may fail{cause}"
        ))
    } else if failed > 0 && !verified && scene.spec.recycle.method != Method::Rollout {
        Some(format!(
            "{method} failed twice on the first pod, so no other is tried{cause}"
        ))
    } else if !outer && now >= deadline {
        let waits = part
            .held
            .as_ref()
            .map_or_else(String::new, |h| format!(": {}", h.message));
        Some(format!(
            "no progress for {} s with {stale} of {counted} pods stale{waits}{cause}",
            world.spec.pacing.progress_deadline_seconds
        ))
    } else {
        None
    };
    if let Some(message) = halt {
        let before = world.status.targets.iter();
        let mut before = before.filter(|t| t.name == scene.target.name);
        if reverted && !before.any(|t| t.reverted_epoch == scene.target.reverted_epoch) {
            let note = format!("target {}: {message}", scene.target.name);
            plan.notices.push(Notice::RevertDetected(note));
        }
        halt_run(
            &mut scene.target,
            &message,
            world.policy.generation,
            now,
            plan,
        );
        part.step = None;
        part.running = false;
        part.held = Some(Held::new(Gate::Halted, message));
    } else if !outer {
        plan.wake_at(deadline);
    }
}

/// Halts the run of a measured target whose method fails, or whose first pod does not come back.
pub(super) fn halt_failed(
    world: &World,
    scene: &mut Scene,
    plan: &mut Plan,
    now: Timestamp,
    part: &mut TargetPlan,
) {
    let counted = scene.counted.len();
    let mut stages = scene.counted.iter().map(|p| scene.stage(p, now));
    let failed = count(stages.by_ref().filter(|s| *s == Stage::Failed).count());
    let moved = count(
        scene
            .counted
            .iter()
            .filter(|p| scene.moved_in_run(p, now).is_some())
            .count(),
    );
    let verified = scene.is_verified();
    let method = scene.spec.recycle.method.as_str();
    let paced = part.held.as_ref().filter(|h| h.gate == Gate::Canary);
    let waits = paced.map(|h| h.message.clone());
    let Some(run) = scene
        .target
        .run
        .as_mut()
        .filter(|r| r.result == RunResult::Running)
    else {
        return;
    };
    run.failed = failed;
    run.recycled = run.recycled.max(moved);
    let cause = run
        .message
        .as_ref()
        .map_or_else(String::new, |m| format!("; the last failure: {m}"));
    let seconds = world.spec.pacing.progress_deadline_seconds;
    let deadline = gates::after(run.last_progress_time.0, seconds);
    let allowed = (counted / 10).max(1);
    let message = if usize::try_from(failed).unwrap_or(0) > allowed {
        format!("{method} failed twice on {failed} of {counted} pods, {allowed} may fail{cause}")
    } else if failed > 0 && !verified {
        format!("{method} failed twice on the first pod, so no other is tried{cause}")
    } else if let Some(waits) = waits {
        if now < deadline {
            plan.wake_at(deadline);
            return;
        }
        format!("no progress for {seconds} s: {waits}{cause}")
    } else {
        return;
    };
    halt_run(
        &mut scene.target,
        &message,
        world.policy.generation,
        now,
        plan,
    );
    part.step = None;
    part.running = false;
    part.held = Some(Held::new(Gate::Halted, message));
}

/// Halts a target's run until a new epoch, an edit or a token.
pub(super) fn halt_run(
    target: &mut TargetStatus,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
    plan: &mut Plan,
) {
    if let Some(run) = halt(target, message, generation, now) {
        plan.notices.push(Notice::RunHalted(
            format!(
                "target {}: the run for epoch {} has halted: {message}",
                run.target, run.epoch
            ),
            run.triggers.clone(),
        ));
        plan.status.history.insert(0, run);
    }
}

/// Whether a gate other than the pace held the target at the last pass.
fn was_held(world: &World, target: &str) -> bool {
    let mut last = world.status.plan.iter().filter(|p| p.target == target);
    last.next()
        .and_then(|p| p.waiting_for.as_deref())
        .is_some_and(|w| Gate::ALL.iter().any(|g| g.as_str() == w && !g.is_pace()))
}

/// Whether a target's run counts among those in progress, as the last pass left it.
pub(super) fn was_running(world: &World, target: &TargetStatus) -> bool {
    let run = target.run.as_ref();
    run.is_some_and(|r| r.result == RunResult::Running) && !was_held(world, &target.name)
}
