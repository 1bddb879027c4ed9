//! Decides what is done with a name now: a total function of what stands in the cluster, what the run in progress wants,
//! and the time.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Led, NameAction, NameLook, NarrowClaim, ObservedName, WidenReason};
use crate::stamp::PolicyMark;
use crate::topology::InstanceId;

/// How many look-ups in a row must name the receiver. Of two name servers a stale one is missed with a chance of 2^-12
/// (docs/adr/0020).
pub const TOLD_LOOKS: usize = 12;

/// The time within which they must have been asked: at ten a second they take 1.2 s (docs/adr/0020).
pub const TOLD_SPAN: SignedDuration = SignedDuration::from_secs(3);

/// How much longer than its TTL a cache in front keeps an answer: `CoreDNS` keeps each for at least 5 s, and half a
/// second is the way of the change (docs/adr/0020).
const CACHE_MARGIN: SignedDuration = SignedDuration::from_millis(5500);

/// The TTL that is assumed while no look-up was answered: the greatest default of a Kubernetes cluster's DNS (kubeadm).
const ASSUMED_TTL: u32 = 30;

/// The greatest `holdSeconds` that the API takes. The claim of another policy that is older was left behind.
pub const LONGEST_HOLD: SignedDuration = SignedDuration::from_secs(300);

/// How far in the future a claim may be: the clocks of two replicas differ by less (docs/adr/0007).
const CLOCK_SKEW: SignedDuration = SignedDuration::from_secs(5);

/// How a policy may narrow its name, by `spec.dns.steering`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NarrowingRules {
    /// The longest time that it is narrowed at a stretch.
    pub hold: SignedDuration,
    /// How long all caches take to follow; `None` learns it from TTLs.
    pub settle: Option<SignedDuration>,
    /// Whether it is narrowed although no other replica of the operator could widen it.
    pub allows_single_operator: bool,
}

impl NarrowingRules {
    /// Returns how long all caches take to follow a change of the name, by the greatest TTL that was ever answered.
    #[must_use]
    pub fn cache_bound(&self, greatest_ttl: Option<u32>) -> SignedDuration {
        let ttl = i64::from(greatest_ttl.unwrap_or(ASSUMED_TTL));
        let learnt = SignedDuration::from_secs(ttl).saturating_add(CACHE_MARGIN);
        self.settle.unwrap_or(learnt)
    }

    /// Returns whether caches are known to keep the name for so long that it would be widened before they follow.
    #[must_use]
    pub fn is_cache_too_long(&self, greatest_ttl: Option<u32>) -> bool {
        let is_known = self.settle.is_some() || greatest_ttl.is_some();
        is_known && self.cache_bound(greatest_ttl).saturating_add(TOLD_SPAN) > self.hold
    }
}

/// What a run in progress wants of the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedLead {
    /// When the run started, in seconds since 1970.
    pub run: i64,
    /// The reader that lacks connections.
    pub receiver: InstanceId,
}

/// What holds of the policy and of the operator. Each of them widens the name at once, and keeps it from being narrowed.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, not a state
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NarrowingStops {
    /// A failover or a replacement has settled or is settling, or connections are broken as by one.
    pub is_urgent: bool,
    /// The policy is being deleted.
    pub is_deleted: bool,
    /// `mode: Observe`.
    pub is_observing: bool,
    /// `suspend: true`.
    pub is_suspended: bool,
    /// The policy is paused by its annotation.
    pub is_paused: bool,
    /// The policy has a problem.
    pub is_invalid: bool,
    /// The operator ends, or gives the lease back.
    pub is_shutting_down: bool,
    /// No other replica of the operator could take the lease.
    pub is_operator_alone: bool,
}

impl NarrowingStops {
    /// Returns the reason to widen, the most urgent one first.
    fn reason(self) -> Option<WidenReason> {
        [
            (self.is_urgent, WidenReason::Urgent),
            (self.is_deleted, WidenReason::Deleted),
            (self.is_shutting_down, WidenReason::ShuttingDown),
            (self.is_observing, WidenReason::Observed),
            (self.is_suspended, WidenReason::Suspended),
            (self.is_paused, WidenReason::Paused),
            (self.is_invalid, WidenReason::InvalidSpec),
        ]
        .into_iter()
        .find_map(|(holds, reason)| holds.then_some(reason))
    }
}

