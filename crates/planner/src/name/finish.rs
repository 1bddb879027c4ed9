//! What is done with the name once the targets have said what they want of it, and what the status records.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{NameFacts, recorded_dns};
use crate::policy::{ParsedPolicy, SteeringPolicy, readable_policy};
use crate::times::add_duration;
use crate::types::{Notice, Plan};
use crate::world::{SteeredName, World};
use dbbalance_api::status::DnsStatus;
use dbbalance_core::narrow::{
    Led, NameAction, NarrowClaim, NarrowingInputs, NarrowingMemory, ObservedName, WantedLead,
    WidenReason, decide_narrowing, find_claim, find_own_claim, is_told,
};
use dbbalance_core::topology::InstanceId;

/// What a target wants of the name.
#[derive(Clone, Debug)]
pub(crate) struct TargetWish {
    /// When its run in progress started, in seconds since 1970.
    pub run: Option<i64>,
    /// The reader that its pods are to be led to, or why to none.
    pub receiver: Result<InstanceId, WidenReason>,
    /// Whether its connections are broken as after a failover.
    pub is_urgent: bool,
}

/// Decides what is done with the name, and records it.
pub(crate) fn decide_name(
    world: &World,
    parsed: &ParsedPolicy,
    facts: &mut NameFacts,
    wishes: &[TargetWish],
    plan: &mut Plan,
) {
    let steering = readable_policy(parsed).steering.as_ref();
    let Some(name) = &world.steered_name else {
        // Nothing is known of it: what was recorded of a name that is steered is kept.
        if steering.is_none() {
            plan.status.dns = None;
        }
        return;
    };
    facts.stops.is_urgent |= wishes.iter().any(|w| w.is_urgent);
    let Some(inputs) = facts.lend(world) else {
        return;
    };
    let own = find_own_claim(&inputs);
    let wanted = choose_wish(own, wishes);
    plan.name_action = decide_narrowing(&inputs, wanted.as_ref().map_err(|reason| *reason));
    let memory = next_memory(&inputs, facts.memory, &plan.name_action, steering);
    publish_change(world, own, facts.now, plan);
    plan.status.dns = record_name(world, name, &inputs, memory, steering, &plan.name_action);
    if let (Some(claim), Some(rules)) = (own, inputs.rules) {
        plan.wake_at(add_duration(claim.time, rules.hold));
    }
    if let Some(until) = memory.rest_until.filter(|until| *until > facts.now) {
        plan.wake_at(until);
    }
}

/// Returns what is wanted of the name: by the target whose run has narrowed it, or by the first that wants anything.
fn choose_wish(
    own: Option<&NarrowClaim>,
    wishes: &[TargetWish],
) -> Result<WantedLead, WidenReason> {
    let lead = |wish: &TargetWish| {
        let run = wish.run.ok_or(WidenReason::Unexplained)?;
        let receiver = wish.receiver.clone()?;
        Ok(WantedLead { run, receiver })
    };
    let Some(claim) = own else {
        let mut leads = wishes.iter().filter_map(|w| lead(w).ok());
        return leads.next().ok_or(WidenReason::NothingLeft);
    };
    let mut mine: Vec<_> = wishes
        .iter()
        .filter(|w| w.run == Some(claim.run))
        .map(lead)
        .collect();
    // Two runs of one second: the one that wants it explains it.
    mine.sort_by_key(|lead| match lead {
        Ok(lead) if lead.receiver == claim.instance => 0,
        Ok(_) => 1,
        Err(_) => 2,
    });
    mine.into_iter()
        .next()
        .unwrap_or(Err(WidenReason::Unexplained))
}

fn next_memory(
    inputs: &NarrowingInputs,
    memory: NarrowingMemory,
    action: &NameAction,
    steering: Option<&SteeringPolicy>,
) -> NarrowingMemory {
    let (Some(claim), Some(steering)) = (find_own_claim(inputs), steering) else {
        return memory;
    };
    let memory = if is_told(inputs, claim) {
        memory.after_told()
    } else {
        memory
    };
    match action {
        NameAction::Widen(reason) => memory.after_widening(
            claim,
            *reason,
            &steering.rules,
            inputs.greatest_ttl,
            inputs.now,
        ),
        NameAction::Keep | NameAction::Narrow(_) => memory,
    }
}

