//! A cluster that the policy's namespace may not name.

use crate::Gate;
use crate::policy::{Policy, PolicyFindings};
use crate::testing::{due, look};
use crate::world::{TopologyError, TopologyState};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;

#[test]
fn nothing_is_shown_and_nothing_done_on_a_cluster_that_is_not_allowed() {
    let mut world = due(Method::Evict, 4, Trigger::Failover);
    world.status.balance = vec![serde_json::from_value(serde_json::json!({
        "target": "web", "state": "Balanced", "reason": "Balanced", "message": "a, b, c", "source": "ProcNet",
        "measuredPods": "4/4", "misplaced": {},
    }))
    .unwrap()];
    world.cluster_allowed = false;
    world.topology = TopologyState::Failing {
        error: TopologyError {
            reason: TopologyError::CLUSTER_NOT_ALLOWED,
            message: "not allowed".into(),
        },
        last: None,
    };
    let plan = look(&world, 111);
    assert_eq!(plan.gate(), Some(Gate::InvalidSpec));
    assert!(plan.targets[0].step.is_none());
    assert_eq!(plan.status.topology, None);
    assert_eq!(plan.status.pending_epoch, None);
    assert!(plan.status.balance.is_empty());

    let Err(problems) = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world)) else {
        panic!("the policy has no problem");
    };
    assert_eq!(problems.list[0].reason, "ClusterNotAllowed");
    let message = &problems.list[0].message;
    assert!(
        message.contains("namespace shop may not name cluster"),
        "{message}"
    );
    assert!(message.contains("chart value clusters"), "{message}");
}
