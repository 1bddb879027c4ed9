//! Epochs in the plan: baseline, settling, raising, opening.
//!
//! Runs in every mode, also suspended and paused: epochs are counted whatever is done about them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::gates::{to_second, whole_second};
use super::{Notice, Plan, pending};
use crate::world::World;
use dbbalance_api::status::{
    DbBalancePolicyStatus, MemberStatus, PendingEpochStatus, RoleStatus, TopologyStatus, Trigger,
};
use dbbalance_core::change::{Change, merge_changes};
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::epoch::{concerned_targets, is_enabled, is_readers_alone, record_reader_epoch};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Role, Topology};

/// Moves the epochs on.
pub(super) fn advance(world: &World, now: Timestamp, plan: &mut Plan) {
    // A failed reading counts nothing: no change settles on it.
    let Some(view) = world.reading.current() else {
        return;
    };
    let confirmed = &view.topology;
    let Some(settled) = plan.status.topology.as_ref().and_then(recorded_topology) else {
        return first_sight(world, confirmed, plan);
    };
    if settled.arn != confirmed.arn {
        return other_cluster(&settled, confirmed, now, plan);
    }
    let token = new_token(world, &plan.status);
    plan.settling = plan.settling.observe(&settled, confirmed, now);
    if plan.status.pending_epoch.is_some() {
        return pending::advance(world, &settled, confirmed, token, now, plan);
    }
    let changes = plan.settling.settled(&world.spec.triggers, now);
    for (_, at) in plan.settling.unsettled(&world.spec.triggers, now) {
        plan.wake_at(at);
    }
    if changes.is_empty() && token.is_none() {
        return;
    }
    raise(world, &settled, confirmed, &changes, token, now, plan);
}

fn first_sight(world: &World, confirmed: &Topology, plan: &mut Plan) {
    // A status that lost only its topology still knows its counter.
    let counted = Some(counter(&world.status)).filter(|c| *c > 0);
    let lost = world.highest_stamp.max(highest_claim(world)).max(counted);
    let epoch = lost.map_or(1, |highest| highest.saturating_add(1));
    let words = describe(confirmed);
    plan.notices.push(match lost {
        None => Notice::Baseline(format!("epoch {epoch} is the baseline: {words}")),
        Some(highest) => Notice::StatusLost(format!(
            "the status is gone; counting goes on after the highest epoch found, {highest}: epoch {epoch} is the baseline: {words}"
        )),
    });
    plan.settling = SettlingChanges::default();
    let status = &mut plan.status;
    status.topology = Some(recorded(confirmed));
    status.epoch = Some(epoch);
    status.pending_epoch = None;
    status.targets.clear();
    // A token that is there at first sight may be as old as the manifest: recorded, not run.
    status.recycle_requested.clone_from(&world.policy.token);
}

/// The highest epoch on this policy's claims: a number that was claimed is never given again.
fn highest_claim(world: &World) -> Option<i64> {
    let mark = world.policy.mark();
    let pods = world.targets.iter().flat_map(|t| &t.pods);
    let claims = pods.filter_map(|p| p.claim.as_ref());
    claims.filter(|c| c.policy == mark).map(|c| c.epoch).max()
}

fn other_cluster(settled: &Topology, confirmed: &Topology, now: Timestamp, plan: &mut Plan) {
    let epoch = counter(&plan.status).saturating_add(1);
    plan.notices.push(Notice::Baseline(format!(
        "another cluster answers under this identifier ({} before, {} now): epoch {epoch} is a new baseline: {}",
        settled.arn,
        confirmed.arn,
        describe(confirmed)
    )));
    plan.settling = SettlingChanges::default();
    let status = &mut plan.status;
    status.topology = Some(recorded(confirmed));
    status.epoch = Some(epoch);
    status.pending_epoch = None;
    for target in &mut status.targets {
        target.baseline_epoch = epoch;
        target.due_epoch = epoch;
        target.urgent_epoch = 0;
        target.urgent_open_time = None;
        target.open_time = Some(to_second(now));
        target.triggers.clear();
        target.fingerprint = confirmed.fingerprint().0;
    }
}

fn new_token(world: &World, status: &DbBalancePolicyStatus) -> Option<String> {
    world
        .policy
        .token
        .clone()
        .filter(|t| !t.is_empty() && status.recycle_requested.as_ref() != Some(t))
}

