//! The pending epoch: what joins it while it waits, and whether it may open.
//!
//! It waits for DNS as `domain::dns::gate` says and as long as `spec.dns` lets it. What settles meanwhile is taken
//! in here, so that one opening answers for all of it:
//!
//! - readers that come or go join an epoch of readers; one that leaves before DNS named it is as if it had never
//!   come;
//! - a failover takes the place of what is pending, as its pods are broken now: readers that are still waited for
//!   are put back, and settle anew after it;
//! - while a failover is pending, readers wait for it to open.
//!
//! A failover there and back is not dropped: in between, pods may have been led to either writer.

use std::collections::BTreeSet;
use std::fmt::Write;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::epochs::{describe, succeed};
use super::gates::whole_second;
use super::{Gate, Held, Notice, Opening, Plan};
use crate::world::World;
use dbbalance_api::spec::OnTimeout;
use dbbalance_api::status::{PendingEpochStatus, Trigger};
use dbbalance_core::change::{Change, merge_changes};
use dbbalance_core::dns::agreement::{AwaitedChange, DnsWait, check_agreement};
use dbbalance_core::epoch::{concerned_targets, is_enabled};
use dbbalance_core::topology::{InstanceId, Topology};

/// How soon a pass is made again for looks alone, which are no news: eight take a second.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_millis(500);
/// How soon one is made in any case while DNS is waited for.
const WATCH: SignedDuration = SignedDuration::from_secs(5);

/// The gate by which a pending epoch is held, for people.
pub(super) fn held(world: &World, pending: &PendingEpochStatus) -> Held {
    let Some(waiting) = &pending.waiting_for else {
        return Held::new(
            Gate::EpochNotOpen,
            format!(
                "epoch {} ({}) is settled and not open yet",
                pending.epoch, pending.message
            ),
        );
    };
    let message = format!("epoch {} ({}): {waiting}", pending.epoch, pending.message);
    match (world.spec.dns.on_timeout, deadline(world, pending)) {
        (OnTimeout::Proceed, Some(at)) => Held::until(Gate::Dns, message, at),
        _ => Held::new(Gate::Dns, message),
    }
}

/// Moves a pending epoch on: something joins it, or it opens, or it waits.
pub(super) fn advance(
    world: &World,
    settled: &Topology,
    confirmed: &Topology,
    token: Option<String>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let Some(mut pending) = plan.status.pending_epoch.clone() else {
        return;
    };
    let changes = plan.settling.settled(&world.spec.triggers, now);
    for (_, at) in plan.settling.unsettled(&world.spec.triggers, now) {
        plan.wake_at(at);
    }
    let urgent: Vec<Change> = changes
        .iter()
        .filter(|c| c.trigger().is_urgent())
        .cloned()
        .collect();
    // It opens with the pending epoch, but not before it is recorded with it.
    let token = token.map(|token| join_token(world, &mut pending, token, plan));
    if !urgent.is_empty() {
        return supersede(world, settled, confirmed, &urgent, pending, now, plan);
    }
    if token.is_some() {
        plan.status.pending_epoch = Some(pending);
        return;
    }
    match gate(world, settled, &mut pending, now, plan) {
        Ok(note) => {
            plan.open = Some(Opening {
                epoch: pending.epoch,
                note,
            });
        }
        Err(()) if changes.is_empty() || is_urgent(&pending) => {
            plan.status.pending_epoch = Some(pending);
        }
        Err(()) => join(world, settled, confirmed, &changes, pending, now, plan),
    }
}

fn is_urgent(pending: &PendingEpochStatus) -> bool {
    pending.triggers.iter().any(|t| t.is_urgent())
}

