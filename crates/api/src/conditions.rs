//! Defines the types of conditions, and sets conditions in a status.
//!
//! `lastTransitionTime` changes only with `status`. A condition that says the same is not rewritten, so that the
//! status of an idle policy is never written.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::VariantArray;

use crate::text::strip_control;

/// The longest message that the API accepts for `metav1.Condition`.
const MAX_MESSAGE_BYTES: usize = 32_768;

/// The type of a condition.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::Display,
)]
pub enum ConditionType {
    /// The spec is valid, the targets were found and the topology was read.
    Ready,
    /// The last readings of the topology were whole.
    TopologyObserved,
    /// A failover that came now would be carried through.
    Prepared,
    /// No counted pod is stale, by its stamp.
    Fresh,
    /// Measured connections are even. Unknown without evidence.
    Balanced,
    /// The name of `spec.dns.steering` can be narrowed, or is. Present only with steering.
    Steered,
    /// Nothing of the policy is left on the readers that a user drains. Present only while a drain is asked for.
    Drained,
    /// A run is in progress.
    Recycling,
    /// kstatus: the operator is working towards the spec. Present only while True.
    Reconciling,
    /// kstatus: the operator cannot continue until a user acts. Present only while True.
    Stalled,
}

impl ConditionType {
    /// All types, in the order in which the status shows them.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the type as the status shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum ConditionStatus {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// It is not known whether the condition holds.
    Unknown,
}

impl ConditionStatus {
    /// Returns the word that the status shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// The content of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConditionState<'a> {
    /// Whether the condition holds.
    pub status: ConditionStatus,
    /// The reason: one word in `CamelCase`.
    pub reason: &'a str,
    /// The reason as a sentence, with figures. Messages longer than the API accepts are truncated.
    pub message: &'a str,
}

/// Sets a condition, keeping `lastTransitionTime` while the status stays the same.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    state: ConditionState,
    generation: Option<i64>,
    now: Timestamp,
) {
    let ConditionState {
        status,
        reason,
        message,
    } = state;
    let message = strip_control(message);
    let message = truncate_text(&message, MAX_MESSAGE_BYTES);
    let found = conditions.iter_mut().find(|c| c.type_ == type_.as_str());
    match found {
        Some(old) => {
            if old.status != status.as_str() {
                old.last_transition_time = Time(now);
                status.as_str().clone_into(&mut old.status);
            }
            reason.clone_into(&mut old.reason);
            message.clone_into(&mut old.message);
            old.observed_generation = generation;
        }
        None => conditions.push(Condition {
            type_: type_.as_str().to_owned(),
            status: status.as_str().to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            last_transition_time: Time(now),
            observed_generation: generation,
        }),
    }
}

/// Removes a condition.
pub fn remove_condition(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|c| c.type_ != type_.as_str());
}

/// Finds a condition.
#[must_use]
pub fn find_condition(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == type_.as_str())
}

/// Truncates a text at a character boundary.
#[must_use]
pub fn truncate_text(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let mut end = max_bytes;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap_or_default()
    }

    #[test]
    fn transition_time_stays_while_the_status_stays() {
        let mut c = Vec::new();
        set_condition(
            &mut c,
            ConditionType::Fresh,
            ConditionState {
                status: ConditionStatus::True,
                reason: "A",
                message: "a",
            },
            Some(1),
            at(1),
        );
        set_condition(
            &mut c,
            ConditionType::Fresh,
            ConditionState {
                status: ConditionStatus::True,
                reason: "B",
                message: "b",
            },
            Some(2),
            at(2),
        );
        assert_eq!(c[0].last_transition_time, Time(at(1)));
        assert_eq!(
            (c[0].reason.as_str(), c[0].observed_generation),
            ("B", Some(2))
        );
        set_condition(
            &mut c,
            ConditionType::Fresh,
            ConditionState {
                status: ConditionStatus::False,
                reason: "C",
                message: "c",
            },
            Some(2),
            at(3),
        );
        assert_eq!(c[0].last_transition_time, Time(at(3)));
        assert_eq!(c.len(), 1);
    }

    #[test]
    fn a_text_is_cut_at_a_character_boundary() {
        assert_eq!(truncate_text("aü", 2), "a");
        assert_eq!(truncate_text("aü", 3), "aü");
    }
}