fn raise(
    world: &World,
    settled: &Topology,
    confirmed: &Topology,
    changes: &[Change],
    token: Option<String>,
    now: Timestamp,
    plan: &mut Plan,
) {
    let next = merge_changes(settled, confirmed, changes);
    let mut triggers: BTreeSet<Trigger> = changes.iter().map(Change::trigger).collect();
    let mut words: Vec<String> = changes.iter().map(Change::describe).collect();
    if let Some(token) = &token {
        triggers.insert(Trigger::Manual);
        words.push(format!("requested by token {token:?}"));
        plan.notices
            .push(Notice::Requested(format!("token {token:?} is taken up")));
    }
    let targets = concerned_targets(&world.spec, &triggers);
    let added = changes
        .iter()
        .filter_map(|c| match c {
            Change::ReaderAdded(m) => Some(m.instance.0.clone()),
            _ => None,
        })
        .collect();
    let epoch = counter(&plan.status).saturating_add(1);
    let message = if changes.is_empty() {
        words.join(", ")
    } else {
        format!(
            "{}; before: {}; now: {}",
            words.join(", "),
            describe(settled),
            describe(&next)
        )
    };
    plan.notices.push(Notice::Settled(format!(
        "epoch {epoch} has settled: {message}; it concerns {}",
        if targets.is_empty() {
            "no target".to_owned()
        } else {
            targets.join(", ")
        }
    )));
    // The merged topology is the new base: what has not settled yet differs from it alone.
    plan.settling = plan.settling.observe(&next, confirmed, now);
    let status = &mut plan.status;
    // A trigger that is off counts an epoch and lends it nothing: no privilege, no part in flapping.
    let enabled = |t: &Trigger| is_enabled(&world.spec.triggers, *t);
    if triggers.iter().any(enabled) {
        triggers.retain(enabled);
    }
    let triggers: Vec<Trigger> = triggers.into_iter().collect();
    if is_readers_alone(&triggers) {
        let times: Vec<_> = status.reader_epoch_times.iter().map(|t| t.0).collect();
        let kept = record_reader_epoch(&times, whole_second(now));
        status.reader_epoch_times = kept.into_iter().map(Time).collect();
    }
    succeed(status, settled, &next);
    if token.is_some() {
        status.recycle_requested = token;
    }
    status.pending_epoch = Some(PendingEpochStatus {
        epoch,
        fingerprint: next.fingerprint().0,
        triggers,
        targets,
        message,
        added,
        settled_time: Some(Time(whole_second(now))),
        waiting_for: None,
        timed_out: false,
    });
}

/// Takes the pending epoch over as open. `open_time` is when no pod was older: pods created at or
/// after it are fresh.
pub fn open(status: &mut DbBalancePolicyStatus, epoch: i64, open_time: Timestamp) {
    let Some(pending) = status.pending_epoch.take_if(|p| p.epoch == epoch) else {
        return;
    };
    status.epoch = Some(epoch);
    let urgent = pending.triggers.iter().any(|t| t.is_urgent());
    for target in status
        .targets
        .iter_mut()
        .filter(|t| pending.targets.contains(&t.name))
    {
        target.due_epoch = epoch;
        target.open_time = Some(Time(open_time));
        // No pod bears this epoch's stamp yet, and none was created so late: nobody must read the
        // count of the epoch before as this one's.
        target.stale = target.pods;
        target.triggers.clone_from(&pending.triggers);
        target.fingerprint.clone_from(&pending.fingerprint);
        target.reverted_epoch = None;
        if urgent {
            target.urgent_epoch = epoch;
            target.urgent_open_time = Some(Time(open_time));
        }
    }
    super::count_stale(status);
}

fn counter(status: &DbBalancePolicyStatus) -> i64 {
    let pending = status.pending_epoch.as_ref().map_or(0, |p| p.epoch);
    status.epoch.unwrap_or(0).max(pending)
}

/// Writer and readers in a few words.
pub(crate) fn describe(topology: &Topology) -> String {
    let readers: Vec<&str> = topology
        .readers
        .iter()
        .map(|r| r.instance.0.as_str())
        .collect();
    let readers = if readers.is_empty() {
        "none".to_owned()
    } else {
        readers.join(", ")
    };
    format!("writer {}, readers {readers}", topology.writer.instance)
}

/// Records the settled topology that follows another one.
pub(super) fn succeed(status: &mut DbBalancePolicyStatus, settled: &Topology, next: &Topology) {
    let before = status.topology.take();
    let previous_writer = if settled.writer == next.writer {
        before.and_then(|t| t.previous_writer)
    } else {
        Some(settled.writer.instance.0.clone())
    };
    status.topology = Some(TopologyStatus {
        previous_writer,
        ..recorded(next)
    });
}

/// A topology as the status records it.
#[must_use]
pub fn recorded(topology: &Topology) -> TopologyStatus {
    TopologyStatus {
        fingerprint: topology.fingerprint().0,
        cluster_arn: topology.arn.clone(),
        cluster_resource_id: topology.resource.0.clone(),
        writer: Some(topology.writer.instance.0.clone()),
        previous_writer: None,
        reader_count: i32::try_from(topology.readers.len()).unwrap_or(i32::MAX),
        port: None,
        members: topology
            .members()
            .map(|(member, role)| MemberStatus {
                instance: member.instance.0.clone(),
                resource_id: member.resource.0.clone(),
                role: match role {
                    Role::Writer => RoleStatus::Writer,
                    Role::Reader => RoleStatus::Reader,
                },
                address: None,
            })
            .collect(),
    }
}

/// The topology that a status records; `None` if it names no writer.
#[must_use]
pub fn recorded_topology(status: &TopologyStatus) -> Option<Topology> {
    let member = |m: &MemberStatus| MemberId {
        instance: InstanceId(m.instance.clone()),
        resource: ResourceId(m.resource_id.clone()),
    };
    let writer = status
        .members
        .iter()
        .find(|m| m.role == RoleStatus::Writer)
        .map(member)?;
    let readers = status
        .members
        .iter()
        .filter(|m| m.role == RoleStatus::Reader)
        .map(member)
        .collect();
    Some(Topology {
        arn: status.cluster_arn.clone(),
        resource: ResourceId(status.cluster_resource_id.clone()),
        writer,
        readers,
    })
}