/// Everything that a decision about a name depends on, but what the run in progress wants.
#[derive(Clone, Copy, Debug)]
pub struct NarrowingInputs<'a> {
    /// The time of the pass.
    pub now: Timestamp,
    /// What stands in the cluster.
    pub observed: &'a ObservedName,
    /// Look-ups of the name.
    pub looks: &'a [NameLook],
    /// The greatest TTL, in seconds, that any look-up of the name was ever answered with.
    pub greatest_ttl: Option<u32>,
    /// The policy.
    pub policy: &'a PolicyMark,
    /// The generation of its spec.
    pub generation: i64,
    /// How it may narrow the name; `None` without `spec.dns.steering`.
    pub rules: Option<&'a NarrowingRules>,
    /// What holds of the policy and of the operator.
    pub stops: NarrowingStops,
    /// The readers that serve; `None` while the topology cannot be read.
    pub readers: Option<&'a BTreeSet<InstanceId>>,
    /// Until when the name is not narrowed again.
    pub rest_until: Option<Timestamp>,
}

/// Decides what is done with a name. `wanted`: what the run in progress wants of it, or why none wants anything.
///
/// Total: every input has an answer. A name that the operator cannot recognise is left as it is.
#[must_use]
pub fn decide_narrowing(
    inputs: &NarrowingInputs,
    wanted: Result<&WantedLead, WidenReason>,
) -> NameAction {
    match find_claim(inputs.observed) {
        Some(claim) if claim.policy == *inputs.policy => {
            let ends = check_claim(inputs, claim).and_then(|()| check_wanted(claim, wanted));
            ends.map_or_else(NameAction::Widen, |()| NameAction::Keep)
        }
        Some(claim) => decide_foreign(inputs, claim),
        None => decide_unclaimed(inputs, wanted),
    }
}

/// Returns who has narrowed the name.
#[must_use]
pub fn find_claim(observed: &ObservedName) -> Option<&NarrowClaim> {
    match observed {
        ObservedName::Found { claim, .. }
        | ObservedName::HasSelector { claim }
        | ObservedName::ForeignSlice { claim } => claim.as_ref(),
        ObservedName::Unread
        | ObservedName::Missing
        | ObservedName::WrongType
        | ObservedName::NotAllowed => None,
    }
}

/// Returns the policy's own claim on the name.
#[must_use]
pub fn find_own_claim<'a>(inputs: &NarrowingInputs<'a>) -> Option<&'a NarrowClaim> {
    find_claim(inputs.observed).filter(|claim| claim.policy == *inputs.policy)
}

/// Checks that the policy's own claim may stand, whatever is wanted.
///
/// # Errors
/// Why the name is widened.
pub fn check_claim(inputs: &NarrowingInputs, claim: &NarrowClaim) -> Result<(), WidenReason> {
    check_stops(inputs)?;
    let Some(rules) = inputs.rules else {
        return Err(WidenReason::NotSteered);
    };
    if claim.generation != inputs.generation {
        return Err(WidenReason::Edited);
    }
    check_receiver(inputs, &claim.instance)?;
    let age = inputs.now.duration_since(claim.time);
    if age >= rules.hold {
        return Err(WidenReason::HoldOver);
    }
    if age < -CLOCK_SKEW {
        return Err(WidenReason::Unexplained);
    }
    check_alone(inputs, rules)?;
    // Somebody has led it elsewhere, as a GitOps controller would; or another slice is mixed with ours.
    if !leads_to(inputs.observed, &claim.instance) {
        return Err(WidenReason::NotLed);
    }
    check_looks(inputs, claim, rules)
}

fn check_stops(inputs: &NarrowingInputs) -> Result<(), WidenReason> {
    inputs.stops.reason().map_or(Ok(()), Err)
}

fn check_receiver(inputs: &NarrowingInputs, receiver: &InstanceId) -> Result<(), WidenReason> {
    let readers = inputs.readers.ok_or(WidenReason::TopologyNotCurrent)?;
    let serves = readers.contains(receiver);
    serves.then_some(()).ok_or(WidenReason::ReceiverGone)
}

fn check_alone(inputs: &NarrowingInputs, rules: &NarrowingRules) -> Result<(), WidenReason> {
    if inputs.stops.is_operator_alone && !rules.allows_single_operator {
        return Err(WidenReason::SingleOperator);
    }
    Ok(())
}

/// Whether the name was found to lead to this instance.
fn leads_to(observed: &ObservedName, instance: &InstanceId) -> bool {
    matches!(observed, ObservedName::Found { led: Led::Instance(to), .. } if to == instance)
}

/// Checks that look-ups are answered, and follow the name once all caches must have.
fn check_looks(
    inputs: &NarrowingInputs,
    claim: &NarrowClaim,
    rules: &NarrowingRules,
) -> Result<(), WidenReason> {
    let since = looks_since(inputs, claim);
    if since.last().is_some_and(|look| look.led.is_none()) {
        return Err(WidenReason::LookFailed);
    }
    let followed = rules
        .cache_bound(inputs.greatest_ttl)
        .saturating_add(TOLD_SPAN);
    let is_due = inputs.now.duration_since(claim.time) >= followed;
    if is_due && !is_told(inputs, claim) {
        return Err(WidenReason::NotLed);
    }
    Ok(())
}

