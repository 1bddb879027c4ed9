//! Finds the `PodDisruptionBudget`s that select the pods of a target.

use std::collections::{BTreeSet, HashSet};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use crate::controller::context::Context;
use dbbalance_api::spec::{Method, TargetSpec};
use dbbalance_core::disruption::DisruptionBudget;
use dbbalance_core::pod::PodFacts;

/// Returns the budgets that select some of these pods, which are a target's, sorted by name. None for methods that evict
/// nothing.
pub(super) fn find_disruption_budgets(
    spec: &TargetSpec,
    pods: &[PodFacts],
    namespace: &str,
    ctx: &Context,
) -> Vec<DisruptionBudget> {
    if spec.recycle.method != Method::Evict {
        return Vec::new();
    }
    let budgets = ctx.stores.disruption_budgets_in(namespace);
    let own: HashSet<&str> = pods.iter().map(|p| p.uid.as_str()).collect();
    let found = budgets.iter().filter_map(|budget| {
        let selector = selector_of(budget)?;
        let selected = pods.iter().filter(|p| selector.matches(&p.labels));
        let selected: BTreeSet<String> = selected.map(|p| p.uid.clone()).collect();
        if selected.is_empty() {
            return None;
        }
        let all = ctx.stores.pods_in(namespace);
        let others = all.iter().filter(|p| {
            let uid = p.metadata.uid.as_deref();
            let phase = p.status.as_ref().and_then(|s| s.phase.as_deref());
            selector.matches(p.labels())
                && !matches!(phase, Some("Succeeded" | "Failed"))
                && !uid.is_some_and(|uid| own.contains(uid))
        });
        let limits = budget.spec.as_ref()?;
        Some(DisruptionBudget {
            name: budget.name_any(),
            max_unavailable: limits.max_unavailable.clone(),
            min_available: limits.min_available.clone(),
            pods: selected,
            others: others.count(),
        })
    });
    let mut found: Vec<_> = found.collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Returns the selector of a budget; `None` selects nothing. An empty one selects every pod of the namespace.
fn selector_of(budget: &PodDisruptionBudget) -> Option<Selector> {
    let selector = budget.spec.as_ref()?.selector.clone()?;
    selector.try_into().ok()
}

#[cfg(test)]
mod tests;
