//! Holds: each has an end, an escalation, or a condition that names it.

use std::sync::Arc;

use crate::testing::{at, dns_view, due_at, look, quiet, record, verified, verify, view};
use crate::world::{EffectBackoff, TopologyState};
use crate::{Gate, Notice, find_lasting_hold};
use dbbalance_api::spec::{DnsSpec, Endpoint, Method};
use dbbalance_api::status::{RunResult, Trigger};

#[test]
fn the_writers_of_a_failover_do_not_wait_without_end_for_a_reader_that_does_not_come_back() {
    // Two instances; the zone of the old writer is gone. RDS lists it as a reader that reboots, for hours, and the reader
    // endpoint leads to the only instance that serves. Target `web` has pools on both endpoints; its writers are broken.
    let mut world = quiet(Method::Signal, 4);
    world.spec.dns = DnsSpec::default();
    world.topology = TopologyState::Current(view("ab"));
    world = record(record(world, 1), 32);
    world.status.pending_epoch = None;
    world.topology = TopologyState::Current(view("ba"));
    world = record(world, 100);
    let answers = |second| Arc::new(dns_view(second, &"b".repeat(8), &"b".repeat(8)));
    world.dns = answers(120);
    let opening = look(&world, 120).open.unwrap();
    crate::open_epoch(&mut world.status, opening.epoch, at(120));
    verify(&mut world);
    let mut said = 0;
    for second in (121..4000).step_by(10) {
        world.dns = answers(second);
        let plan = look(&world, second);
        let late = |n: &&Notice| matches!(n, Notice::DnsLate(_));
        said += plan.notices.iter().filter(late).count();
        if !plan.takes().is_empty() {
            assert!((420..440).contains(&second), "at {second}");
            let action = &plan.targets[0].action;
            assert!(action.contains("by the cluster endpoint alone"), "{action}");
            assert_eq!(said, 1, "{:?}", plan.notices);
            return;
        }
        world.status = plan.status;
        world.settling = plan.settling;
    }
    panic!("nothing is done for the writers: {:?}", world.status.plan);
}

#[test]
fn reader_pools_that_wait_for_dns_after_a_failover_are_said_to_be_late_once_and_by_a_condition() {
    let mut world = quiet(Method::Signal, 4);
    world.spec.dns = DnsSpec::default();
    world.spec.targets[0]
        .pools
        .retain(|p| p.endpoint == Endpoint::Reader);
    let mut world = due_at(world, 2, 100, &[Trigger::Failover]);
    let mut said = 0;
    for second in (110..1000).step_by(10) {
        world.dns = Arc::new(dns_view(second, &"a".repeat(8), &"a".repeat(8)));
        let plan = look(&world, second);
        assert!(plan.takes().is_empty(), "at {second}");
        let late = |n: &&Notice| matches!(n, Notice::DnsLate(_));
        said += plan.notices.iter().filter(late).count();
        world.status = plan.status;
        let held = find_lasting_hold(&world.status, &world.spec, at(second));
        assert_eq!(held.is_some(), second >= 400, "at {second}: {held:?}");
        if let Some(held) = held {
            assert_eq!(held.reason, "DNSNotFollowed");
            assert!(held.message.contains("within 300 s"), "{}", held.message);
        }
    }
    assert_eq!(said, 1);
}

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
