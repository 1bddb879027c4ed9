//! Describes the `PodDisruptionBudget`s of a target as the planner sees them, and decides which of them allow no eviction
//! whatever the health of the pods is.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pacing::resolve_rounded_up;

/// A `PodDisruptionBudget` that selects pods of a target, reduced to what decisions need.
#[derive(Clone, Debug, PartialEq)]
pub struct DisruptionBudget {
    /// Its name.
    pub name: String,
    /// `spec.maxUnavailable`.
    pub max_unavailable: Option<IntOrString>,
    /// `spec.minAvailable`.
    pub min_available: Option<IntOrString>,
    /// The UIDs of the target's pods that it selects.
    pub pods: BTreeSet<String>,
    /// How many other pods it selects.
    pub others: usize,
}

impl DisruptionBudget {
    /// Returns the field by which the budget refuses every eviction of its pods even when all of them are healthy, as it reads
    /// in YAML; `None` if it allows some. `expected`: how many of the target's pods it selects when all are there. Percentages
    /// round up, as in the disruption controller (`policy/v1`).
    #[must_use]
    pub fn find_refusal(&self, expected: usize) -> Option<String> {
        let expected = expected + self.others;
        let allows_none = |value: &IntOrString, refuses: fn(usize, usize) -> bool| {
            resolve_rounded_up(value, expected).is_some_and(|n| refuses(n, expected))
        };
        let most = self.max_unavailable.as_ref();
        if let Some(value) = most.filter(|v| allows_none(v, |n, _| n == 0)) {
            return Some(format!("maxUnavailable: {}", describe_value(value)));
        }
        let least = self.min_available.as_ref();
        let value = least.filter(|v| allows_none(v, |n, expected| n >= expected))?;
        Some(format!(
            "minAvailable: {} of {expected} pods",
            describe_value(value)
        ))
    }
}

fn describe_value(value: &IntOrString) -> String {
    match value {
        IntOrString::Int(n) => n.to_string(),
        IntOrString::String(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests;
