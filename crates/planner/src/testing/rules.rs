//! The safety rules, reckoned anew: what a plan's steps must keep, without asking the plan's code.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{pods_of, seconds};
use crate::world::{TargetWorld, World};
use crate::{Plan, Step};
use dbbalance_api::spec::{Method, Mode, OnTimeout};
use dbbalance_api::status::{RunResult, TargetStatus, Trigger};
use dbbalance_core::dns::DnsSample;
use dbbalance_core::pacing::{STORM_CAP_PER_SECOND, resolve_rounded_down, resolve_rounded_up};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::topology::Role;

/// Asserts every rule that one plan can break.
pub(crate) fn check(world: &World, plan: &Plan, now: Timestamp) {
    assert_eq!(plan.targets.len(), world.spec.targets.len());
    check_opening(world, plan, now);
    if plan.targets.iter().all(|t| t.step.is_none()) {
        return;
    }
    assert_eq!(world.spec.mode, Mode::Enforce, "a step in mode Observe");
    assert!(!world.spec.suspend, "a step while suspended");
    assert!(!world.policy.deleting, "a step of a deleted policy");
    assert!(world.topology.current().is_some(), "a step on no topology");
    assert!(world.role_allowed && world.overlaps.is_empty(), "invalid");
    if let Some(until) = &world.policy.pause_until {
        let until: Result<Timestamp, _> = until.parse();
        assert!(until.is_ok_and(|u| u <= now), "a step while paused");
    }
    for index in 0..plan.targets.len() {
        check_target(world, plan, index, now);
    }
    check_budget(world, plan, now);
}

/// An epoch opens only as it was recorded, and with Hold only after DNS has followed.
fn check_opening(world: &World, plan: &Plan, now: Timestamp) {
    let pending = world.status.pending_epoch.as_ref();
    let Some(opening) = &plan.open else { return };
    let pending = pending.expect("opens what is not recorded");
    assert_eq!(opening.epoch, pending.epoch);
    let planned = plan.status.pending_epoch.as_ref().unwrap();
    assert_eq!(
        (&planned.triggers, &planned.message, &planned.fingerprint),
        (&pending.triggers, &pending.message, &pending.fingerprint)
    );
    if world.spec.dns.on_timeout == OnTimeout::Proceed || pending.targets.is_empty() {
        return;
    }
    let topology = world.status.topology.as_ref().unwrap();
    let named = |looks: &[DnsSample]| -> Vec<String> {
        let since = pending.settled_time.as_ref();
        let fresh = |l: &DnsSample| {
            since.is_some_and(|s| l.at >= s.0) || now.duration_since(l.at) <= seconds(5)
        };
        assert!(
            looks.iter().rev().take(8).all(fresh),
            "answers of another time"
        );
        let names = looks.iter().rev().take(8);
        names
            .map(|l| l.instance.as_ref().map_or("-".into(), |i| i.0.clone()))
            .collect()
    };
    if pending.triggers.iter().any(|t| t.is_urgent()) {
        let writer = topology.writer.clone().unwrap();
        assert_eq!(named(&world.dns.writer), vec![writer; 8], "flicker");
    } else if pending.triggers.contains(&Trigger::ReaderRemoved) {
        let is_member = |n: &String| topology.members.iter().any(|m| m.instance == *n);
        let answered = named(&world.dns.reader);
        let all_are = answered.iter().all(is_member);
        assert!(answered.len() == 8 && all_are, "{answered:?}");
    }
}

