//! The inputs of the balance: a target's world, as `dbbalance_core::balance` takes it.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::drain::find_drained;
use crate::runs::canary::{REOPENING, find_concerned_sockets};
use crate::target::{Stage, TargetContext};
use crate::weights::compute_weights;
use crate::world::former_addresses;
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_api::spec::{Endpoint, Fallback, Method};
use dbbalance_api::status::Trigger;
use dbbalance_core::balance::{
    EndpointAnswer, Holdings, Inputs, NameLead, OtherConnections, PodView, Pools, Reach, Settings,
};
use dbbalance_core::dns::agreement::ExpectedAnswers;
use dbbalance_core::dns::{self, DnsView};
use dbbalance_core::evidence::{Evidence, PodHoldings, Socket, kept_sockets};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::topology::{InstanceId, Topology};
use dbbalance_core::weights::ReaderWeights;

/// A recycled pod whose pools have not come back by then is measured as it is.
const SETTLE: SignedDuration = SignedDuration::from_secs(30);
/// How long DNS, caches and pools may take to settle after a change.
const RECENT_CHANGE: SignedDuration = SignedDuration::from_mins(10);
/// How much of its former connections a pod must hold to be back, in percent: a pool may be lazy.
const BACK_PERCENT: usize = 90;

/// The values that the balance borrows.
pub(super) struct BalanceInputs {
    pub topology: Topology,
    pub leaving: BTreeSet<InstanceId>,
    pub previous_writer: Option<InstanceId>,
    pub weights: ReaderWeights,
    /// Readers that a user drains.
    pub drained: Vec<InstanceId>,
    pub others: OtherConnections,
    pub pools: Pools,
    pub pods: Vec<PodView>,
    pub looks: Vec<EndpointAnswer>,
    pub writer_looks: Vec<EndpointAnswer>,
    pub canary: bool,
    pub event: Option<Timestamp>,
    pub reach: Reach,
    /// The reader that the name is narrowed to for the target's run, and whether all caches follow.
    pub name: Option<(Option<InstanceId>, bool)>,
    pub settings: Settings,
    pub memory: RebalanceState,
    pub scope: String,
    pub recent_change: bool,
}

impl BalanceInputs {
    /// Lends them for a decision, with so many pods free.
    pub(super) fn lend(&self, free: usize, now: Timestamp) -> Inputs<'_> {
        Inputs {
            now,
            topology: &self.topology,
            leaving: &self.leaving,
            previous_writer: self.previous_writer.as_ref(),
            weights: &self.weights,
            others: &self.others,
            pools: self.pools,
            pods: &self.pods,
            looks: &self.looks,
            writer_looks: &self.writer_looks,
            free,
            canary: self.canary,
            event: self.event,
            reach: self.reach,
            name: self.name.as_ref().map(|(to, is_told)| NameLead {
                narrowed_to: to.as_ref(),
                is_told: *is_told,
            }),
            settings: &self.settings,
            memory: &self.memory,
            scope: &self.scope,
            recent_change: self.recent_change,
        }
    }
}

/// Returns the method by which single pods move; `None`: none does.
pub(crate) fn single_pod_method(ctx: &TargetContext) -> Option<Method> {
    match (ctx.policy.recycle.method, ctx.policy.recycle.fallback) {
        (Method::Rollout, Some(Fallback::Evict)) => Some(Method::Evict),
        (Method::Rollout, None) => None,
        (method, _) => Some(method),
    }
}

