//! Gates: what must hold before a step, in their order. The first that does not is named.
//!
//! Each gate is a pure check; none of them knows how a step is made.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::gate::{Gate, Held};
use super::pods::Scene;
use crate::validate::Valid;
use crate::world::{Reading, World};
use dbbalance_api::spec::{Method, Mode};
use dbbalance_api::status::RunResult;
use dbbalance_core::epoch::flapping_until;
use dbbalance_core::pacing::MAX_RUNS_PER_CLUSTER;
use dbbalance_core::window;

/// Whole seconds, rounded up: what the status can hold.
pub(super) fn to_second(time: Timestamp) -> Time {
    let seconds = time.as_second() + i64::from(time.subsec_nanosecond() > 0);
    Time(Timestamp::from_second(seconds).unwrap_or(time))
}

/// Whole seconds, rounded down: the second that a claim made now will hold.
pub(super) fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Which gates a step may skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Privilege {
    /// Pods older than the last failover.
    pub urgent: bool,
    /// A user asked by token.
    pub token: bool,
}

/// Mode, suspension, pause, problems and ownership: what holds a policy or target as a whole.
pub(super) fn standing(
    world: &World,
    valid: &Valid,
    index: usize,
    now: Timestamp,
) -> Result<(), Held> {
    if world.spec.mode == Mode::Observe {
        return Err(Held::new(
            Gate::Observe,
            "mode is Observe: the plan is shown, nothing is changed",
        ));
    }
    if world.spec.suspend {
        return Err(Held::new(Gate::Suspended, "spec.suspend is true"));
    }
    if let Some(until) = valid.paused_until.filter(|until| now < *until) {
        return Err(Held::until(
            Gate::Paused,
            "paused by dbbalance.io/pause-until",
            until,
        ));
    }
    if let Some(problem) = valid.problems.first() {
        return Err(Held::new(Gate::InvalidSpec, problem.message.clone()));
    }
    let (spec, target) = (&world.spec.targets[index], &world.targets[index]);
    if let Some(owner) = &target.owned_by {
        return Err(Held::new(
            Gate::TargetConflict,
            format!("policy {owner} is older and owns these pods: take them out of one of the two"),
        ));
    }
    if let (Some(reference), None) = (&spec.workload_ref, &target.workload) {
        return Err(Held::new(
            Gate::TargetNotFound,
            format!(
                "{:?} {} is not in namespace {}",
                reference.kind, reference.name, world.policy.namespace
            ),
        ));
    }
    // Said before anything is tried: an attempt would be a refused request for every epoch.
    if spec.recycle.method == Method::Signal && !world.signal_allowed {
        return Err(Held::new(
            Gate::Refused,
            format!(
                "spec.targets[{}].recycle.method: Signal is not granted in namespace {}: list it in the chart's value signal.namespaces, or choose another method",
                spec.name, world.policy.namespace
            ),
        ));
    }
    Ok(())
}

/// The gates of the epoch: topology read, settled, open.
pub(super) fn epoch(
    world: &World,
    scene: &Scene,
    privilege: Privilege,
    now: Timestamp,
) -> Result<(), Held> {
    match &world.reading {
        Reading::Current(_) => {}
        Reading::Pending => {
            return Err(Held::new(
                Gate::TopologyNotCurrent,
                "the topology has not been read yet",
            ));
        }
        Reading::Failing { message, .. } => {
            return Err(Held::new(Gate::TopologyNotCurrent, message.clone()));
        }
    }
    if !privilege.token {
        let settling = scene.settling.unsettled(&world.spec.triggers, now);
        if let Some((change, at)) = settling.into_iter().find(|(c, _)| c.trigger().is_urgent()) {
            return Err(Held::until(
                Gate::Settle,
                format!("{} and must hold", change.describe()),
                at,
            ));
        }
    }
    if let Some(pending) = &scene.status.pending_epoch {
        let mine = pending.targets.contains(&scene.spec.name);
        if mine && pending.triggers.iter().any(|t| t.is_urgent()) {
            return Err(super::pending::held(world, pending));
        }
    }
    Ok(())
}

/// The windows, which hold within a run too.
pub(super) fn windows(
    valid: &Valid,
    world: &World,
    privilege: Privilege,
    now: Timestamp,
) -> Result<(), Held> {
    if privilege.urgent || privilege.token {
        return Ok(());
    }
    let key = format!("{}/{}", world.policy.namespace, world.policy.name);
    window::check_windows(&valid.windows, now, &key).map_err(|closed| Held {
        gate: Gate::Window,
        message: closed.message,
        until: closed.until,
    })
}

