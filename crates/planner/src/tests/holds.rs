//! Holds: each has an end, an escalation, or a condition that names it.

use crate::testing::{at, record, verified};
use crate::world::EffectBackoff;
use crate::{Gate, find_lasting_hold};
use dbbalance_api::spec::Method;
use dbbalance_api::status::{RunResult, Trigger};

#[test]
fn a_failover_that_a_disruption_budget_refuses_for_minutes_is_said_to_be_stalled() {
    // The budget allows no disruption, ever: every attempt is answered with 429, and put off by 10 s.
    let mut world = verified(Method::Evict, 4, Trigger::Failover);
    for second in (111..15_000).step_by(10) {
        world.targets[0].backoff = Some(EffectBackoff {
            gate: Gate::DisruptionBudget,
            message: "evicting pod shop/web-0: the budget web needs 4 healthy pods".to_owned(),
            until: at(second + 10),
        });
        world = record(world, second);
        let held = find_lasting_hold(&world.status, &world.spec, at(second));
        assert_eq!(held.is_some(), second >= 411, "at {second}: {held:?}");
        if let Some(held) = held {
            assert_eq!(held.reason, "EvictionsRefused");
            assert!(held.message.contains("budget web"), "{}", held.message);
        }
    }
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Running, "it is tried on");
}