/// Gathers the inputs; `topology` is the settled one.
pub(super) fn gather_inputs(
    ctx: &TargetContext,
    topology: Topology,
    evidence: &Evidence,
) -> BalanceInputs {
    let fingerprint = topology.fingerprint().0;
    let dns = &ctx.pass.world.dns;
    let sees = dns.is_available();
    let reach = match single_pod_method(ctx) {
        Some(Method::Evict) | None => Reach::Slow { resolver: sees },
        Some(_) if sees => Reach::Prompt,
        Some(_) => Reach::Unseen,
    };
    let event = last_event(ctx);
    let trusted = find_trusted_time(ctx, &topology);
    let drained = find_drained(&ctx.pass, &topology);
    let counted = ctx.counted.iter();
    let recorded = ctx.pass.status.topology.as_ref();
    let previous_writer = recorded.and_then(|t| t.previous_writer.clone());
    BalanceInputs {
        leaving: ctx.pass.world.leaving_readers(),
        previous_writer: previous_writer.map(InstanceId),
        weights: compute_weights(&ctx.pass, &topology, &drained),
        drained,
        others: ctx.others.clone(),
        topology,
        pools: ctx.policy.balance_pools(max_held(evidence)),
        pods: counted
            .map(|pod| view_pod(ctx, pod, evidence, trusted))
            .collect(),
        canary: !ctx.is_verified(),
        looks: dns_answers(dns, &dns.reader),
        writer_looks: dns_answers(dns, &dns.writer),
        reach,
        name: find_lead(ctx),
        settings: Settings {
            drift_enabled: ctx.pass.policy.triggers.drift.enabled,
            strays: ctx.policy.strays(),
            ..Settings::new(ctx.pass.policy.evidence.tolerance_percent, None)
        },
        scope: name_scope(ctx, &fingerprint),
        recent_change: is_change_recent(ctx),
        memory: load_memory(ctx, event),
        event,
    }
}

/// Returns what the name of `spec.dns.steering` tells the target's pods; `None` if it is not theirs.
fn find_lead(ctx: &TargetContext) -> Option<(Option<InstanceId>, bool)> {
    if !ctx.policy.has_pool(Endpoint::Reader) {
        return None;
    }
    let method = single_pod_method(ctx);
    let name = ctx.pass.name;
    let lead = name.lead_for(ctx.recorded_run(), method, ctx.pass.now)?;
    Some((lead.narrowed_to.cloned(), lead.is_told))
}

/// Names what a finding about recycles holds for: another topology, due epoch (which a token raises) or spec may change it.
fn name_scope(ctx: &TargetContext, fingerprint: &str) -> String {
    let generation = ctx.pass.world.policy.generation.unwrap_or(0);
    format!("{fingerprint}/{}/{generation}", ctx.status.due_epoch)
}

/// Whether a failover or the removal of a reader is so recent that pods may have found the old member since.
fn is_change_recent(ctx: &TargetContext) -> bool {
    let is_recent = |time: &Option<Time>| {
        let since = time.as_ref().map(|t| ctx.pass.now.duration_since(t.0));
        since.is_some_and(|s| s < RECENT_CHANGE)
    };
    let target = &ctx.status;
    let removed = target.triggers.contains(&Trigger::ReaderRemoved);
    is_recent(&target.urgent_open_time) || (removed && is_recent(&target.open_time))
}

/// Returns what is remembered of the target. Evidence that is new to a target takes what has happened before as it is: only what
/// is stale, or drifts, moves then.
fn load_memory(ctx: &TargetContext, event: Option<Timestamp>) -> RebalanceState {
    ctx.status
        .balance
        .clone()
        .unwrap_or_else(|| RebalanceState {
            event: event.filter(|_| ctx.stale.is_empty()),
            ..RebalanceState::default()
        })
}

/// Returns when the last thing happened that calls for even connections: an epoch opened, a rollout ended, or a run
/// started, which leaves them even whatever started it.
fn last_event(ctx: &TargetContext) -> Option<Timestamp> {
    let target = &ctx.status;
    let opened = target
        .open_time
        .as_ref()
        .filter(|_| target.due_epoch > target.baseline_epoch)
        .map(|t| t.0);
    let began = ctx.running().map(|r| r.start_time.0);
    opened
        .max(target.template_time.as_ref().map(|t| t.0))
        .max(began)
}

