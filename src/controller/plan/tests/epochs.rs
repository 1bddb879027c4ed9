//! Epochs: baseline, settling, raising, opening, and whom they concern.

use crate::api::spec::Method;
use crate::api::status::Trigger;
use crate::controller::plan::epochs::open;
use crate::controller::plan::testing::{at, look, quiet, record, view};
use crate::controller::world::{Reading, World};

/// The world with another topology, settled and recorded at time 100.
fn changed(mut world: World, names: &str) -> World {
    world.reading = Reading::Current(view(names));
    record(record(world, 60), 100)
}

/// Opens the pending epoch at this time.
fn opened(mut world: World, second: i64) -> World {
    let opening = look(&world, second).open.expect("an epoch that opens");
    open(&mut world.status, opening.epoch, at(second + 1));
    world
}

#[test]
fn a_disabled_failover_beside_a_new_reader_gives_no_privilege() {
    let mut world = quiet(Method::Signal, 4);
    world.spec.triggers.failover.enabled = false;
    world.spec.triggers.failover.settle_seconds = 30;
    let world = opened(changed(world, "bacd"), 101);
    let target = &world.status.targets[0];
    assert_eq!((target.due_epoch, target.urgent_epoch), (2, 0));
    assert_eq!(target.triggers, [Trigger::ReaderAdded]);
}

#[test]
fn at_its_opening_an_epoch_shows_every_pod_stale() {
    let world = opened(changed(quiet(Method::Signal, 4), "ba"), 101);
    assert_eq!(
        (world.status.epoch, world.status.targets[0].stale),
        (Some(2), 4)
    );
    assert_eq!(world.status.stale.as_deref(), Some("4/4"));
}

#[test]
fn a_status_that_lost_its_topology_alone_counts_on() {
    let mut world = quiet(Method::Signal, 4);
    world.status.epoch = Some(12);
    world.status.topology = None;
    assert_eq!(look(&world, 10).status.epoch, Some(13));
}

#[test]
fn another_reference_is_not_concerned_by_an_epoch_that_was_pending_before_it() {
    let mut world = changed(quiet(Method::Signal, 4), "abcd");
    assert_eq!(
        world.status.pending_epoch.as_ref().unwrap().targets,
        ["web"]
    );
    world.spec.targets[0].workload_ref.as_mut().unwrap().name = "other".into();
    let world = opened(record(world, 101), 102);
    assert_eq!(world.status.epoch, Some(2));
    assert_eq!(world.status.targets[0].due_epoch, 1);
}

#[test]
fn another_cluster_is_a_new_baseline_in_whole_seconds() {
    let mut world = quiet(Method::Signal, 4);
    let mut other = view("xy");
    other.topology.arn = "arn:other".into();
    world.reading = Reading::Current(other);
    let now = at(50) + jiff::SignedDuration::from_millis(300);
    let valid = crate::controller::validate::validate(&world);
    let plan = crate::controller::plan::plan(&world, &valid, now);
    assert_eq!(plan.status.epoch, Some(2));
    let target = &plan.status.targets[0];
    assert_eq!((target.baseline_epoch, target.due_epoch), (2, 2));
    assert_eq!(target.open_time.as_ref().unwrap().0, at(51));
}
