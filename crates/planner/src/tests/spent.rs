//! Pods that were recycled as often as a pod may be in a run: what they hold is left to them, until something
//! else is due.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::steer::{EVEN, changed, names};
use crate::testing::measured::{looks, measured, read};
use crate::testing::{UID, at, look, record, verify};
use crate::world::World;
use dbbalance_api::spec::Method;
use dbbalance_api::status::{RunResult, Trigger};
use dbbalance_core::stamp::{MoveCounter, PolicyMark};

/// A failover whose run has ended at 200, after each pod was recycled three times and still holds what it did.
fn spent() -> World {
    let mut world = measured(Method::Http, &EVEN);
    world = changed(world, "bac", Trigger::Failover);
    read(&mut world, 102, &EVEN);
    looks(&mut world, 103, "c", "b");
    world = record(world, 103);
    verify(&mut world);
    let run = world.status.targets[0].run.as_mut().unwrap();
    run.result = RunResult::Uneven;
    run.end_time = Some(Time(at(200)));
    let (epoch, start) = (run.epoch, run.start_time.0.as_second());
    for pod in &mut world.targets[0].pods {
        pod.moved = Some(MoveCounter {
            policy: PolicyMark::from_uid(UID),
            epoch,
            run: start,
            count: 3,
            time: at(190),
        });
    }
    world
}

fn seen(mut world: World, second: i64, writer: &str, reader: &str) -> World {
    read(&mut world, second, &EVEN);
    looks(&mut world, second, reader, writer);
    world
}

#[test]
fn no_run_after_the_other_is_begun_for_pods_that_no_recycle_helps() {
    let world = record(seen(spent(), 300, "b", "c"), 300);
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!(run.result, RunResult::Uneven);
    let plan = look(&world, 301);
    assert!(names(&plan).is_empty());
}

#[test]
fn a_failover_after_it_moves_them_once_more() {
    let world = changed(spent(), "cab", Trigger::Failover);
    let world = crate::testing::due_at(world, 3, 299, &[Trigger::Failover]);
    let world = record(seen(world, 300, "c", "a"), 300);
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!((run.result, run.epoch), (RunResult::Running, 3));
    assert!(!names(&look(&world, 301)).is_empty());
}

#[test]
fn after_an_hour_they_are_tried_again() {
    let world = record(seen(spent(), 3900, "b", "c"), 3900);
    let run = world.status.targets[0].run.as_ref().unwrap();
    assert_eq!((run.result, run.epoch), (RunResult::Running, 2));
}
