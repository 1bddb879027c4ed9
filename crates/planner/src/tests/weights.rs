//! Readers of different weights: what the policy asks for, what the status knows of them, and what is said.

use super::steer::{EVEN, changed, names};
use crate::testing::measured::{looks, measured, read};
use crate::testing::{at, look, record, verify};
use crate::world::{TopologyState, World};
use crate::{Notice, Plan};
use dbbalance_api::spec::{InstanceWeight, Method, SharesBy};
use dbbalance_api::status::{BalanceState, ReaderChangeStatus, ReaderDirection, Trigger};
use dbbalance_core::topology::InstanceId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// An even fleet on b and c that was measured, and is measured again at time 110.
fn even() -> World {
    let mut world = record(measured(Method::Signal, &EVEN), 1);
    verify(&mut world);
    read(&mut world, 110, &EVEN);
    world
}

fn weigh(world: &mut World, instance: &str, weight: i32) {
    world.spec.balance.weights = vec![InstanceWeight {
        instance: instance.into(),
        weight,
    }];
}

fn classes(world: &mut World, b: &str, c: Option<&str>) {
    let TopologyState::Current(view) = &mut world.topology else {
        panic!("it was read")
    };
    for (instance, class) in [("b", Some(b)), ("c", c)] {
        let facts = view.facts.get_mut(&InstanceId(instance.into())).unwrap();
        facts.class = class.map(str::to_owned);
    }
}

fn fights(plan: &Plan) -> usize {
    let fights = |n: &&Notice| matches!(n, Notice::WeightsFightDns(_));
    plan.notices.iter().filter(fights).count()
}

#[test]
fn a_weight_of_zero_empties_a_reader_and_says_what_that_costs() {
    let mut world = even();
    weigh(&mut world, "b", 0);
    looks(&mut world, 110, "c", "a");
    let first = look(&world, 110);
    assert_eq!(fights(&first), 1);
    world.status = first.status;
    let mut plan = None;
    for second in 111..116 {
        looks(&mut world, second, "c", "a");
        let next = look(&world, second);
        world.status = next.status.clone();
        plan = Some(next);
        if plan.iter().any(|p| !names(p).is_empty()) {
            break;
        }
    }
    let plan = plan.unwrap();
    assert_eq!(names(&plan), ["web-0", "web-1", "web-2"], "on b, a quarter");
    assert_eq!(fights(&plan), 0, "it is said once");
    let balance = &plan.status.balance[0];
    assert_eq!(balance.state, BalanceState::Unbalanced);
    assert_eq!((balance.lowest, balance.highest), (None, None));
    let wanted: Vec<_> = balance.shares.iter().map(|s| s.wanted_percent).collect();
    assert_eq!(
        wanted,
        [None, Some(0), Some(100)],
        "the writer has no share"
    );
    assert!(
        balance.message.contains("WeightsFightDNS"),
        "{}",
        balance.message
    );
}

#[test]
fn shares_follow_the_capacity_and_a_new_leader_knows_the_classes() {
    let mut world = even();
    world.spec.balance.shares = SharesBy::Capacity;
    classes(&mut world, "db.r6g.4xlarge", Some("db.r6g.large"));
    world = record(world, 110);
    let wanted = |world: &World, second| {
        let shares = look(world, second).status.balance[0].shares.clone();
        shares.iter().map(|s| s.wanted_percent).collect::<Vec<_>>()
    };
    assert_eq!(wanted(&world, 111), [None, Some(89), Some(11)]);
    // It has not read the cluster yet.
    world.topology = TopologyState::Pending;
    assert_eq!(wanted(&world, 112), [None, Some(89), Some(11)]);
    let memory = |world: &World| world.status.targets[0].balance.clone().unwrap().weights;
    let before = memory(&world);
    assert_eq!(
        memory(&record(world, 113)),
        before,
        "no episode by a restart"
    );
}

#[test]
fn a_class_that_is_not_known_leaves_shares_equal_and_is_the_reason() {
    let mut world = even();
    world.spec.balance.shares = SharesBy::Capacity;
    classes(&mut world, "db.r6g.4xlarge", None);
    let plan = look(&world, 110);
    let balance = &plan.status.balance[0];
    assert_eq!(
        (balance.state, balance.reason.as_str()),
        (BalanceState::Balanced, "CapacityUnknown")
    );
    assert!(
        balance.message.contains("c (class unknown)"),
        "{}",
        balance.message
    );
    assert!(
        plan.status.targets[0]
            .balance
            .as_ref()
            .unwrap()
            .episode
            .is_none()
    );
}

#[test]
fn where_shares_are_equal_no_class_is_recorded() {
    let world = record(even(), 110);
    let members = &world.status.topology.as_ref().unwrap().members;
    assert!(members.iter().all(|m| m.class.is_none()));
}

#[test]
fn a_new_reader_gets_a_quarter_at_first_and_more_with_time() {
    let mut world = changed(even(), "abcd", Trigger::ReaderAdded);
    world.spec.balance.ramp_seconds = 600;
    world.status.reader_changes = vec![ReaderChangeStatus {
        instance: "d".into(),
        direction: ReaderDirection::Added,
        time: Time(at(100)),
    }];
    read(&mut world, 110, &EVEN);
    let wanted = |plan: &Plan| {
        let shares = &plan.status.balance[0].shares;
        shares.iter().map(|s| s.wanted_percent).collect::<Vec<_>>()
    };
    let plan = look(&world, 110);
    assert_eq!(wanted(&plan), [None, Some(44), Some(44), Some(11)]);
    assert!(
        plan.wake.is_some_and(|at_| at_ <= at(300)),
        "for the next part"
    );
    read(&mut world, 700, &EVEN);
    assert_eq!(wanted(&look(&world, 700)), [None, None, None, None]);
}
