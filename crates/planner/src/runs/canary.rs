//! The canary: the first pod must come back before another goes. Where connections are measured, they must be new.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::gates::pacing::{canary_watch_end, interval_end, is_canary_watched};
use crate::target::{Stage, TargetContext};
use crate::types::{ClosedGate, Gate};
use dbbalance_api::spec::{Endpoint, Method};
use dbbalance_api::status::Trigger;
use dbbalance_core::evidence::{Addresses as _, Socket, fresh_sockets, kept_sockets};
use dbbalance_core::pacing::STORM_CAP_PER_SECOND;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Attempt;

/// From the claim to the moment from which on a reading can show the new connections: the effect itself,
/// and what the app needs to reconnect.
pub(crate) const REOPENING: SignedDuration = SignedDuration::from_millis(500);

/// How many local ports a message names.
const NAMED_PORTS: usize = 4;

/// How far the canary of the run in progress has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Canary {
    /// None was taken yet, or none is needed.
    NotNeeded,
    /// It has not come back, or its connections are not new.
    Waiting(String),
    /// It has come back.
    Passed,
}

/// Checks the canary by stamps: an interval after its step no recycled pod is worse, for `Evict` as many pods are Ready as
/// when the run started, and one that was recycled is among them. Sooner, its probes may not have noticed yet.
pub(crate) fn check_stamped_canary(ctx: &TargetContext) -> Canary {
    let stepped = ctx.running().is_some_and(|r| r.last_step_time.is_some());
    if !stepped || ctx.is_verified() {
        return Canary::NotNeeded;
    }
    let in_flight = ctx.stale.iter();
    let in_flight = in_flight.filter(|p| ctx.stage(p) == Stage::InFlight && p.ready);
    if let Some(message) = missing_canary(ctx, in_flight.copied()) {
        return Canary::Waiting(message);
    }
    if interval_end(ctx).is_none() && ctx.counted.iter().any(|p| is_recycled(ctx, p)) {
        return Canary::Passed;
    }
    Canary::NotNeeded
}

/// Returns the number of pods that were taken as canaries and do not answer.
pub(crate) fn count_unanswered_canaries(ctx: &TargetContext) -> usize {
    let stale = ctx.stale.iter();
    stale.filter(|p| ctx.is_unanswered(p)).count()
}

/// Returns how many pods may be tried first without an answer: one more than a third, as a lost zone takes. A method that
/// hangs every app is used on no more.
pub(crate) fn most_unanswered_canaries(pods: usize) -> usize {
    (pods.div_ceil(3) + 1).min(pods.saturating_sub(1)).max(1)
}

/// Returns how many exempt pods may go at once. Until the method is verified, one of them goes first, and one more for each
/// that does not answer or answers with a failure; the others follow when one has answered, and its containers have run on
/// for as long as a first pod is watched.
///
/// # Errors
/// The gate while one of them is being recycled or watched.
pub(crate) fn count_free_exempt(ctx: &TargetContext) -> Result<usize, ClosedGate> {
    if ctx.is_verified() {
        return Ok(STORM_CAP_PER_SECOND);
    }
    let is_tried = |p: &&&PodFacts| ctx.was_claimed_not_ready(p) || (!p.ready && ctx.is_started(p));
    let tried: Vec<_> = ctx.counted.iter().filter(is_tried).collect();
    let is_silent = |p: &PodFacts| {
        ctx.is_unanswered(p)
            || (ctx.is_started(p) && ctx.has_refused(p))
            || ctx.stage(p) == Stage::Failed
    };
    let mut in_flight = tried.iter().filter(|p| ctx.may_still_end(p));
    if let Some(pod) = in_flight.find(|p| !is_silent(p)) {
        let message = format!(
            "{}, the first of the pods that are not Ready, is being recycled",
            pod.name
        );
        return Err(ClosedGate::new(Gate::Canary, message));
    }
    if let (Some(pod), Some(until)) = (tried.last(), canary_watch_end(ctx)) {
        let message = format!(
            "{}, the first of the pods that are not Ready, is watched for an end of its app",
            pod.name
        );
        return Err(ClosedGate::until(Gate::Canary, message, until));
    }
    if tried.iter().any(|p| ctx.has_outlasted_exempt(p)) {
        return Ok(STORM_CAP_PER_SECOND);
    }
    let silent = tried.iter().filter(|p| is_silent(p)).count();
    match most_unanswered_canaries(ctx.counted.len()).saturating_sub(silent) {
        0 => Err(ClosedGate::new(
            Gate::Canary,
            format!("{silent} pods that are not Ready were tried first and do not answer"),
        )),
        left => Ok((1 + silent).min(left)),
    }
}

