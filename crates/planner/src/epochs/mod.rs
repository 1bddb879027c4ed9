//! Epochs: baselines, changes that settle, epochs that are raised, wait for DNS and open.
//!
//! Runs in every mode, also suspended and paused: epochs are counted whatever is done about them.

pub(crate) mod addresses;
pub(crate) mod baseline;
pub(crate) mod classes;
mod dns_wait;
mod pending;
mod raise;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::addresses::{MAX_FORMER_ADDRESSES, replaced_addresses};
use crate::policy::Policy;
use crate::types::Plan;
use crate::world::{World, recorded_topology};
use dbbalance_api::status::{DbBalancePolicyStatus, MemberStatus, RoleStatus, TopologyStatus};
use dbbalance_core::change::Change;
use dbbalance_core::topology::{Role, Topology};

/// Advances the epochs of one policy in one pass.
struct EpochPlanner<'a> {
    world: &'a World,
    policy: &'a Policy,
    now: Timestamp,
    /// The topology that has settled.
    settled: Topology,
    /// The topology as last read.
    confirmed: &'a Topology,
    plan: &'a mut Plan,
}

/// Advances the epochs: takes a baseline, raises an epoch, opens one.
pub(crate) fn advance_epochs(world: &World, policy: &Policy, now: Timestamp, plan: &mut Plan) {
    // A failed reading counts nothing: no change settles on it.
    let Some(view) = world.topology.current() else {
        return;
    };
    let confirmed = &view.topology;
    let Some(settled) = plan.status.topology.as_ref().and_then(recorded_topology) else {
        return baseline::take_first_baseline(world, confirmed, plan);
    };
    if settled.arn != confirmed.arn {
        return baseline::take_other_cluster(&settled, confirmed, now, plan);
    }
    let planner = EpochPlanner {
        world,
        policy,
        now,
        settled,
        confirmed,
        plan,
    };
    planner.advance();
}

impl EpochPlanner<'_> {
    fn advance(mut self) {
        let token = self.new_token();
        self.observe_settled(&self.settled.clone());
        let triggers = &self.policy.triggers;
        let changes = self.plan.settling.settled(triggers, self.now);
        for (_, at) in self.plan.settling.unsettled(triggers, self.now) {
            self.plan.wake_at(at);
        }
        match self.plan.status.pending_epoch.clone() {
            Some(pending) => self.advance_pending(pending, &changes, token),
            None if changes.is_empty() && token.is_none() => {}
            None => self.raise_epoch(&changes, token),
        }
    }

    /// Returns a token that was not accepted yet.
    fn new_token(&self) -> Option<String> {
        let accepted = self.plan.status.recycle_requested.as_ref();
        let token = self.world.policy.token.clone();
        token.filter(|t| !t.is_empty() && accepted != Some(t))
    }

    /// Notes how the cluster differs from a settled topology.
    fn observe_settled(&mut self, settled: &Topology) {
        let settling = &self.plan.settling;
        let leaving = self.world.leaving_readers();
        let settling = settling.observe(settled, self.confirmed, self.now);
        self.plan.settling = settling.with_leaving(&leaving);
    }

    /// Records that `next` has settled. What has not settled yet differs from it alone.
    fn settle(&mut self, next: &Topology) {
        self.observe_settled(next);
        let status = &mut self.plan.status;
        let before = status.topology.take();
        let previous_writer = if self.settled.writer == next.writer {
            before.as_ref().and_then(|t| t.previous_writer.clone())
        } else {
            Some(self.settled.writer.instance.0.clone())
        };
        // What an epoch waits for that is still pending, a later change does not take away.
        let kept = before.as_ref().filter(|_| status.pending_epoch.is_some());
        let kept = kept.map(|t| t.former_addresses.clone());
        let replaced = before.as_ref().map(|t| replaced_addresses(t, next));
        let former = kept.into_iter().chain(replaced).flatten();
        status.topology = Some(TopologyStatus {
            former_addresses: former.take(MAX_FORMER_ADDRESSES).collect(),
            previous_writer,
            ..record_topology(next)
        });
    }
}

/// Opens the pending epoch of this number. Pods created at or after `open_time` are fresh: before it no pod can have been
/// told of the change.
pub fn open_epoch(status: &mut DbBalancePolicyStatus, epoch: i64, open_time: Timestamp) {
    let Some(pending) = status.pending_epoch.take_if(|p| p.epoch == epoch) else {
        return;
    };
    status.epoch = Some(epoch);
    let urgent = pending.triggers.iter().any(|t| t.is_urgent());
    let targets = status.targets.iter_mut();
    for target in targets.filter(|t| pending.targets.contains(&t.name)) {
        target.due_epoch = epoch;
        target.open_time = Some(Time(open_time));
        // No pod bears this epoch's stamp yet, and none was created so late: the count of the epoch before must not
        // be read as this one's.
        target.stale = target.pods;
        target.triggers.clone_from(&pending.triggers);
        target.fingerprint.clone_from(&pending.fingerprint);
        target.reverted_epoch = None;
        if urgent {
            target.urgent_epoch = epoch;
            target.urgent_open_time = Some(Time(open_time));
        }
    }
    count_stale(status);
}

/// Sets the column of stale pods.
pub(crate) fn count_stale(status: &mut DbBalancePolicyStatus) {
    let (pods, stale) = status
        .targets
        .iter()
        .fold((0, 0), |(p, s), t| (p + t.pods, s + t.stale));
    status.stale = status.epoch.map(|_| format!("{stale}/{pods}"));
}

/// Returns the highest epoch that the status knows of.
fn last_epoch(status: &DbBalancePolicyStatus) -> i64 {
    let pending = status.pending_epoch.as_ref().map_or(0, |p| p.epoch);
    status.epoch.unwrap_or(0).max(pending)
}

/// Describes changes, as messages of epochs list them.
fn describe_changes<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Vec<String> {
    changes.into_iter().map(Change::describe).collect()
}

/// Describes a topology by its writer and readers.
fn describe_topology(topology: &Topology) -> String {
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

/// Returns a topology as the status records it, without addresses.
pub(crate) fn record_topology(topology: &Topology) -> TopologyStatus {
    let members = topology.members().map(|(member, role)| MemberStatus {
        instance: member.instance.0.clone(),
        resource_id: member.resource.0.clone(),
        role: match role {
            Role::Writer => RoleStatus::Writer,
            Role::Reader => RoleStatus::Reader,
        },
        address: None,
        class: None,
    });
    TopologyStatus {
        fingerprint: topology.fingerprint().0,
        cluster_arn: topology.arn.clone(),
        cluster_resource_id: topology.resource.0.clone(),
        writer: Some(topology.writer.instance.0.clone()),
        previous_writer: None,
        reader_count: i32::try_from(topology.readers.len()).unwrap_or(i32::MAX),
        port: None,
        former_addresses: vec![],
        members: members.collect(),
    }
}