#[allow(clippy::too_many_lines)] // one rule after the other
fn check_target(world: &World, plan: &Plan, index: usize, now: Timestamp) {
    let Some(step) = &plan.targets[index].step else {
        return;
    };
    let (spec, found) = (&world.spec.targets[index], &world.targets[index]);
    assert!(found.owned_by.is_none(), "a step on another policy's pods");
    assert!(spec.workload_ref.is_none() || found.workload.is_some());
    assert!(spec.recycle.method != Method::Signal || world.signal_allowed);
    assert!(!found.workload.as_ref().is_some_and(|w| w.ignored));
    if let Some(pending) = &world.status.pending_epoch {
        let urgent = pending.triggers.iter().any(|t| t.is_urgent());
        let mine = pending.targets.contains(&spec.name);
        assert!(!(urgent && mine), "a step while a failover is pending");
    }
    let recorded = world.status.targets.iter().find(|t| t.name == spec.name);
    let recorded = recorded.expect("a step on an unrecorded target");
    let run = recorded
        .run
        .as_ref()
        .expect("a step without a recorded run");
    assert_eq!(run.result, RunResult::Running);
    assert_eq!(run.epoch, recorded.due_epoch);
    assert!(
        recorded.open_time.is_some(),
        "a step before the epoch opened"
    );
    assert!(recorded.due_epoch > recorded.baseline_epoch);
    let stamp = match step {
        Step::Pods { stamp, .. } | Step::Rollout { stamp, .. } | Step::Stamp { stamp, .. } => stamp,
    };
    assert_eq!(stamp.epoch, recorded.due_epoch);
    let opened = recorded.open_time.as_ref().unwrap().0;
    let steps = pods_of(Some(step));
    let unique: BTreeSet<&str> = steps.iter().map(|s| s.uid.as_str()).collect();
    assert_eq!(unique.len(), steps.len(), "a pod twice in a step");
    let gentle = [Method::Signal, Method::Http, Method::Annotate].contains(&spec.recycle.method);
    let mark = world.policy.mark();
    let recycled = Recycled::of(world, index, recorded);
    let (mut taken, mut replaced, mut exempt, mut first_exempt) = (0, 0, 0, 0);
    for s in steps {
        let pod = found.pods.iter().find(|p| p.uid == s.uid).unwrap();
        assert!(pod.started.is_some() && !pod.terminating && !pod.finished && !pod.ignored);
        assert!(
            pod.created < opened,
            "{} was born after the epoch",
            pod.name
        );
        assert!(!is_stamped(world, pod, recorded.due_epoch), "stamped");
        assert!(!(pod.ready && s.method == Method::Evict && is_lone(world, index)));
        let begun = is_in_flight(world, index, pod, now);
        if gentle && !pod.ready && pod.is_urgent(&mark, recorded) {
            assert!(
                begun || recycled.worse == 0 || exempt == 0,
                "a harmful method goes on"
            );
            exempt += 1;
            first_exempt += usize::from(!begun);
        } else if pod.ready || gentle {
            taken += usize::from(!begun);
        } else {
            replaced += usize::from(!begun);
        }
    }
    assert!(exempt <= STORM_CAP_PER_SECOND, "a storm of {exempt}");
    check_exempt(step, recorded, &recycled, first_exempt);
    let wanted = wanted(found);
    // A failover's pods are broken while they wait, and a percentage rounds up until a recycle has harmed one.
    let urgent = |p: &PodFacts| {
        p.is_counted() && p.is_urgent(&mark, recorded) && !is_stamped(world, p, recorded.due_epoch)
    };
    let hurries = gentle && !recycled.has_harmed && found.pods.iter().any(urgent);
    let may = if hurries {
        resolve_rounded_up(&world.spec.pacing.max_unavailable, wanted)
    } else {
        resolve_rounded_down(&world.spec.pacing.max_unavailable, wanted)
    };
    let may = may.unwrap_or(1).max(1);
    // Not Ready already; their successors are to come back first.
    assert!(
        replaced <= may,
        "{replaced} that are not Ready at once, may {may}"
    );
    if taken == 0 {
        return;
    }
    let up = found.pods.iter().filter(|p| is_up(p)).count();
    let answers =
        |p: &&PodFacts| is_in_flight(world, index, p, now) && !is_silent(world, index, p, now);
    let (flying, lost) = if gentle {
        let flying = found.pods.iter().filter(answers).count();
        (
            flying,
            recycled.worse.saturating_sub(recycled.lost_by_others),
        )
    } else {
        let begun = |p: &&PodFacts| is_up(p) && is_in_flight(world, index, p, now);
        let flying = found.pods.iter().filter(begun).count();
        (flying, wanted.saturating_sub(up))
    };
    assert!(
        taken + flying + lost <= may,
        "takes {taken} with {flying} in flight and {lost} lost of {wanted}, may {may}"
    );
}

/// Until a pod has shown that the method works, those that are not Ready go one by one.
fn check_exempt(step: &Step, recorded: &TargetStatus, recycled: &Recycled, first: usize) {
    let is_verified = matches!(
        step,
        Step::Pods { verify_key, .. } if recorded.method_verified.as_ref() == Some(verify_key)
    );
    assert!(
        is_verified || recycled.outlasted || first <= 1 + recycled.silent,
        "{first} pods that are not Ready at once, by a method that none has shown to work"
    );
}

