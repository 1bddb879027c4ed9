//! First sight: when a target's pods are taken as they are.
//!
//! Decides baselines and ownership; what is done about either is decided in `runs`.

use jiff::Timestamp;

use super::gates;
use super::{Notice, Plan};
use crate::world::{TargetWorld, World, reference};
use dbbalance_api::spec::TargetSpec;
use dbbalance_api::status::TargetStatus;

/// The target's status, new at first sight: an existing workload that this policy first owns under
/// this name and reference starts at the last open epoch, with nothing to do.
pub(super) fn sight(
    world: &World,
    spec: &TargetSpec,
    found: &TargetWorld,
    now: Timestamp,
    plan: &mut Plan,
) -> TargetStatus {
    let reference = reference(spec);
    let known = plan
        .status
        .targets
        .iter()
        .find(|t| t.name == spec.name && t.reference == reference)
        .cloned();
    let exists = spec.workload_ref.is_none() || found.workload.is_some();
    let mut target = known.unwrap_or_else(|| TargetStatus {
        name: spec.name.clone(),
        reference,
        ..TargetStatus::default()
    });
    if let Some(owner) = &found.owned_by {
        if target.owned {
            plan.notices.push(Notice::Conflict(format!(
                "target {}: policy {owner} is older and owns these pods; they are left alone here",
                spec.name
            )));
        }
        target.owned = false;
    } else if let (false, true, Some(epoch)) = (target.owned, exists, plan.status.epoch) {
        if let (Some(_), Some(pending)) =
            (&world.status.pending_epoch, &mut plan.status.pending_epoch)
        {
            // It was decided before this reference was there: nothing is recycled at first sight.
            pending.targets.retain(|t| *t != spec.name);
        }
        target.owned = true;
        target.baseline_epoch = epoch;
        target.due_epoch = epoch;
        target.urgent_epoch = 0;
        target.urgent_open_time = None;
        target.open_time = Some(gates::to_second(now));
        target.triggers.clear();
        target.run = None;
        target.fingerprint = plan
            .status
            .topology
            .as_ref()
            .map(|t| t.fingerprint.clone())
            .unwrap_or_default();
    }
    target
}
