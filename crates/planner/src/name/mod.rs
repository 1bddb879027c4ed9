//! The name of `spec.dns.steering` in one pass: what it tells the targets, and what is done with it once they have said
//! what they want.
//!
//! The rule itself is `dbbalance_core::narrow`. Here the world is put into its words, and its answer into the status.

mod condition;
mod finish;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::policy::{ParsedPolicy, readable_policy};
use crate::times::add_duration;
use crate::world::World;
use dbbalance_api::spec::{Method, Mode};
use dbbalance_api::status::{DbBalancePolicyStatus, DnsStatus};
use dbbalance_core::balance::NameLead;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::narrow::{
    NarrowingInputs, NarrowingMemory, NarrowingRefusal, NarrowingRules, NarrowingStops,
    ObservedName, TOLD_SPAN, WidenReason, check_claim, check_narrowing, find_own_claim, is_told,
};
use dbbalance_core::stamp::PolicyMark;
use dbbalance_core::topology::InstanceId;

pub use condition::{SteeredState, describe_steered};
pub(crate) use finish::{TargetWish, decide_name};

/// How long before the end of the hold an eviction is not begun: as long as a batch may take to come back
/// (docs/adr/0020).
const EVICT_NEEDS: SignedDuration = SignedDuration::from_secs(30);
/// The same of methods that renew connections in place, whose pools reopen within a second or two.
const RENEWAL_NEEDS: SignedDuration = SignedDuration::from_secs(3);

/// What a decision about the name is made of, as found at the beginning of a pass.
pub(crate) struct NameFacts {
    policy: PolicyMark,
    generation: i64,
    rules: Option<NarrowingRules>,
    stops: NarrowingStops,
    readers: Option<BTreeSet<InstanceId>>,
    memory: NarrowingMemory,
    now: Timestamp,
}

impl NameFacts {
    /// Gathers them. `status` and `settling` are those of the pass, after epochs have advanced.
    pub(crate) fn gather(
        world: &World,
        parsed: &ParsedPolicy,
        status: &DbBalancePolicyStatus,
        settling: &SettlingChanges,
        now: Timestamp,
    ) -> Self {
        let policy = readable_policy(parsed);
        Self {
            policy: world.policy.mark(),
            generation: world.policy.generation.unwrap_or(0),
            rules: policy.steering.as_ref().map(|s| s.rules),
            stops: gather_stops(world, parsed, status, settling, now),
            readers: serving_readers(world),
            memory: recorded_memory(world),
            now,
        }
    }

    /// Lends them to the rule; `None` without a name.
    fn lend<'a>(&'a self, world: &'a World) -> Option<NarrowingInputs<'a>> {
        let name = world.steered_name.as_ref()?;
        Some(NarrowingInputs {
            now: self.now,
            observed: &name.observed,
            looks: &name.looks,
            greatest_ttl: name.greatest_ttl,
            policy: &self.policy,
            generation: self.generation,
            rules: self.rules.as_ref(),
            stops: self.stops,
            readers: self.readers.as_ref(),
            rest_until: self.memory.rest_until,
        })
    }
}

/// Returns what of the policy and of the operator keeps the name wide.
fn gather_stops(
    world: &World,
    parsed: &ParsedPolicy,
    status: &DbBalancePolicyStatus,
    settling: &SettlingChanges,
    now: Timestamp,
) -> NarrowingStops {
    let policy = readable_policy(parsed);
    let pending = status.pending_epoch.as_ref();
    let is_pending = pending.is_some_and(|p| p.triggers.iter().any(|t| t.is_urgent()));
    let mut unsettled = settling.unsettled(&policy.triggers, now).into_iter();
    let name = world.steered_name.as_ref();
    NarrowingStops {
        is_urgent: is_pending || unsettled.any(|(change, _)| change.trigger().is_urgent()),
        is_deleted: world.policy.deleting,
        is_observing: policy.mode == Mode::Observe,
        is_suspended: policy.suspend,
        is_paused: policy.paused_until.is_some_and(|until| now < until),
        is_invalid: parsed.is_err(),
        is_shutting_down: name.is_some_and(|n| n.is_shutting_down),
        is_operator_alone: name.is_some_and(|n| n.is_operator_alone),
    }
}

/// Returns the readers that the last reading found available; `None` while the topology cannot be read.
fn serving_readers(world: &World) -> Option<BTreeSet<InstanceId>> {
    let view = world.topology.current()?;
    let readers = view.topology.readers.iter().map(|r| &r.instance);
    let is_available = |id: &&InstanceId| view.facts.get(id).is_some_and(|f| f.is_available);
    Some(readers.filter(is_available).cloned().collect())
}

/// Returns what is remembered of the name. An edit of the policy may have mended what it was given up for.
fn recorded_memory(world: &World) -> NarrowingMemory {
    let is_edited = world.status.observed_generation != world.policy.generation;
    let recorded = world.status.dns.as_ref().filter(|_| !is_edited);
    recorded.map_or_else(NarrowingMemory::default, |dns| NarrowingMemory {
        failures: u32::try_from(dns.not_led).unwrap_or(0),
        rest_until: dns.rest_until.as_ref().map(|t| t.0),
    })
}