/// What this epoch's recycles have left.
struct Recycled {
    /// Ready before, and not now, or an app that ended.
    worse: usize,
    /// Whether a pod was Ready before, and is not now or had an app that ended.
    has_harmed: bool,
    /// Not Ready without a recycle.
    lost_by_others: usize,
    /// Whether a pod that was not Ready has answered, and its app runs on.
    outlasted: bool,
    /// Claimed, and no answer.
    silent: usize,
}

impl Recycled {
    fn of(world: &World, index: usize, target: &TargetStatus) -> Self {
        let found = &world.targets[index];
        let run = target.run.as_ref().unwrap();
        let began = run.resumed_time.as_ref().unwrap_or(&run.start_time).0;
        let mine = |p: &PodFacts| {
            p.since_claim.as_ref().is_some_and(|s| {
                s.policy == world.policy.mark()
                    && s.epoch == target.due_epoch
                    && s.claimed >= began - seconds(1)
            })
        };
        let counted = || found.pods.iter().filter(|p| p.is_counted());
        let worse = counted().filter(|p| {
            let since = p.since_claim.as_ref().filter(|s| mine(p) && s.was_ready);
            !p.ready && since.is_some_and(|s| !s.ended.is_empty() || p.claim.is_none())
        });
        let has_harmed = counted().any(|p| {
            let since = p.since_claim.as_ref().filter(|s| mine(p) && s.was_ready);
            since.is_some_and(|s| !s.ended.is_empty() || (!p.ready && p.claim.is_none()))
        });
        let others =
            counted().filter(|p| !p.ready && !mine(p) && !is_stamped(world, p, target.due_epoch));
        let outlasted = |p: &PodFacts| {
            mine(p)
                && is_stamped(world, p, target.due_epoch)
                && p.since_claim
                    .as_ref()
                    .is_some_and(|s| !s.was_ready && s.ended.is_empty())
        };
        Self {
            worse: worse.count(),
            has_harmed,
            lost_by_others: others.count(),
            outlasted: counted().any(outlasted),
            silent: counted().filter(|p| p.claim.is_some()).count(),
        }
    }
}

/// Whether the method has not answered within its timeout.
fn is_silent(world: &World, index: usize, pod: &PodFacts, now: Timestamp) -> bool {
    let http = world.spec.targets[index].recycle.http.as_ref();
    let timeout = http.map_or(10, |h| i64::from(h.timeout_seconds));
    let claim = pod.claim.as_ref();
    claim.is_some_and(|c| now.duration_since(c.time) > seconds(timeout + 1))
}

/// No step passes the budget, with every endpoint's connections spread evenly and half as many again. A failover's steps
/// by methods that close first are free, and by Evict it may always take one pod.
fn check_budget(world: &World, plan: &Plan, now: Timestamp) {
    let view = world.topology.current().unwrap();
    let percent = 100 - u64::try_from(world.spec.budget.headroom_percent).unwrap();
    let settled = crate::recorded_topology(world.status.topology.as_ref().unwrap()).unwrap();
    let readers = view
        .topology
        .readers
        .len()
        .min(settled.readers.len())
        .max(1) as u64;
    for (member, role) in view.topology.members() {
        let lone = view.topology.readers.is_empty();
        let pick = |reader: u64, writer: u64| match (role, lone) {
            (Role::Reader, _) => reader,
            (Role::Writer, false) => writer,
            (Role::Writer, true) => reader + writer,
        };
        let mut held = (
            world.peers.held.estimated.reader,
            world.peers.held.estimated.writer,
        );
        let flying = world.peers.in_flight;
        let mut flying = pick(flying.reader, flying.writer);
        let mut adds = 0;
        let mut lone_pods = true;
        for (index, spec) in world.spec.targets.iter().enumerate() {
            let each = spec.pools.iter().fold((0, 0), |(r, w), p| {
                let n = u64::try_from(p.connections_per_pod.unwrap()).unwrap();
                match p.endpoint {
                    dbbalance_api::spec::Endpoint::Reader => (r + n, w),
                    dbbalance_api::spec::Endpoint::Writer => (r, w + n),
                }
            });
            let found = &world.targets[index];
            let holds = |p: &&PodFacts| !p.finished && (p.started.is_some() || !p.terminating);
            let pods = found.pods.iter().filter(holds).count() as u64;
            held = (held.0 + each.0 * pods, held.1 + each.1 * pods);
            let each = pick(each.0, each.1);
            let flies = |p: &&PodFacts| is_in_flight(world, index, p, now);
            flying += each * found.pods.iter().filter(flies).count() as u64;
            let steps = pods_of(plan.targets[index].step.as_ref()).iter();
            let pod = |uid: &str| found.pods.iter().find(|p| p.uid == uid).unwrap();
            let fresh: Vec<_> = steps
                .filter(|s| !is_in_flight(world, index, pod(&s.uid), now))
                .collect();
            let recorded = world.status.targets.iter().find(|t| t.name == spec.name);
            let mark = world.policy.mark();
            let urgent = |uid: &str| recorded.is_some_and(|t| pod(uid).is_urgent(&mark, t));
            let all_urgent = fresh.iter().all(|s| urgent(&s.uid));
            let surges = fresh.iter().any(|s| s.method == Method::Evict);
            if all_urgent && !surges {
                continue;
            }
            lone_pods &= all_urgent && fresh.len() <= 1;
            adds += each * fresh.len() as u64;
        }
        let limit = match world.spec.budget.max_connections {
            Some(n) => u64::try_from(n).unwrap(),
            None => match view
                .facts
                .get(&member.instance)
                .and_then(|f| f.class.as_deref())
            {
                Some("db.r6g.large") => 1600,
                _ => continue,
            },
        };
        let budget = limit * percent / 100;
        let share = (held.0.div_ceil(readers) * 3).div_ceil(2).min(held.0);
        let sum = pick(share, held.1) + flying;
        assert!(
            adds == 0 || lone_pods || sum + adds <= budget,
            "{sum} held and in flight and {adds} more exceed {budget} on {}",
            member.instance
        );
    }
}

