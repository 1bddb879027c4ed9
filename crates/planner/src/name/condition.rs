//! The condition `Steered`: whether the name can be narrowed, and if not, what to do.

use jiff::Timestamp;

use super::{NameFacts, recorded_memory};
use crate::policy::{ParsedPolicy, SteeringPolicy, readable_policy};
use crate::world::World;
use dbbalance_api::spec::SteeringVia;
use dbbalance_api::status::DbBalancePolicyStatus;
use dbbalance_core::narrow::{Led, NarrowingMemory, ObservedName};

/// The state of a steered name, for its condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SteeredState {
    /// Whether it can be narrowed, or is; `None` while it is not known.
    pub is_steered: Option<bool>,
    /// The reason, in one word.
    pub reason: &'static str,
    /// The same in a sentence, with what to do.
    pub message: String,
}

/// Describes the name of a policy; `None` without steering. `status` is that of the pass.
#[must_use]
pub fn describe_steered(
    world: &World,
    parsed: &ParsedPolicy,
    status: &DbBalancePolicyStatus,
    now: Timestamp,
) -> Option<SteeredState> {
    let steering = readable_policy(parsed).steering.as_ref()?;
    let facts = NameFacts::gather(world, parsed, status, &world.settling, now);
    let memory = status
        .dns
        .as_ref()
        .map_or(recorded_memory(world), |dns| NarrowingMemory {
            failures: u32::try_from(dns.not_led).unwrap_or(0),
            rest_until: dns.rest_until.as_ref().map(|t| t.0),
        });
    Some(describe(world, steering, &facts, memory))
}

fn describe(
    world: &World,
    steering: &SteeringPolicy,
    facts: &NameFacts,
    memory: NarrowingMemory,
) -> SteeredState {
    let service = &steering.reader;
    let state = |is_steered, reason, message| SteeredState {
        is_steered,
        reason,
        message,
    };
    let not = |reason, message| state(Some(false), reason, message);
    let unread = || state(None, "Pending", format!("{service} has not been read yet"));
    let Some(name) = &world.steered_name else {
        return unread();
    };
    let (led, claim) = match &name.observed {
        ObservedName::Found { led, claim } => (led, claim),
        observed => {
            let problem = describe_problem(observed, steering);
            return problem.map_or_else(unread, |(reason, message)| not(reason, message));
        }
    };
    if name.is_operator_alone && !steering.rules.allows_single_operator {
        let message = format!(
            "{service} is not narrowed, as no other replica of the operator could widen it: run two, or set spec.dns.steering.allowSingleOperator"
        );
        return not("SingleOperator", message);
    }
    if steering.rules.is_cache_too_long(name.greatest_ttl) {
        let message = format!(
            "caches keep {service} for up to {} s, which spec.dns.steering.holdSeconds does not leave time for: lower the TTL, or raise it",
            steering.rules.cache_bound(name.greatest_ttl).as_secs()
        );
        return not("CacheTooLong", message);
    }
    if memory.is_given_up(facts.now) {
        let message = format!(
            "{service} was narrowed twice, and look-ups did not follow: check that DNS asks it, as docs/recipes/steered-name.md describes; meanwhile pods get what Aurora answers"
        );
        return not("NotLed", message);
    }
    match (claim, led) {
        (Some(claim), _) if claim.policy == facts.policy => state(
            Some(true),
            "Narrowed",
            format!("{service} leads to {} alone", claim.instance),
        ),
        (Some(claim), _) => state(
            Some(true),
            "Narrowed",
            format!(
                "{service} leads to {} alone, for the policy whose UID begins with {:?}",
                claim.instance,
                claim.policy.as_str()
            ),
        ),
        (None, Led::Aurora) => state(
            Some(true),
            "Ready",
            format!("{service} leads to Aurora's own answer, and can be narrowed"),
        ),
        (None, Led::Instance(_) | Led::Unknown) => not(
            "NotLed",
            format!(
                "{service} leads to something else than Aurora's reader endpoint, and the operator has not led it there: lead it to that endpoint"
            ),
        ),
    }
}

/// Describes why what stands under the name cannot be narrowed, as reason and message; `None` if it was not read.
fn describe_problem(
    observed: &ObservedName,
    steering: &SteeringPolicy,
) -> Option<(&'static str, String)> {
    let service = &steering.reader;
    let what = match steering.via {
        SteeringVia::Service => "an ExternalName Service",
        SteeringVia::Slice => "a headless Service without a selector",
    };
    Some(match observed {
        ObservedName::Unread | ObservedName::Found { .. } => return None,
        ObservedName::Missing => (
            "ServiceMissing",
            format!("Service {service} does not exist: create it as {what}"),
        ),
        ObservedName::WrongType => (
            "WrongType",
            format!("Service {service} has another type: it must be {what}"),
        ),
        ObservedName::HasSelector { .. } => (
            "HasSelector",
            format!(
                "Service {service} selects pods, so its addresses are not the operator's: remove its selector"
            ),
        ),
        ObservedName::ForeignSlice { .. } => (
            "ForeignSlice",
            format!(
                "Service {service} has an EndpointSlice that is not the operator's: remove that slice, as DNS mixes both"
            ),
        ),
        ObservedName::NotAllowed => (
            "NotAllowed",
            format!("the operator may not change {service}: list it in the chart's value steering"),
        ),
    })
}
