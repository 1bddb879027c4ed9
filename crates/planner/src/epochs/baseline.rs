//! Baselines: when a cluster or a target's pods are taken as they are, with nothing to recycle.

use jiff::Timestamp;

use super::{describe_topology, last_epoch, record_topology};
use crate::policy::TargetPolicy;
use crate::times::status_time;
use crate::types::{Notice, Plan};
use crate::world::{TargetWorld, World};
use dbbalance_api::status::TargetStatus;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::topology::Topology;

/// Takes the first topology of a policy as it is.
pub(super) fn take_first_baseline(world: &World, confirmed: &Topology, plan: &mut Plan) {
    // A status that lost only its topology still knows its last epoch.
    let counted = Some(last_epoch(&world.status)).filter(|c| *c > 0);
    let lost = world.highest_stamp.max(highest_claim(world)).max(counted);
    let epoch = lost.map_or(1, |highest| highest.saturating_add(1));
    let members = describe_topology(confirmed);
    plan.notices.push(match lost {
        None => Notice::Baseline(format!("epoch {epoch} is the baseline: {members}")),
        Some(highest) => Notice::StatusLost(format!(
            "the status is gone; counting goes on after the highest epoch found, {highest}: epoch {epoch} is the baseline: {members}"
        )),
    });
    take_baseline(confirmed, epoch, plan);
    plan.status.targets.clear();
    // A token that is there already may be as old as the manifest: recorded, not run.
    let token = &mut plan.status.recycle_requested;
    token.clone_from(&world.policy.token);
}

/// Takes the topology of another cluster under the same identifier as it is.
pub(super) fn take_other_cluster(
    settled: &Topology,
    confirmed: &Topology,
    now: Timestamp,
    plan: &mut Plan,
) {
    let epoch = last_epoch(&plan.status).saturating_add(1);
    plan.notices.push(Notice::Baseline(format!(
        "another cluster answers under this identifier ({} before, {} now): epoch {epoch} is a new baseline: {}",
        settled.arn,
        confirmed.arn,
        describe_topology(confirmed)
    )));
    take_baseline(confirmed, epoch, plan);
    for target in &mut plan.status.targets {
        reset_target(target, epoch, confirmed.fingerprint().0, now);
    }
}

fn take_baseline(confirmed: &Topology, epoch: i64, plan: &mut Plan) {
    plan.settling = SettlingChanges::default();
    plan.status.topology = Some(record_topology(confirmed));
    plan.status.epoch = Some(epoch);
    plan.status.pending_epoch = None;
}

/// Takes a target's pods as they are at this epoch.
fn reset_target(target: &mut TargetStatus, epoch: i64, fingerprint: String, now: Timestamp) {
    target.baseline_epoch = epoch;
    target.due_epoch = epoch;
    target.urgent_epoch = 0;
    target.urgent_open_time = None;
    target.open_time = Some(status_time(now));
    target.triggers.clear();
    target.fingerprint = fingerprint;
}

/// Returns the highest epoch on this policy's claims: a number that was claimed is never given again.
fn highest_claim(world: &World) -> Option<i64> {
    let mark = world.policy.mark();
    let pods = world.targets.iter().flat_map(|t| &t.pods);
    let claims = pods.filter_map(|p| p.claim.as_ref());
    claims.filter(|c| c.policy == mark).map(|c| c.epoch).max()
}

/// Returns the target's status. A workload that this policy first owns under this name and reference starts at the last
/// open epoch, with nothing to do.
pub(crate) fn load_target_status(
    world: &World,
    policy: &TargetPolicy,
    found: &TargetWorld,
    now: Timestamp,
    plan: &mut Plan,
) -> TargetStatus {
    let known = plan.status.targets.iter();
    let mut known = known.filter(|t| t.name == policy.name && t.reference == policy.reference);
    let mut target = known.next().cloned().unwrap_or_else(|| TargetStatus {
        name: policy.name.clone(),
        reference: policy.reference.clone(),
        ..TargetStatus::default()
    });
    let exists = policy.workload.is_none() || found.workload.is_some();
    if let Some(owner) = &found.owned_by {
        if target.owned {
            plan.notices.push(Notice::Conflict(format!(
                "target {}: policy {owner} is older and owns these pods; they are left alone here",
                policy.name
            )));
        }
        target.owned = false;
    } else if let (false, true, Some(epoch)) = (target.owned, exists, plan.status.epoch) {
        if let (Some(_), Some(pending)) =
            (&world.status.pending_epoch, &mut plan.status.pending_epoch)
        {
            // It was decided before this reference was there: nothing is recycled that was just added.
            pending.targets.retain(|t| *t != policy.name);
        }
        let topology = plan.status.topology.as_ref();
        let fingerprint = topology.map(|t| t.fingerprint.clone()).unwrap_or_default();
        reset_target(&mut target, epoch, fingerprint, now);
        target.owned = true;
        target.run = None;
    }
    target
}
