//! The pending epoch: what joins it while it waits, and what takes its place.
//!
//! What settles while an epoch waits for DNS is added to it, so that one opening answers for all of it:
//!
//! - readers that come or go join an epoch of readers; one that leaves before DNS named it is treated as if it had
//!   never come;
//! - a failover takes the place of what is pending, as its pods are broken now: readers that are still waited for
//!   are put back, and settle again after it;
//! - while a failover is pending, readers wait for it to open.
//!
//! A failover there and back is not dropped: in between, pods may have been led to either writer.

use std::collections::BTreeSet;
use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::raise::added_readers;
use super::{EpochPlanner, describe_changes, describe_topology};
use crate::times::truncate_to_second;
use crate::types::{Notice, Opening};
use dbbalance_api::status::{PendingEpochStatus, Trigger};
use dbbalance_core::change::{Change, merge_changes};
use dbbalance_core::epoch::is_enabled;
use dbbalance_core::topology::{MemberId, Topology};

impl EpochPlanner<'_> {
    /// Advances a pending epoch: something joins it, or it opens, or it waits.
    pub(super) fn advance_pending(
        &mut self,
        mut pending: PendingEpochStatus,
        changes: &[Change],
        token: Option<String>,
    ) {
        let urgent: Vec<Change> = changes
            .iter()
            .filter(|c| c.trigger().is_urgent())
            .cloned()
            .collect();
        // It opens with the pending epoch, but not before it is recorded with it.
        let has_token = token.is_some();
        if let Some(token) = token {
            self.join_token(&mut pending, token);
        }
        if !urgent.is_empty() {
            return self.supersede_pending(&urgent, pending);
        }
        if has_token {
            self.plan.status.pending_epoch = Some(pending);
            return;
        }
        match self.check_dns(&mut pending) {
            Ok(note) => {
                self.plan.open = Some(Opening {
                    epoch: pending.epoch,
                    note,
                });
            }
            Err(()) if changes.is_empty() || is_urgent(&pending) => {
                self.plan.status.pending_epoch = Some(pending);
            }
            Err(()) => self.join_readers(changes, pending),
        }
    }

    /// Adds a token to a pending epoch, which then concerns every target.
    fn join_token(&mut self, pending: &mut PendingEpochStatus, token: String) {
        self.plan.notices.push(Notice::Requested(format!(
            "token {token:?} is taken up with epoch {}, which is pending",
            pending.epoch
        )));
        if !pending.triggers.contains(&Trigger::Manual) {
            pending.triggers.push(Trigger::Manual);
        }
        // The event by which it opens is named by its message: one from before the token must not serve.
        let _ = write!(pending.message, "; requested by token {token:?}");
        pending.targets = self.policy.targets.iter().map(|t| t.name.clone()).collect();
        self.plan.status.recycle_requested = Some(token);
    }

    /// Puts a failover or replacement that settled while the epoch was pending in its place.
    fn supersede_pending(&mut self, urgent: &[Change], mut pending: PendingEpochStatus) {
        let mut next = merge_changes(&self.settled, self.confirmed, urgent);
        let replaced = urgent.iter().any(|c| c.trigger() == Trigger::Replaced);
        // A trigger that is off takes no place; and of a replaced cluster every member is new.
        let enabled = |c: &Change| is_enabled(&self.policy.triggers, c.trigger());
        if urgent.iter().any(enabled) && !replaced {
            let added = std::mem::take(&mut pending.added);
            let put_back = |r: &MemberId| added.contains(&r.instance.0);
            next.readers.retain(|r| !put_back(r));
            pending.triggers.retain(|t| *t != Trigger::ReaderAdded);
        }
        self.change_pending(&next, urgent, pending);
    }

    /// Adds readers that settled while an epoch of readers was pending.
    fn join_readers(&mut self, changes: &[Change], mut pending: PendingEpochStatus) {
        let next = merge_changes(&self.settled, self.confirmed, changes);
        let before = pending.added.clone();
        let came_and_left = changes
            .iter()
            .all(|c| matches!(c, Change::ReaderRemoved(m) if before.contains(&m.instance.0)));
        self.record_reader_changes(changes);
        // A reader that was replaced under its name has left and come, whichever the changes name first.
        let left = |name: &String| {
            let mut changes = changes.iter();
            changes.any(|c| matches!(c, Change::ReaderRemoved(m) if m.instance.0 == *name))
        };
        pending.added.retain(|name| !left(name));
        pending.added.extend(added_readers(changes));
        if pending.added.is_empty() && came_and_left && pending.triggers == [Trigger::ReaderAdded] {
            self.plan.notices.push(Notice::Settled(format!(
                "epoch {} is dropped: {} before DNS had named it; now: {}",
                pending.epoch,
                describe_changes(changes).join(", "),
                describe_topology(&next)
            )));
            self.settle(&next);
            self.plan.status.pending_epoch = None;
            return;
        }
        self.change_pending(&next, changes, pending);
    }

    /// Records the pending epoch with more changes, after which `next` is the settled topology.
    fn change_pending(
        &mut self,
        next: &Topology,
        changes: &[Change],
        mut pending: PendingEpochStatus,
    ) {
        let new: BTreeSet<Trigger> = changes
            .iter()
            .map(Change::trigger)
            .filter(|t| is_enabled(&self.policy.triggers, *t))
            .collect();
        push_missing(&mut pending.triggers, new.iter().copied());
        if pending.added.is_empty() {
            let others = pending.triggers.len() > 1;
            let triggers = &mut pending.triggers;
            triggers.retain(|t| *t != Trigger::ReaderAdded || !others);
        }
        push_missing(&mut pending.targets, self.policy.concerned_targets(&new));
        pending.message = self.describe_pending(next, changes, &pending);
        pending.fingerprint = next.fingerprint().0;
        // What is only counted puts nothing off.
        if !new.is_empty() {
            pending.settled_time = Some(Time(truncate_to_second(self.now)));
            pending.timed_out = false;
        }
        pending.waiting_for = None;
        self.plan.notices.push(Notice::Settled(format!(
            "epoch {}, which was pending, has changed: {}",
            pending.epoch, pending.message
        )));
        self.settle(next);
        self.plan.status.pending_epoch = Some(pending);
    }

    fn describe_pending(
        &self,
        next: &Topology,
        changes: &[Change],
        pending: &PendingEpochStatus,
    ) -> String {
        let added = pending.added.iter().map(|a| format!("reader {a} added"));
        let mut causes: Vec<String> = added.collect();
        let others = changes.iter();
        let others = others.filter(|c| c.trigger() != Trigger::ReaderAdded);
        causes.extend(describe_changes(others));
        let token = if pending.triggers.contains(&Trigger::Manual) {
            "; requested by token"
        } else {
            ""
        };
        format!(
            "{}; before: {}; now: {}{token}",
            causes.join(", "),
            describe_topology(&self.settled),
            describe_topology(next),
        )
    }
}

fn is_urgent(pending: &PendingEpochStatus) -> bool {
    pending.triggers.iter().any(|t| t.is_urgent())
}

fn push_missing<T: PartialEq>(list: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}