/// The policy's own claim on the name, which may stand.
#[derive(Clone, Debug)]
pub(crate) struct StandingClaim {
    run: i64,
    instance: InstanceId,
    is_told: bool,
    /// When all caches must follow.
    due: Timestamp,
    /// When its hold is over.
    end: Timestamp,
}

/// What the name tells the targets of a pass.
#[derive(Clone, Debug, Default)]
pub(crate) enum StandingName {
    /// Pods get what Aurora's reader endpoint answers: there is no steering, or the name cannot be used.
    #[default]
    Unsteered,
    /// Pods move only once the name leads to their receiver.
    Steered {
        /// The Service.
        service: String,
        /// The policy's own claim, if it may stand.
        claim: Option<Box<StandingClaim>>,
        /// Why the name is not narrowed now.
        refusal: Option<NarrowingRefusal>,
    },
}

impl StandingName {
    /// Finds out what the name tells.
    pub(crate) fn find(world: &World, parsed: &ParsedPolicy, facts: &NameFacts) -> Self {
        let steering = readable_policy(parsed).steering.as_ref();
        let (Some(steering), Some(inputs)) = (steering, facts.lend(world)) else {
            return Self::Unsteered;
        };
        if let Some(claim) = find_own_claim(&inputs) {
            let bound = steering.rules.cache_bound(inputs.greatest_ttl);
            let standing = check_claim(&inputs, claim).is_ok().then(|| {
                Box::new(StandingClaim {
                    run: claim.run,
                    instance: claim.instance.clone(),
                    is_told: is_told(&inputs, claim),
                    due: add_duration(claim.time, bound.saturating_add(TOLD_SPAN)),
                    end: add_duration(claim.time, steering.rules.hold),
                })
            });
            return Self::Steered {
                service: steering.reader.clone(),
                claim: standing,
                refusal: None,
            };
        }
        let refusal = check_narrowing(&inputs).err();
        let is_unusable = match &refusal {
            Some(NarrowingRefusal::Unusable) => *inputs.observed != ObservedName::Unread,
            Some(NarrowingRefusal::CacheTooLong) => true,
            Some(NarrowingRefusal::Stopped(reason)) => *reason == WidenReason::SingleOperator,
            Some(NarrowingRefusal::Resting(_)) => facts.memory.is_given_up(facts.now),
            Some(NarrowingRefusal::Claimed(_) | NarrowingRefusal::NotSteered) | None => false,
        };
        if is_unusable {
            return Self::Unsteered;
        }
        Self::Steered {
            service: steering.reader.clone(),
            claim: None,
            refusal,
        }
    }

    /// Returns what the name tells a target whose run started at this second. `method`: how its pods move. Near the end of
    /// the hold no batch is sent that would come back after it.
    pub(crate) fn lead_for(
        &self,
        run: Option<i64>,
        method: Option<Method>,
        now: Timestamp,
    ) -> Option<NameLead<'_>> {
        let Self::Steered { claim, .. } = self else {
            return None;
        };
        let claim = claim.as_deref().filter(|c| Some(c.run) == run);
        Some(NameLead {
            narrowed_to: claim.map(|c| &c.instance),
            is_told: claim.is_some_and(|c| c.is_told && has_time(c, method, now)),
        })
    }

    /// Whether the name is narrowed for this run, and too little of the hold is left to send a batch.
    pub(crate) fn is_ending_for(
        &self,
        run: Option<i64>,
        method: Option<Method>,
        now: Timestamp,
    ) -> bool {
        let Self::Steered {
            claim: Some(claim), ..
        } = self
        else {
            return false;
        };
        Some(claim.run) == run && !has_time(claim, method, now)
    }

    /// Describes what a target waits for whose pods are to be led to this reader, and until when at the latest.
    pub(crate) fn describe_wait(&self, receiver: &InstanceId) -> (String, Option<Timestamp>) {
        let Self::Steered {
            service,
            claim,
            refusal,
        } = self
        else {
            return (format!("the name is to be narrowed to {receiver}"), None);
        };
        if let Some(claim) = claim.as_deref() {
            let message = format!(
                "{service} is narrowed to {}; pods move when all caches follow",
                claim.instance
            );
            return (message, Some(claim.due));
        }
        match refusal {
            Some(NarrowingRefusal::Claimed(other)) => (
                format!(
                    "{service} is narrowed to {} by the policy whose UID begins with {:?}; it is this policy's turn afterwards",
                    other.instance,
                    other.policy.as_str()
                ),
                None,
            ),
            Some(NarrowingRefusal::Resting(until)) => (
                format!(
                    "{service} rests between two narrowings, so that others get Aurora's answer"
                ),
                Some(*until),
            ),
            _ => (format!("{service} is to be narrowed to {receiver}"), None),
        }
    }
}

fn has_time(claim: &StandingClaim, method: Option<Method>, now: Timestamp) -> bool {
    let needs = match method {
        Some(Method::Evict | Method::Rollout) => EVICT_NEEDS,
        Some(Method::Signal | Method::Http | Method::Annotate) | None => RENEWAL_NEEDS,
    };
    add_duration(now, needs) <= claim.end
}

/// Returns the status that the last pass recorded of the name.
fn recorded_dns(world: &World) -> Option<&DnsStatus> {
    world.status.dns.as_ref()
}