/// What the event says by which it opens; its words must not change from pass to pass, as they name the event.
fn gate(
    world: &World,
    settled: &Topology,
    pending: &mut PendingEpochStatus,
    now: Timestamp,
    plan: &mut Plan,
) -> Result<String, ()> {
    // The time tells it from an epoch of the same words that was pending before and never opened.
    let settled_time = pending.settled_time.as_ref();
    let note = format!(
        "epoch {} is open: {}{}",
        pending.epoch,
        pending.message,
        settled_time.map_or(String::new(), |t| format!("; settled {}", t.0))
    );
    // One that concerns nobody waits for nobody.
    if pending.targets.is_empty() {
        return Ok(note);
    }
    // Recorded by a release that knew no gate: it counts from now on.
    let since = pending
        .settled_time
        .get_or_insert_with(|| Time(whole_second(now)))
        .0;
    let added: BTreeSet<InstanceId> = pending.added.iter().cloned().map(InstanceId).collect();
    let awaited = AwaitedChange {
        triggers: &pending.triggers,
        added: &added,
        topology: settled,
        since,
    };
    let Err(waiting) = check_agreement(awaited, &world.dns, now) else {
        return Ok(note);
    };
    let late = deadline(world, pending).filter(|at| *at <= now);
    let seconds = world.spec.dns.timeout_seconds;
    if late.is_some() && world.spec.dns.on_timeout == OnTimeout::Proceed {
        return Ok(if seconds == 0 {
            note
        } else {
            format!("{note}; DNS had not followed within {seconds} s, and dns.onTimeout is Proceed")
        });
    }
    wait(world, pending, waiting, late.is_some(), now, plan);
    Err(())
}

fn wait(
    world: &World,
    pending: &mut PendingEpochStatus,
    waiting: DnsWait,
    late: bool,
    now: Timestamp,
    plan: &mut Plan,
) {
    let again = if waiting.looking { LOOK_AGAIN } else { WATCH };
    plan.wake_at(now.saturating_add(again).unwrap_or(Timestamp::MAX));
    let mut words = waiting.message;
    if late {
        let _ = write!(
            words,
            "; DNS has not followed within {} s, and dns.onTimeout is Hold",
            world.spec.dns.timeout_seconds
        );
        if !pending.timed_out {
            plan.notices
                .push(Notice::DnsLate(format!("epoch {}: {words}", pending.epoch)));
        }
    } else if let Some(at) = deadline(world, pending) {
        plan.wake_at(at);
    }
    pending.timed_out = late;
    pending.waiting_for = Some(words);
}

/// When DNS has taken too long.
fn deadline(world: &World, pending: &PendingEpochStatus) -> Option<Timestamp> {
    let wait = SignedDuration::from_secs(world.spec.dns.timeout_seconds.into());
    let since = pending.settled_time.as_ref()?;
    Some(since.0.saturating_add(wait).unwrap_or(Timestamp::MAX))
}

fn join_token(world: &World, pending: &mut PendingEpochStatus, token: String, plan: &mut Plan) {
    plan.notices.push(Notice::Requested(format!(
        "token {token:?} is taken up with epoch {}, which is pending",
        pending.epoch
    )));
    if !pending.triggers.contains(&Trigger::Manual) {
        pending.triggers.push(Trigger::Manual);
    }
    // The event by which it opens is named by its words: one from before the token must not serve.
    let _ = write!(pending.message, "; requested by token {token:?}");
    pending.targets = world.spec.targets.iter().map(|t| t.name.clone()).collect();
    plan.status.recycle_requested = Some(token);
}

/// A failover or replacement that settled while the epoch was pending takes its place.
fn supersede(
    world: &World,
    settled: &Topology,
    confirmed: &Topology,
    urgent: &[Change],
    mut pending: PendingEpochStatus,
    now: Timestamp,
    plan: &mut Plan,
) {
    let mut next = merge_changes(settled, confirmed, urgent);
    let replaced = urgent.iter().any(|c| c.trigger() == Trigger::Replaced);
    // A trigger that is off takes nobody's place; and of a replaced cluster every member is new.
    let enabled = |c: &Change| is_enabled(&world.spec.triggers, c.trigger());
    if urgent.iter().any(enabled) && !replaced {
        let added = std::mem::take(&mut pending.added);
        let put_back = |r: &dbbalance_core::topology::MemberId| added.contains(&r.instance.0);
        next.readers.retain(|r| !put_back(r));
        pending.triggers.retain(|t| *t != Trigger::ReaderAdded);
    }
    record(world, settled, confirmed, &next, urgent, pending, now, plan);
}