/// Publishes that the name was found narrowed by the policy, or wide again. The effect itself may have been another
/// replica's.
fn publish_change(world: &World, own: Option<&NarrowClaim>, now: Timestamp, plan: &mut Plan) {
    let recorded = recorded_dns(world);
    let since = recorded.and_then(|dns| dns.narrowed_since.as_ref());
    let since = since.map(|time| time.0);
    let standing = own.map(|claim| claim.time);
    let name = world.steered_name.as_ref();
    let is_unread = name.is_none_or(|name| name.observed == ObservedName::Unread);
    if since == standing || is_unread {
        return;
    }
    let service = recorded.map_or("", |dns| dns.service.as_str());
    if let (Some(since), Some(dns)) = (since, recorded) {
        let seconds = now.duration_since(since).as_secs().max(0);
        let reason = dns.widen_reason.as_deref();
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        plan.notices.push(Notice::Widened(format!(
            "{service} leads to Aurora's own answer again after {seconds} s at {}{reason}",
            dns.led
        )));
    }
    if let (Some(claim), Some(name)) = (own, readable_service(world)) {
        plan.notices.push(Notice::Narrowed(format!(
            "{name} leads to {} alone until connections have moved there",
            claim.instance
        )));
    }
}

/// Returns the Service that the spec steers, or that is recorded.
fn readable_service(world: &World) -> Option<&str> {
    let spec = world.spec.dns.steering.as_ref().map(|s| s.reader.as_str());
    spec.or_else(|| recorded_dns(world).map(|dns| dns.service.as_str()))
}

/// Returns what the status shows of the name. Without steering it is kept while the name is narrowed.
fn record_name(
    world: &World,
    name: &SteeredName,
    inputs: &NarrowingInputs,
    memory: NarrowingMemory,
    steering: Option<&SteeringPolicy>,
    action: &NameAction,
) -> Option<DnsStatus> {
    let recorded = recorded_dns(world);
    let own = find_own_claim(inputs);
    let is_left = own.is_some() || name.observed == ObservedName::Unread;
    if steering.is_none() && !is_left {
        return None;
    }
    let (service, via) = match steering {
        Some(steering) => (steering.reader.clone(), steering.via),
        None => recorded.map(|dns| (dns.service.clone(), dns.via))?,
    };
    let led = match &name.observed {
        ObservedName::Found {
            led: Led::Aurora, ..
        } => DnsStatus::AURORA.to_owned(),
        ObservedName::Found {
            led: Led::Instance(instance),
            ..
        } => instance.0.clone(),
        // Not read for a moment: it is as it was.
        ObservedName::Unread => recorded.map_or(DnsStatus::UNKNOWN.to_owned(), |d| d.led.clone()),
        _ => DnsStatus::UNKNOWN.to_owned(),
    };
    let narrowed_since = match &name.observed {
        ObservedName::Unread => recorded.and_then(|dns| dns.narrowed_since.clone()),
        observed => find_claim(observed)
            .filter(|_| own.is_some())
            .map(|c| Time(c.time)),
    };
    let is_known = name.greatest_ttl.is_some() || inputs.rules.is_some_and(|r| r.settle.is_some());
    let bound = inputs.rules.filter(|_| is_known);
    let bound = bound.map(|rules| rules.cache_bound(name.greatest_ttl));
    let read = world.topology.current().map(|view| &view.endpoints);
    let endpoint = read.and_then(|endpoints| endpoints.reader.clone());
    let last_reason = recorded.and_then(|dns| dns.widen_reason.clone());
    Some(DnsStatus {
        service,
        via,
        led,
        narrowed_since,
        cache_seconds: bound
            .map(ceil_seconds)
            .or_else(|| recorded.and_then(|dns| dns.cache_seconds)),
        reader_endpoint: endpoint.or_else(|| recorded?.reader_endpoint.clone()),
        not_led: i32::try_from(memory.failures).unwrap_or(i32::MAX),
        rest_until: memory
            .rest_until
            .filter(|until| *until > inputs.now)
            .map(Time),
        widen_reason: match action {
            NameAction::Widen(reason) => Some(reason.as_str().to_owned()),
            NameAction::Narrow(_) => None,
            NameAction::Keep => last_reason,
        },
    })
}

fn ceil_seconds(span: SignedDuration) -> i32 {
    let whole = span.as_secs() + i64::from(span.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}