fn is_recycled(ctx: &TargetContext, pod: &PodFacts) -> bool {
    let stamp = pod.stamp.as_ref();
    let stamped = stamp.is_some_and(|s| s.policy == ctx.mark && s.epoch == ctx.status.due_epoch);
    let evicts = ctx.policy.recycle.method == Method::Evict;
    pod.ready && (stamped || (evicts && pod.is_born_since(&ctx.status)))
}

/// Returns what is waited for until the pods in flight have answered, and what was recycled is as well as before.
fn missing_canary<'p>(
    ctx: &TargetContext,
    mut in_flight: impl Iterator<Item = &'p PodFacts>,
) -> Option<String> {
    if let Some(pod) = in_flight.find(|p| !ctx.is_unanswered(p)) {
        return Some(if ctx.has_refused(pod) {
            format!(
                "the method has failed on the first pod, {}, and is tried there once more",
                pod.name
            )
        } else {
            format!("the first pod, {}, is being recycled", pod.name)
        });
    }
    if ctx.takes_nothing_away() {
        let worse = ctx.standing().find(|p| ctx.is_worse(p))?;
        if let Some(container) = ctx.ended_container(worse) {
            return Some(format!(
                "container {container} of the first pod, {}, has ended",
                worse.name
            ));
        }
        // One that others may have lost as well, with its node, is replaced by another.
        return (ctx.count_lost() > 0).then(|| {
            format!(
                "the first pod, {}, is not Ready since its recycle: it must come back",
                worse.name
            )
        });
    }
    let before = ctx.running().map_or(0, |run| ctx.ready_before_run(run));
    let ready = ctx.serving();
    (ready < before).then(|| {
        format!(
            "{ready} pods are Ready, {before} were when the run began: the first pod must come back"
        )
    })
}

/// Checks the canary by its measured connections, for this method. `misplaced`: how many connections of each pod, by UID, lead
/// to a wrong role or to no member.
pub(crate) fn check_measured_canary(
    ctx: &TargetContext,
    method: Method,
    misplaced: &BTreeMap<String, u32>,
) -> Canary {
    let Some(run) = ctx.running() else {
        return Canary::NotNeeded;
    };
    if ctx.is_verified() || run.last_step_time.is_none() {
        return Canary::NotNeeded;
    }
    let in_flight = ctx.counted.iter().filter(|p| ctx.may_still_end(p));
    if let Some(message) = missing_canary(ctx, in_flight.copied()) {
        return Canary::Waiting(message);
    }
    if method == Method::Evict {
        let started = run.start_time.0;
        let is_read = |p: &PodFacts| ctx.found.evidence.reading(&p.uid).is_some();
        let is_back = |p: &&&PodFacts| p.ready && p.created >= started && is_read(p);
        // A step that was recorded and never taken leaves every pod that was there, and no new one.
        let since = ctx.counted.iter().filter(|p| p.created >= started).count();
        let before = ctx.counted.len() - since;
        let is_evicted = since > 0 || before < usize::try_from(run.pods).unwrap_or(0);
        return match ctx.counted.iter().find(is_back) {
            Some(successor) => check_successor(ctx, successor, started, misplaced),
            None if !is_evicted => Canary::NotNeeded,
            None => Canary::Waiting(
                "the successor of the first pod must be Ready and measured".to_owned(),
            ),
        };
    }
    let mut pods = ctx.counted.iter();
    // One whose method has not answered, or has failed, shows nothing.
    let is_done = |p: &PodFacts| ctx.stage(p) == Stage::Due(Attempt::First);
    match pods.find(|p| p.ready && ctx.moved_in_run(p).is_some() && is_done(p)) {
        Some(pod) => match check_renewed(ctx, pod) {
            // A restarted app has new connections too, and the kubelet reports its end late.
            Canary::Passed if is_canary_watched(ctx) => Canary::Waiting(format!(
                "the connections of the first pod, {}, are new; it is watched for an end of its app",
                pod.name
            )),
            canary => canary,
        },
        // It has left meanwhile, or does not answer: another will be the first.
        None => Canary::NotNeeded,
    }
}

