#![allow(clippy::panic)]
use serde_json::{Value, json};

use super::super::observe_world;
use crate::controller::testing::{add_deployment, context, policy};
use crate::k8s::watch::testing::FilledStores;
use dbbalance_api::spec::{DbBalancePolicy, Method};
use dbbalance_core::disruption::DisruptionBudget;

fn budget(namespace: &str, name: &str, selector: &Value) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"minAvailable": 2, "selector": selector},
    })
}

/// What a pass sees of the budgets of a target of two pods, beside another Deployment of three.
async fn observe(policy: &DbBalancePolicy) -> Vec<DisruptionBudget> {
    let mut stores = FilledStores::new();
    add_deployment(&mut stores, "shop", "web", 2);
    add_deployment(&mut stores, "shop", "jobs", 3);
    let labels = |app: &str| json!({"matchLabels": {"app": app}});
    stores.disruption_budget(budget("shop", "web", &labels("web")));
    stores.disruption_budget(budget("shop", "all", &json!({})));
    stores.disruption_budget(budget("shop", "jobs", &labels("jobs")));
    stores.disruption_budget(budget("shop", "none", &Value::Null));
    stores.disruption_budget(budget("dev", "web", &labels("web")));
    let ctx = context(stores.stores.clone(), true);
    ctx.state
        .update(policy.metadata.uid.as_deref().unwrap_or_default(), |_| {});
    let observed = observe_world(policy, &ctx).await;
    let (_, world) = observed.unwrap_or_else(|e| panic!("{e}"));
    world.targets[0].disruption_budgets.clone()
}

#[tokio::test(start_paused = true)]
async fn the_budgets_of_the_namespace_that_select_a_targets_pods_are_seen_with_whom_else_they_select()
 {
    let found = observe(&policy("shop", "mine", "web", 10)).await;
    let seen: Vec<_> = found
        .iter()
        .map(|b| (b.name.as_str(), b.pods.len(), b.others))
        .collect();
    assert_eq!(seen, [("all", 2, 3), ("web", 2, 0)]);
}

#[tokio::test(start_paused = true)]
async fn budgets_do_not_matter_to_a_method_that_evicts_nothing() {
    let mut policy = policy("shop", "mine", "web", 10);
    policy.spec.targets[0].recycle.method = Method::Annotate;
    assert!(observe(&policy).await.is_empty());
}
