//! Puts a target into a state that no story reaches by itself, or seldom: closed gates, storms, failed tries.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::random::Tape;
use super::{claim, seconds, target};
use crate::Gate;
use crate::world::{EffectBackoff, TargetWorld, World};
use dbbalance_api::spec::{Fallback, Method};

/// Pods of a target in a storm: twice as many as a step may take, and some.
const STORM: usize = 24;

/// Disturbs one target, or the policy as far as it concerns it.
pub(crate) fn disturb_target(tape: &mut Tape, world: &mut World, index: usize, now: Timestamp) {
    match tape.below(6) {
        0 => {}
        1 => close_gate(tape, world, index, now),
        2 => change_method(tape, world, index),
        3 | 4 => change_pods(tape, world, index, now),
        _ => change_record(tape, world, index, now),
    }
}

fn close_gate(tape: &mut Tape, world: &mut World, index: usize, now: Timestamp) {
    let found = &mut world.targets[index];
    match (tape.below(8), &mut found.workload) {
        (0, _) => found.owned_by = Some("older".into()),
        (1, _) => found.workload = None,
        (2, _) => world.peers.running = 3,
        (3, _) => {
            found.backoff = Some(EffectBackoff {
                gate: tape.of(&[Gate::DisruptionBudget, Gate::ApiServer]),
                message: "refused".into(),
                until: now + seconds(5),
            });
        }
        (4, Some(workload)) => workload.paused = true,
        (5, Some(workload)) => workload.updated /= 2,
        (6, Some(workload)) => workload.wanted += 2,
        (_, Some(workload)) => workload.ignored = true,
        _ => {}
    }
}

fn change_method(tape: &mut Tape, world: &mut World, index: usize) {
    let recycle = &mut world.spec.targets[index].recycle;
    match tape.below(4) {
        0 => recycle.fallback = Some(Fallback::Evict),
        1 => recycle.allow_single_replica = Some(true),
        _ => {
            *recycle = target("x", Method::Rollout).recycle;
            recycle.fallback = tape.of(&[None, Some(Fallback::Evict)]);
        }
    }
    if tape.rare(2)
        && let Some(workload) = &mut world.targets[index].workload
    {
        // Somebody took the stamp away, if there was one.
        workload.template_stamp = None;
    }
}

fn change_pods(tape: &mut Tape, world: &mut World, index: usize, now: Timestamp) {
    let due = world.status.targets.get(index).map_or(1, |t| t.due_epoch);
    let found = &mut world.targets[index];
    match tape.below(3) {
        0 => {
            for pod in &mut found.pods {
                pod.ready = false;
            }
        }
        1 => {
            grow(found);
            let ready = tape.rare(2);
            for pod in &mut found.pods {
                pod.ready = ready;
                pod.stamp = None;
                pod.claim = None;
            }
        }
        _ => {
            let attempt = tape.of(&[1, 2, 3, 4, 5]);
            let ago = tape.of(&[5, 45, 400, 2000]);
            let one_of = tape.of(&[1, 2, 4]);
            if tape.rare(2) {
                world.spec.targets[index].recycle.fallback = Some(Fallback::Evict);
            }
            for pod in found.pods.iter_mut().step_by(one_of) {
                pod.stamp = None;
                pod.claim = Some(claim(due, attempt, 0));
                pod.claim.as_mut().unwrap().time = now - seconds(ago);
            }
        }
    }
}

/// Adds pods that are like the first, with its readings, until there are enough for a storm.
fn grow(found: &mut TargetWorld) {
    let Some(first) = found.pods.first().cloned() else {
        return;
    };
    for n in found.pods.len()..STORM {
        let mut pod = first.clone();
        pod.name = format!("more-{n}");
        pod.uid = format!("uid-more-{n}");
        let readings = &mut found.evidence.measured.pods;
        if let Some(reading) = readings.get(&first.uid).cloned() {
            readings.insert(pod.uid.clone(), reading);
        }
        found.pods.push(pod);
    }
    if let Some(workload) = &mut found.workload {
        workload.wanted = STORM;
        workload.present = STORM;
        workload.updated = STORM;
    }
}

fn change_record(tape: &mut Tape, world: &mut World, index: usize, now: Timestamp) {
    let ago = |n| Time(Timestamp::from_second(now.as_second() - n).unwrap());
    let status = &mut world.status;
    let Some(target) = status.targets.get_mut(index) else {
        return;
    };
    match tape.below(5) {
        0 => {
            world.spec.limits.cooldown_seconds = 0;
            world.spec.limits.max_runs_per_hour = 1;
            target.run_times = vec![ago(60)];
            target.run = None;
        }
        1 => {
            world.spec.limits.cooldown_seconds = 0;
            target.run = None;
            status.reader_changes = super::restless_readers(ago(4).0);
        }
        2 => {
            if let Some(run) = &mut target.run {
                run.last_progress_time = ago(2000);
            }
        }
        3 => target.method_verified = None,
        _ => {
            if let Some(run) = &mut target.run {
                run.epoch = target.due_epoch;
                run.template_generation = Some(1);
                run.last_step_time = Some(ago(60));
            }
        }
    }
}
