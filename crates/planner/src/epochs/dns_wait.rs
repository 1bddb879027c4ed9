//! The wait of a pending epoch for DNS, as long as `spec.dns` allows.

use std::collections::BTreeSet;
use std::fmt::Write;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::EpochPlanner;
use crate::times::{add_duration, dns_wait_interval, truncate_to_second};
use crate::types::Notice;
use crate::world::former_addresses;
use dbbalance_api::spec::{Endpoint, OnTimeout};
use dbbalance_api::status::PendingEpochStatus;
use dbbalance_core::dns::agreement::{AwaitedChange, DnsWait, ExpectedAnswers, check_agreement};
use dbbalance_core::topology::InstanceId;

impl EpochPlanner<'_> {
    /// Checks whether DNS has followed the change. Returns the message of the event by which the epoch opens: it must
    /// not change from pass to pass, as it names the event.
    pub(super) fn check_dns(&mut self, pending: &mut PendingEpochStatus) -> Result<String, ()> {
        // The time tells it from an epoch of the same message that was pending before and never opened.
        let settled_time = pending.settled_time.as_ref();
        let note = format!(
            "epoch {} is open: {}{}",
            pending.epoch,
            pending.message,
            settled_time.map_or(String::new(), |t| format!("; settled {}", t.0))
        );
        // One that concerns no target has nothing to wait for.
        if pending.targets.is_empty() {
            return Ok(note);
        }
        // Recorded by a release that had no such gate: the wait starts now.
        let now = Time(truncate_to_second(self.now));
        let since = pending.settled_time.get_or_insert(now).0;
        let added: BTreeSet<InstanceId> = pending.added.iter().cloned().map(InstanceId).collect();
        let former = former_addresses(&self.plan.status, since, self.now);
        let leaving = self.world.leaving_readers();
        let mut concerned = self.policy.targets.iter();
        let awaited = AwaitedChange {
            triggers: &pending.triggers,
            added: &added,
            has_reader_pools: concerned
                .any(|t| t.has_pool(Endpoint::Reader) && pending.targets.contains(&t.name)),
            expected: ExpectedAnswers {
                topology: &self.settled,
                former: &former,
                leaving: &leaving,
                hold: (!self.policy.evidence.is_measured()).then_some(self.policy.dns.hold),
                since,
                after: None,
            },
        };
        let Err(waiting) = check_agreement(awaited, &self.world.dns, self.now) else {
            return Ok(note);
        };
        let dns = &self.policy.dns;
        let late = dns.deadline(pending).is_some_and(|at| at <= self.now);
        if late && dns.on_timeout == OnTimeout::Proceed {
            return Ok(if dns.timeout.is_zero() {
                note
            } else {
                format!(
                    "{note}; DNS had not followed within {} s, and dns.onTimeout is Proceed",
                    dns.timeout.as_secs()
                )
            });
        }
        self.wait_for_dns(pending, waiting, late);
        Err(())
    }

    fn wait_for_dns(&mut self, pending: &mut PendingEpochStatus, waiting: DnsWait, late: bool) {
        let next = add_duration(self.now, dns_wait_interval(&waiting));
        self.plan.wake_at(next);
        let mut message = waiting.message;
        if late {
            let _ = write!(
                message,
                "; DNS has not followed within {} s, and dns.onTimeout is Hold",
                self.policy.dns.timeout.as_secs()
            );
            if !pending.timed_out {
                let text = format!("epoch {}: {message}", pending.epoch);
                self.plan.notices.push(Notice::DnsLate(text));
            }
        } else if let Some(at) = self.policy.dns.deadline(pending) {
            self.plan.wake_at(at);
        }
        pending.timed_out = late;
        pending.waiting_for = Some(message);
    }
}