/// The pods that there should be.
pub(crate) fn wanted(found: &TargetWorld) -> usize {
    found.workload.as_ref().map_or_else(
        || {
            found
                .pods
                .iter()
                .filter(|p| !p.finished && !p.terminating && !p.ignored)
                .count()
        },
        |w| w.wanted,
    )
}

fn is_lone(world: &World, index: usize) -> bool {
    wanted(&world.targets[index]) <= 1
        && world.spec.targets[index].recycle.allow_single_replica != Some(true)
}

fn is_up(pod: &PodFacts) -> bool {
    pod.ready && pod.started.is_some() && !pod.terminating && !pod.finished
}

fn is_stamped(world: &World, pod: &PodFacts, epoch: i64) -> bool {
    let stamp = pod.stamp.as_ref();
    stamp.is_some_and(|s| s.policy == world.policy.mark() && s.epoch >= epoch)
}

/// Whether a recycle of this pod has begun and may still end, or will be begun once more.
fn is_in_flight(world: &World, index: usize, pod: &PodFacts, now: Timestamp) -> bool {
    let spec = &world.spec.targets[index];
    let recorded = &world.status.targets.iter().find(|t| t.name == spec.name);
    let Some(recorded) = recorded else {
        return false;
    };
    let Some(claim) = &pod.claim else {
        return false;
    };
    if world.targets[index].owned_by.is_some() {
        return false;
    }
    let workload = world.targets[index].workload.as_ref();
    let due = recorded.due_epoch > recorded.baseline_epoch;
    if workload.is_some_and(|w| w.ignored) || !recorded.owned || !due {
        return false;
    }
    let opened = recorded.open_time.as_ref().map_or(now, |t| t.0);
    let restarted = pod
        .started
        .is_none_or(|s| s.duration_since(opened) > seconds(30));
    let fresh = is_stamped(world, pod, recorded.due_epoch) || pod.created >= opened || restarted;
    if claim.policy != world.policy.mark()
        || fresh
        || pod.terminating
        || pod.finished
        || pod.ignored
        || claim.epoch > recorded.due_epoch
    {
        return false;
    }
    let timeout = spec
        .recycle
        .http
        .as_ref()
        .map_or(10, |h| i64::from(h.timeout_seconds));
    let over = now.duration_since(claim.time) > seconds(timeout + 30);
    let resumed = recorded.run.as_ref().and_then(|r| r.resumed_time.as_ref());
    let before = resumed.is_some_and(|r| claim.time < r.0);
    match claim.attempt.number() {
        1 if claim.epoch == recorded.due_epoch && !before => true,
        1 | 2 | 4 | 5 => !over,
        _ => false,
    }
}
