//! Budgets of disruption: what refuses every eviction is said before one is needed.

use super::*;
use dbbalance_core::disruption::DisruptionBudget;

/// A budget that selects these pods of the target, and so many others.
fn budget(name: &str, world: &World, pods: usize, others: usize) -> DisruptionBudget {
    let selected = world.targets[0].pods.iter().take(pods);
    DisruptionBudget {
        name: name.into(),
        max_unavailable: None,
        min_available: None,
        pods: selected.map(|p| p.uid.clone()).collect(),
        others,
    }
}

#[test]
fn a_budget_that_refuses_every_eviction_is_named_with_what_it_says() {
    let mut world = at_rest(Method::Evict, 4);
    let mut refusing = budget("web", &world, 4, 0);
    refusing.max_unavailable = Some(IntOrString::Int(0));
    world.targets[0].disruption_budgets = vec![refusing];
    let message = assert_unprepared(&world, DisruptionBudgetAllowsNone);
    assert!(
        message.starts_with("web: PodDisruptionBudget web has maxUnavailable: 0, so that"),
        "{message}"
    );
    world.targets[0].disruption_budgets[0].max_unavailable = Some(IntOrString::Int(1));
    assert_eq!(judge(&world, 10).reason, Prepared);
}

#[test]
fn pods_that_are_away_for_a_moment_do_not_change_what_a_budget_allows() {
    let mut world = at_rest(Method::Evict, 4);
    let mut three_of_four = budget("web", &world, 4, 0);
    three_of_four.min_available = Some(IntOrString::Int(3));
    world.targets[0].disruption_budgets = vec![three_of_four];
    world.targets[0].pods.pop();
    assert_eq!(judge(&world, 10).reason, Prepared);
    world.targets[0].workload.as_mut().unwrap().wanted = 3;
    let message = assert_unprepared(&world, DisruptionBudgetAllowsNone);
    assert!(message.contains("minAvailable: 3 of 3 pods"), "{message}");
    world.targets[0].disruption_budgets[0].others = 1;
    assert_eq!(judge(&world, 10).reason, Prepared, "another pod counts");
}

#[test]
fn two_budgets_of_one_pod_refuse_it() {
    let mut world = at_rest(Method::Evict, 4);
    let budgets = [("a", 4), ("b", 1)].map(|(name, pods)| {
        let mut budget = budget(name, &world, pods, 0);
        budget.max_unavailable = Some(IntOrString::Int(1));
        budget
    });
    world.targets[0].disruption_budgets = budgets.to_vec();
    let message = assert_unprepared(&world, DisruptionBudgetAllowsNone);
    assert!(
        message.contains("PodDisruptionBudgets a and b select the same pods"),
        "{message}"
    );
}

#[test]
fn a_budget_concerns_evictions_alone_and_pods_that_it_selects() {
    for (method, pods) in [
        (Method::Signal, 4),
        (Method::Rollout, 4),
        (Method::Evict, 0),
    ] {
        let mut world = at_rest(method, 4);
        let mut refusing = budget("web", &world, pods, 4);
        refusing.max_unavailable = Some(IntOrString::Int(0));
        world.targets[0].disruption_budgets = vec![refusing];
        assert_eq!(judge(&world, 10).reason, Prepared, "{method:?}");
    }
}