/// Checks that the successor of the first pod is not worse off than what it succeeds. Of an evicted pod nothing is left to
/// compare with, and it was one of those with the most misplaced connections: its successor may not
/// hold more than any pod from before the run, if one is left.
fn check_successor(
    ctx: &TargetContext,
    successor: &PodFacts,
    started: Timestamp,
    misplaced: &BTreeMap<String, u32>,
) -> Canary {
    let held = |pod: &PodFacts| misplaced.get(&pod.uid).copied().unwrap_or(0);
    let older = ctx.counted.iter().filter(|p| p.created < started);
    let most = older.map(|p| held(p)).max();
    match (held(successor), most) {
        (held, Some(most)) if held > most => Canary::Waiting(format!(
            "{}, the successor of the first pod, holds {held} connections to a wrong role or to no member, and those from before the run {most} at most: another eviction would do harm",
            successor.name
        )),
        _ => Canary::Passed,
    }
}

/// Checks that the connections of a moved pod are new.
fn check_renewed(ctx: &TargetContext, pod: &PodFacts) -> Canary {
    let waits = |what: &str| Canary::Waiting(format!("the first pod, {}, {what}", pod.name));
    let Some(moved) = ctx.moved_in_run(pod) else {
        return Canary::NotNeeded;
    };
    let after = moved.time.saturating_add(REOPENING).unwrap_or(moved.time);
    let evidence = &ctx.found.evidence;
    let Some(reading) = evidence.reading(&pod.uid).filter(|r| r.at >= after) else {
        return waits("must be measured again");
    };
    // Not remembered: another replica recycled it. The stamp says that the effect was made, no more.
    let after = find_concerned_sockets(ctx, &reading.sockets);
    let Some(before) = evidence.before.get(&pod.uid) else {
        return if after.is_empty() {
            waits("holds no connection yet")
        } else {
            Canary::Passed
        };
    };
    let before = find_concerned_sockets(ctx, before);
    let kept = kept_sockets(&before, &after);
    if !kept.is_empty() {
        let mut ports: Vec<String> = kept.iter().map(|s| s.local.port().to_string()).collect();
        ports.truncate(NAMED_PORTS);
        return waits(&format!(
            "still holds {} of {} connections from before its recycle (local ports {}): the method must renew them",
            kept.len(),
            before.iter().filter(|s| s.is_connection()).count(),
            ports.join(", ")
        ));
    }
    if fresh_sockets(&before, &after).is_empty() {
        return waits("holds no connection yet");
    }
    Canary::Passed
}

/// Returns the sockets that a recycle of this run must renew: those to members and former members, and of a target with both
/// pools only those of its reader pools, if no more has changed. Another database, a pooler in the pod, and the pool whose
/// members have not changed keep theirs rightly.
pub(crate) fn find_concerned_sockets(ctx: &TargetContext, sockets: &[Socket]) -> Vec<Socket> {
    let world = ctx.pass.world;
    let has_both = ctx.policy.has_pool(Endpoint::Writer) && ctx.policy.has_pool(Endpoint::Reader);
    let triggers = ctx.running().map_or(&[][..], |r| r.triggers.as_slice());
    let by_readers = |t: &Trigger| matches!(t, Trigger::ReaderAdded | Trigger::ReaderRemoved);
    let readers_alone = has_both && !triggers.is_empty() && triggers.iter().all(by_readers);
    let view = world.topology.current();
    let current = view.map(|v| &v.topology.writer.instance);
    let sockets = sockets.iter().filter(|s| {
        let owner = world.dns.book.owner_of(s.remote.ip());
        let owner = owner.filter(|o| o.is_reached_by(s));
        owner.is_some_and(|o| !(readers_alone && Some(&o.instance) == current))
    });
    sockets.cloned().collect()
}