/// Readers that settled while an epoch of readers was pending join it.
fn join(
    world: &World,
    settled: &Topology,
    confirmed: &Topology,
    changes: &[Change],
    mut pending: PendingEpochStatus,
    now: Timestamp,
    plan: &mut Plan,
) {
    let next = merge_changes(settled, confirmed, changes);
    let before = pending.added.clone();
    let came_and_left = changes
        .iter()
        .all(|c| matches!(c, Change::ReaderRemoved(m) if before.contains(&m.instance.0)));
    for change in changes {
        match change {
            Change::ReaderAdded(m) => pending.added.push(m.instance.0.clone()),
            Change::ReaderRemoved(m) => pending.added.retain(|a| *a != m.instance.0),
            Change::Failover(_) | Change::Replaced(_) => {}
        }
    }
    if pending.added.is_empty() && came_and_left && pending.triggers == [Trigger::ReaderAdded] {
        let gone: Vec<String> = changes.iter().map(Change::describe).collect();
        plan.notices.push(Notice::Settled(format!(
            "epoch {} is dropped: {} before DNS had named it; now: {}",
            pending.epoch,
            gone.join(", "),
            describe(&next)
        )));
        plan.settling = plan.settling.observe(&next, confirmed, now);
        succeed(&mut plan.status, settled, &next);
        plan.status.pending_epoch = None;
        return;
    }
    record(
        world, settled, confirmed, &next, changes, pending, now, plan,
    );
}

/// Records the pending epoch with more changes.
#[allow(clippy::too_many_arguments)] // the parts of one transition
fn record(
    world: &World,
    settled: &Topology,
    confirmed: &Topology,
    next: &Topology,
    changes: &[Change],
    mut pending: PendingEpochStatus,
    now: Timestamp,
    plan: &mut Plan,
) {
    let new: BTreeSet<Trigger> = changes
        .iter()
        .map(Change::trigger)
        .filter(|t| is_enabled(&world.spec.triggers, *t))
        .collect();
    for trigger in &new {
        if !pending.triggers.contains(trigger) {
            pending.triggers.push(*trigger);
        }
    }
    if pending.added.is_empty() {
        let others = pending.triggers.len() > 1;
        pending
            .triggers
            .retain(|t| *t != Trigger::ReaderAdded || !others);
    }
    for name in concerned_targets(&world.spec, &new) {
        if !pending.targets.contains(&name) {
            pending.targets.push(name);
        }
    }
    let is_added = |c: &&Change| c.trigger() == Trigger::ReaderAdded;
    let mut words: Vec<String> = pending
        .added
        .iter()
        .map(|a| format!("reader {a} added"))
        .collect();
    words.extend(
        changes
            .iter()
            .filter(|c| !is_added(c))
            .map(Change::describe),
    );
    pending.message = format!(
        "{}; before: {}; now: {}{}",
        words.join(", "),
        describe(settled),
        describe(next),
        if pending.triggers.contains(&Trigger::Manual) {
            "; requested by token"
        } else {
            ""
        }
    );
    pending.fingerprint = next.fingerprint().0;
    // What is only counted puts nothing off.
    if !new.is_empty() {
        pending.settled_time = Some(Time(whole_second(now)));
        pending.timed_out = false;
    }
    pending.waiting_for = None;
    plan.notices.push(Notice::Settled(format!(
        "epoch {}, which was pending, has changed: {}",
        pending.epoch, pending.message
    )));
    plan.settling = plan.settling.observe(next, confirmed, now);
    succeed(&mut plan.status, settled, next);
    plan.status.pending_epoch = Some(pending);
}