/// Returns the most connections that any pod holds.
fn max_held(evidence: &Evidence) -> u32 {
    let pods = evidence.pods.values();
    pods.map(PodHoldings::connections).max().unwrap_or(0)
}

fn dns_answers(view: &DnsView, looks: &[dns::DnsSample]) -> Vec<EndpointAnswer> {
    looks
        .iter()
        .map(|look| EndpointAnswer {
            at: look.at,
            instance: view.instance_of(look),
            via: None,
        })
        .collect()
}

/// How long after a failover has opened its run goes on for pods that may have been led by an old answer: DNS that keeps
/// disagreeing must not hold it for ever (docs/adr/0013).
const DOUBT: SignedDuration = SignedDuration::from_mins(5);

/// Returns from when on the pools of a target with both have asked DNS anew, and found what it answers now: the caches of
/// processes and nodes have ended the last answer of either endpoint that disagreed. `None` for other targets, and where no
/// failover is known.
fn find_trusted_time(ctx: &TargetContext, topology: &Topology) -> Option<Timestamp> {
    let has_both = ctx.policy.has_pool(Endpoint::Writer) && ctx.policy.has_pool(Endpoint::Reader);
    let opened = ctx.status.urgent_open_time.as_ref().filter(|_| has_both)?.0;
    let (pass, hold) = (&ctx.pass, Settings::default().pod_cooldown);
    let expected = ExpectedAnswers {
        topology,
        former: &former_addresses(pass.status, opened, pass.now),
        hold: Some(pass.policy.dns.hold.max(hold)),
        since: pass.now,
        after: None,
        leaving: &BTreeSet::new(),
    };
    let ends = [Endpoint::Writer, Endpoint::Reader];
    let ends = ends.map(|endpoint| expected.held_until(endpoint, &pass.world.dns));
    let [Some(writer), Some(reader)] = ends else {
        return None;
    };
    Some(writer.max(reader))
}

/// Returns until when a run after a failover must go on, though its pods look right: until then a pod that it has recycled
/// may have been led by an old answer. `None` where no counts can hide that, or once nothing may be held any longer.
pub(crate) fn find_doubt_end(ctx: &TargetContext, topology: &Topology) -> Option<Timestamp> {
    let trusted = find_trusted_time(ctx, topology).filter(|t| ctx.pass.now < *t)?;
    let opened = ctx.status.urgent_open_time.as_ref()?.0;
    let is_late = ctx.pass.now.duration_since(opened) >= DOUBT;
    let mut pods = ctx.counted.iter();
    let is_held = !is_late && pods.any(|pod| is_doubted(ctx, pod, trusted));
    is_held.then_some(trusted)
}

/// Whether a pod was recycled in this run while its process may have kept an old answer, because it had looked the names up
/// shortly before. Where both pools have the same size, counts do not show that they were swapped.
fn is_doubted(ctx: &TargetContext, pod: &PodFacts, trusted: Timestamp) -> bool {
    let moved = ctx.moved_in_run(pod).filter(|_| ctx.running().is_some());
    let Some(moved) = moved.filter(|moved| moved.time < trusted) else {
        return false;
    };
    let cache = Settings::default().pod_cooldown;
    let evidence = &ctx.found.evidence;
    let is_recent = |opened: Timestamp| moved.time.duration_since(opened) < cache;
    // What was open before the first reading is older than that, and no more is known of it.
    let is_new_reader = evidence.read_since.is_none_or(is_recent);
    let may_be_recent = |s: &Socket| s.opened_after.map_or(is_new_reader, is_recent);
    // Another replica has recycled it, and this one does not know what it held.
    let Some(before) = evidence.before.get(&pod.uid) else {
        return !has_reopened(ctx, pod, Some(trusted));
    };
    before.iter().any(may_be_recent) && !has_reopened(ctx, pod, Some(trusted))
}

