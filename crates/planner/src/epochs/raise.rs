//! Raises an epoch: changes have settled, or a token was set.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{EpochPlanner, describe_changes, describe_topology, last_epoch};
use crate::times::truncate_to_second;
use crate::types::Notice;
use dbbalance_api::status::{PendingEpochStatus, Trigger};
use dbbalance_core::change::{Change, merge_changes};
use dbbalance_core::epoch::{is_enabled, is_readers_alone, record_reader_changes};

impl EpochPlanner<'_> {
    /// Raises an epoch for these changes and this token, which waits to be opened.
    pub(super) fn raise_epoch(&mut self, changes: &[Change], token: Option<String>) {
        let next = merge_changes(&self.settled, self.confirmed, changes);
        let mut triggers: BTreeSet<Trigger> = changes.iter().map(Change::trigger).collect();
        let mut causes = describe_changes(changes);
        if let Some(token) = &token {
            triggers.insert(Trigger::Manual);
            causes.push(format!("requested by token {token:?}"));
            let notice = Notice::Requested(format!("token {token:?} is taken up"));
            self.plan.notices.push(notice);
        }
        let targets = self.policy.concerned_targets(&triggers);
        let epoch = last_epoch(&self.plan.status).saturating_add(1);
        let mut message = causes.join(", ");
        if !changes.is_empty() {
            let (before, now) = (describe_topology(&self.settled), describe_topology(&next));
            message = format!("{message}; before: {before}; now: {now}");
        }
        let concerned = if targets.is_empty() {
            "no target".to_owned()
        } else {
            targets.join(", ")
        };
        self.plan.notices.push(Notice::Settled(format!(
            "epoch {epoch} has settled: {message}; it concerns {concerned}"
        )));
        self.settle(&next);
        let triggers = self.count_triggers(triggers);
        if is_readers_alone(&triggers) {
            self.record_reader_changes(changes);
        }
        if token.is_some() {
            self.plan.status.recycle_requested = token;
        }
        self.plan.status.pending_epoch = Some(PendingEpochStatus {
            epoch,
            fingerprint: next.fingerprint().0,
            triggers,
            targets,
            message,
            added: added_readers(changes),
            settled_time: Some(Time(truncate_to_second(self.now))),
            waiting_for: None,
            timed_out: false,
        });
    }

    /// Records which readers came and went, for the flapping gate. A trigger that is off has no part in it.
    pub(super) fn record_reader_changes(&mut self, changes: &[Change]) {
        let enabled = |c: &&Change| is_enabled(&self.policy.triggers, c.trigger());
        let changes = changes.iter().filter(enabled);
        let known = &mut self.plan.status.reader_changes;
        *known = record_reader_changes(known, changes, truncate_to_second(self.now));
    }

    /// Returns the triggers that the epoch counts with. A trigger that is off counts an epoch and gives it no privilege.
    fn count_triggers(&self, mut triggers: BTreeSet<Trigger>) -> Vec<Trigger> {
        let enabled = |t: &Trigger| is_enabled(&self.policy.triggers, *t);
        if triggers.iter().any(enabled) {
            triggers.retain(enabled);
        }
        triggers.into_iter().collect()
    }
}

/// Returns the names of the readers that these changes add.
pub(super) fn added_readers(changes: &[Change]) -> Vec<String> {
    let added = changes.iter().filter_map(|c| match c {
        Change::ReaderAdded(m) => Some(m.instance.0.clone()),
        Change::ReaderRemoved(_) | Change::Failover(_) | Change::Replaced(_) => None,
    });
    added.collect()
}