/// Returns the look-ups that were asked since the name was narrowed.
fn looks_since<'a>(inputs: &NarrowingInputs<'a>, claim: &NarrowClaim) -> Vec<&'a NameLook> {
    let looks = inputs.looks.iter();
    looks
        .filter(|look| look.at > claim.time && look.at <= inputs.now)
        .collect()
}

/// Whether all caches follow a claim on the name: the newest look-ups all lead to its instance.
#[must_use]
pub fn is_told(inputs: &NarrowingInputs, claim: &NarrowClaim) -> bool {
    let since = looks_since(inputs, claim);
    let Some(from) = since.len().checked_sub(TOLD_LOOKS) else {
        return false;
    };
    since[from..].iter().all(|look| {
        inputs.now.duration_since(look.at) <= TOLD_SPAN
            && look.led == Some(Led::Instance(claim.instance.clone()))
    })
}

/// Checks that the run in progress explains a claim.
fn check_wanted(
    claim: &NarrowClaim,
    wanted: Result<&WantedLead, WidenReason>,
) -> Result<(), WidenReason> {
    let wanted = wanted?;
    if wanted.run != claim.run {
        return Err(WidenReason::Unexplained);
    }
    if wanted.receiver != claim.instance {
        return Err(WidenReason::Reached);
    }
    Ok(())
}

/// Another policy has narrowed the name: it is waited for, unless it was left behind.
fn decide_foreign(inputs: &NarrowingInputs, claim: &NarrowClaim) -> NameAction {
    // A policy that changes nothing does not do so for another one either.
    let acts = inputs.rules.is_some() && check_stops(inputs).is_ok();
    let age = inputs.now.duration_since(claim.time);
    if acts && !(-CLOCK_SKEW..LONGEST_HOLD).contains(&age) {
        return NameAction::Widen(WidenReason::ForeignOverdue);
    }
    NameAction::Keep
}

fn decide_unclaimed(
    inputs: &NarrowingInputs,
    wanted: Result<&WantedLead, WidenReason>,
) -> NameAction {
    let Ok(wanted) = wanted else {
        return NameAction::Keep;
    };
    if check_narrowing(inputs).is_err() || check_receiver(inputs, &wanted.receiver).is_err() {
        return NameAction::Keep;
    }
    NameAction::Narrow(NarrowClaim {
        policy: inputs.policy.clone(),
        run: wanted.run,
        generation: inputs.generation,
        instance: wanted.receiver.clone(),
        // The claim is written in whole seconds, the earlier one: the hold is never longer for it.
        time: Timestamp::from_second(inputs.now.as_second()).unwrap_or(inputs.now),
    })
}

/// Why a name is not narrowed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NarrowingRefusal {
    /// A stop of the policy or of the operator, an unreadable topology, or the operator's only replica.
    Stopped(WidenReason),
    /// The policy steers no name.
    NotSteered,
    /// The name is not what it must be, or leads elsewhere.
    Unusable,
    /// It is narrowed already, by this claim.
    Claimed(NarrowClaim),
    /// It was widened before its receiver had what it lacked, and rests until then.
    Resting(Timestamp),
    /// Caches keep it for longer than it may be narrowed.
    CacheTooLong,
}

/// Checks that a name could be narrowed now, whatever is wanted.
///
/// # Errors
/// Why not.
pub fn check_narrowing(inputs: &NarrowingInputs) -> Result<(), NarrowingRefusal> {
    check_stops(inputs).map_err(NarrowingRefusal::Stopped)?;
    let rules = inputs.rules.ok_or(NarrowingRefusal::NotSteered)?;
    match inputs.observed {
        ObservedName::Found {
            claim: Some(claim), ..
        } => return Err(NarrowingRefusal::Claimed(claim.clone())),
        ObservedName::Found {
            led: Led::Aurora,
            claim: None,
        } => {}
        _ => return Err(NarrowingRefusal::Unusable),
    }
    check_alone(inputs, rules).map_err(NarrowingRefusal::Stopped)?;
    if inputs.readers.is_none() {
        return Err(NarrowingRefusal::Stopped(WidenReason::TopologyNotCurrent));
    }
    if rules.is_cache_too_long(inputs.greatest_ttl) {
        return Err(NarrowingRefusal::CacheTooLong);
    }
    match inputs.rest_until {
        Some(until) if inputs.now < until => Err(NarrowingRefusal::Resting(until)),
        _ => Ok(()),
    }
}