/// Whether every connection of a pod to the writer, and to the one before it, was opened after this time.
fn has_reopened(ctx: &TargetContext, pod: &PodFacts, trusted: Option<Timestamp>) -> bool {
    let (world, status) = (ctx.pass.world, ctx.pass.status);
    let recorded = status.topology.as_ref();
    let writers = recorded.map(|t| (t.writer.as_ref(), t.previous_writer.as_ref()));
    let (Some(trusted), Some(reading), Some((writer, previous))) =
        (trusted, ctx.found.evidence.reading(&pod.uid), writers)
    else {
        return false;
    };
    let is_concerned = |s: &Socket| {
        let owner = world.dns.book.record_of(s.remote.ip());
        owner.is_some_and(|o| [writer, previous].contains(&Some(&o.instance.0)))
    };
    let mut concerned = reading.sockets.iter().filter(|s| is_concerned(s));
    concerned.all(|s| s.opened_after.is_some_and(|after| after >= trusted))
}

fn view_pod(
    ctx: &TargetContext,
    pod: &PodFacts,
    evidence: &Evidence,
    trusted: Option<Timestamp>,
) -> PodView {
    let moved = ctx.moved_in_run(pod);
    PodView {
        id: pod.uid.clone(),
        node: None,
        holds: evidence.pods.get(&pod.uid).map(|held| Holdings {
            reopened: has_reopened(ctx, pod, trusted),
            ..Holdings::from(held)
        }),
        read_at: ctx.found.evidence.reading(&pod.uid).map(|r| r.at),
        ready: pod.ready,
        in_flight: is_in_flight(ctx, pod),
        started: pod.started,
        last_recycled: moved.map(|m| m.time),
        recycles: moved.map_or(0, |m| m.count),
        movable: may_move(ctx, pod),
        before_failover: pod.is_urgent(&ctx.mark, &ctx.status)
            || trusted.is_some_and(|t| t <= ctx.pass.now && is_doubted(ctx, pod, t)),
        stale: !pod.is_fresh(&ctx.mark, &ctx.status),
    }
}

/// Whether a single pod may be moved by the target's method, and it has not failed on it.
pub(super) fn may_move(ctx: &TargetContext, pod: &PodFacts) -> bool {
    let takes = match single_pod_method(ctx) {
        Some(Method::Evict) => !ctx.is_single_replica() && pod.eviction_refusal().is_none(),
        Some(_) => true,
        None => false,
    };
    takes && ctx.stage(pod) != Stage::Failed
}

/// Whether a pod is being recycled, or was, and its pools have not come back: a reading after the recycle
/// shows as many connections as before, all of them new.
pub(super) fn is_in_flight(ctx: &TargetContext, pod: &PodFacts) -> bool {
    if ctx.may_still_end(pod) {
        return true;
    }
    let Some(moved) = ctx.moved_in_run(pod) else {
        return false;
    };
    if ctx.pass.now.duration_since(moved.time) >= SETTLE {
        return false;
    }
    let after = moved.time.saturating_add(REOPENING).unwrap_or(moved.time);
    let evidence = &ctx.found.evidence;
    let Some(reading) = evidence.reading(&pod.uid).filter(|r| r.at >= after) else {
        return true;
    };
    let before = evidence
        .before
        .get(&pod.uid)
        .map_or(&[][..], |sockets| &**sockets);
    let before = find_concerned_sockets(ctx, before);
    let after = find_concerned_sockets(ctx, &reading.sockets);
    !is_back(ctx, &before, &after)
}

fn is_back(ctx: &TargetContext, before: &[Socket], after: &[Socket]) -> bool {
    let connections = |sockets: &[Socket]| sockets.iter().filter(|s| s.is_connection()).count();
    let expected = match connections(before) {
        0 => ctx.policy.declared_connections().max(1),
        before => before,
    };
    let held = connections(after);
    held * 100 >= expected * BACK_PERCENT && kept_sockets(before, after).is_empty()
}