/// The gates between runs: cool-down, hourly limit, flapping.
pub(super) fn between_runs(
    world: &World,
    scene: &Scene,
    privilege: Privilege,
    now: Timestamp,
) -> Result<(), Held> {
    if privilege.urgent || privilege.token {
        return Ok(());
    }
    let limits = &world.spec.limits;
    let superseding = scene
        .target
        .run
        .as_ref()
        .is_some_and(|r| r.result == RunResult::Superseded);
    if let (Some(end), false) = (&scene.target.last_run_end_time, superseding) {
        let until = after(end.0, limits.cooldown_seconds);
        if now < until {
            let message = format!(
                "{} s after the end of the last run",
                limits.cooldown_seconds
            );
            return Err(Held::until(Gate::Cooldown, message, until));
        }
    }
    let hour_ago = after(now, -3600);
    let recent: Vec<_> = scene
        .target
        .run_times
        .iter()
        .filter(|t| t.0 > hour_ago)
        .collect();
    if recent.len() >= usize::try_from(limits.max_runs_per_hour).unwrap_or(usize::MAX) {
        let message = format!(
            "{} runs began within the last hour, {} may",
            recent.len(),
            limits.max_runs_per_hour
        );
        let until = recent.first().map(|t| after(t.0, 3600));
        return Err(Held {
            gate: Gate::HourlyLimit,
            message,
            until,
        });
    }
    let times: Vec<_> = scene
        .status
        .reader_epoch_times
        .iter()
        .map(|t| t.0)
        .collect();
    if let Some(until) = flapping_until(&times, now) {
        let message =
            "more than 3 epochs of readers alone within an hour: waiting for 30 quiet minutes";
        return Err(Held::until(Gate::Flapping, message, until));
    }
    Ok(())
}

/// Runs at once on the cluster.
pub(super) fn cluster(world: &World, own_running: usize) -> Result<(), Held> {
    let running = world.others.running + own_running;
    if running >= MAX_RUNS_PER_CLUSTER {
        return Err(Held::new(
            Gate::Pacing,
            format!("{running} runs are in progress on the cluster, {MAX_RUNS_PER_CLUSTER} may be"),
        ));
    }
    Ok(())
}

/// The target's own health: no step while somebody else moves its pods.
pub(super) fn health(scene: &Scene, method: Method, privilege: Privilege) -> Result<(), Held> {
    let Some(workload) = &scene.world.workload else {
        return Ok(());
    };
    let name = workload.describe();
    let ours = workload.template_stamp.as_ref().is_some_and(|s| {
        s.policy == scene.mark
            && (s.epoch == scene.target.due_epoch
                || (privilege.urgent && workload.generation <= stamped_generation(scene)))
    });
    if workload.is_rolling() {
        let moves = matches!(method, Method::Evict | Method::Rollout);
        let rollout_of_ours = method == Method::Rollout && ours;
        if !rollout_of_ours && (moves || !privilege.urgent) {
            return Err(Held::new(
                Gate::TargetNotSettled,
                format!(
                    "{name} is in a rollout: {} of {} pods are of its newest template",
                    workload.updated, workload.wanted
                ),
            ));
        }
    }
    if privilege.urgent {
        return Ok(());
    }
    if workload.paused {
        return Err(Held::new(
            Gate::TargetNotSettled,
            format!("{name} is paused"),
        ));
    }
    let in_run = scene.running().is_some();
    // Within a run the missing pods may be ours; pacing counts them.
    if !in_run && workload.present != workload.wanted {
        return Err(Held::new(
            Gate::TargetNotSettled,
            format!(
                "{name} has {} pods and wants {}",
                workload.present, workload.wanted
            ),
        ));
    }
    Ok(())
}

/// The generation of our last stamp on the template. A stamp stays there through later deploys, so
/// that a rollout of a newer generation is somebody else's.
fn stamped_generation(scene: &Scene) -> i64 {
    let history = scene.status.history.iter();
    let runs = history.filter(|r| r.target == scene.spec.name);
    let runs = runs.chain(&scene.target.run);
    runs.filter_map(|r| r.template_generation)
        .max()
        .unwrap_or(i64::MIN)
}

pub(super) fn after(time: Timestamp, seconds: i32) -> Timestamp {
    time.saturating_add(jiff::SignedDuration::from_secs(seconds.into()))
        .unwrap_or(Timestamp::MAX)
}
