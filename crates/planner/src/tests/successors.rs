//! Measured failovers: what successors hold holds the others, and what fails on some pods does not.

use super::steer::changed;
use crate::testing::measured::{looks, measured, read_one, sockets};
use crate::testing::{at, claim, look, pod, record, since_claim, verify};
use crate::world::World;
use crate::{Gate, Plan};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Three connections on the writer since the failover, and seven where they belong.
const SOME: &[(&str, u16)] = &[("b", 3), ("c", 7)];

/// A failover from a to b whose run has begun at 110, with these pods.
fn failed_over(method: Method, pods: usize) -> World {
    let mut world = changed(
        measured(method, &vec![SOME; pods]),
        "bac",
        Trigger::Failover,
    );
    for index in 0..pods {
        read_one(&mut world, 110, index, &sockets(1000, SOME));
    }
    looks(&mut world, 110, "c", "b");
    record(world, 110)
}

/// The same after the first pod was evicted, whose successor holds these connections.
fn succeeded(held: &[(&str, u16)]) -> Plan {
    let mut world = failed_over(Method::Evict, 4);
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.last_step_time = Some(Time(at(112)));
    world.targets[0].pods[0] = pod("web-new", 114);
    for index in 1..4 {
        read_one(&mut world, 130, index, &sockets(1000, SOME));
    }
    read_one(&mut world, 130, 0, &sockets(3000, held));
    looks(&mut world, 131, "c", "b");
    look(&world, 131)
}

#[test]
fn a_successor_that_is_worse_off_than_its_predecessor_holds_the_next_eviction() {
    let plan = succeeded(&[("b", 4), ("c", 6)]);
    assert_eq!(plan.gate(), Some(Gate::Canary), "{}", plan.why());
    assert!(
        plan.why()
            .contains("web-new, the successor of the first pod, holds 4"),
        "{}",
        plan.why()
    );
    for held in [&[("c", 10)][..], SOME] {
        let plan = succeeded(held);
        let verified = plan.status.targets[0].method_verified.is_some();
        assert!(verified, "{held:?}: {}", plan.why());
    }
}

#[test]
fn a_measured_failover_goes_on_with_pods_that_were_not_tried_when_too_many_others_have_failed() {
    let mut world = failed_over(Method::Http, 4);
    verify(&mut world);
    for index in 0..2 {
        let failed = claim(2, 3, 115);
        world.targets[0].pods[index].since_claim = Some(since_claim(&failed, true));
        world.targets[0].pods[index].claim = Some(failed);
    }
    for index in 0..4 {
        read_one(&mut world, 130, index, &sockets(1000, SOME));
    }
    looks(&mut world, 131, "c", "b");
    let plan = look(&world, 131);
    assert_eq!(plan.takes(), ["web-2", "web-3"], "{}", plan.why());
    for index in 2..4 {
        let failed = claim(2, 3, 132);
        world.targets[0].pods[index].since_claim = Some(since_claim(&failed, true));
        world.targets[0].pods[index].claim = Some(failed);
    }
    looks(&mut world, 136, "c", "b");
    let plan = look(&world, 136);
    assert_eq!(
        plan.gate(),
        Some(Gate::Halted),
        "nobody is left: {}",
        plan.why()
    );
}
