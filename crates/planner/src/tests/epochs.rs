//! Epochs: baseline, settling, raising, opening, and whom they concern.

use crate::open_epoch;
use crate::testing::{at, baseline, claim, look, quiet, record, target, unseen, view};
use crate::world::{TopologyState, World};
use crate::{Gate, Notice};
use dbbalance_api::spec::{Method, Mode};
use dbbalance_api::status::Trigger;

/// The world with another topology, settled and recorded at time 100.
fn changed(mut world: World, names: &str) -> World {
    world.topology = TopologyState::Current(view(names));
    record(record(world, 60), 100)
}

/// Opens the pending epoch at this time.
fn opened(mut world: World, second: i64) -> World {
    let opening = look(&world, second).open.expect("an epoch that opens");
    open_epoch(&mut world.status, opening.epoch, at(second + 1));
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
fn a_lost_status_counts_on_after_the_highest_stamp_or_claim() {
    let mut world = unseen(vec![target("web", Method::Signal)], 4);
    world.highest_stamp = Some(7);
    let plan = look(&world, 10);
    assert_eq!(plan.status.epoch, Some(8));
    assert!(matches!(plan.notices[..], [Notice::StatusLost(_)]));
    world.targets[0].pods[0].claim = Some(claim(9, 1, 0));
    assert_eq!(look(&world, 10).status.epoch, Some(10));
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
    world.topology = TopologyState::Current(other);
    let now = at(50) + jiff::SignedDuration::from_millis(300);
    let valid = crate::testing::parse_policy(&world);
    let plan = crate::plan(&world, &valid, now);
    assert_eq!(plan.status.epoch, Some(2));
    let target = &plan.status.targets[0];
    assert_eq!((target.baseline_epoch, target.due_epoch), (2, 2));
    assert_eq!(target.open_time.as_ref().unwrap().0, at(51));
}

#[test]
fn the_first_topology_is_epoch_one_and_recycles_nothing() {
    let world = unseen(vec![target("web", Method::Signal)], 4);
    let plan = look(&world, 0);
    assert!(matches!(plan.notices[..], [Notice::Baseline(_)]));
    let target = &plan.status.targets[0];
    assert_eq!(
        (plan.status.epoch, target.baseline_epoch, target.due_epoch),
        (Some(1), 1, 1)
    );
    assert_eq!(
        (target.pods, target.stale, plan.status.stale.as_deref()),
        (4, 0, Some("0/4"))
    );
    assert!(plan.targets[0].step.is_none() && plan.open.is_none());
}

#[test]
fn without_a_topology_nothing_is_counted() {
    let mut world = unseen(vec![target("web", Method::Signal)], 4);
    world.topology = TopologyState::Pending;
    world.policy.token = Some("t".into());
    let plan = look(&world, 0);
    assert_eq!(
        (plan.status.epoch, plan.status.recycle_requested),
        (None, None)
    );
    assert!(plan.notices.is_empty());
}

#[test]
fn a_change_settles_is_recorded_and_opens_in_a_later_pass() {
    let mut world = quiet(Method::Signal, 4);
    world.topology = TopologyState::Current(view("abcd"));
    let plan = look(&world, 50);
    assert_eq!((plan.gate(), plan.wake), (Some(Gate::Settle), Some(at(80))));
    let world = record(world, 50);
    assert!(look(&world, 79).notices.is_empty());
    let settled = look(&world, 80);
    assert!(settled.open.is_none(), "recorded before it opens");
    assert_eq!(
        settled.status.pending_epoch.as_ref().unwrap().triggers,
        [Trigger::ReaderAdded]
    );
    assert_eq!(settled.status.epoch, Some(1));
    let world = opened(record(world, 80), 81);
    let target = &world.status.targets[0];
    assert_eq!((world.status.epoch, target.due_epoch), (Some(2), 2));
    assert_eq!(target.open_time.as_ref().unwrap().0, at(82));
    assert_eq!(world.status.pending_epoch, None);
    let plan = look(&world, 82);
    assert_eq!(
        (plan.status.targets[0].stale, plan.status.stale.as_deref()),
        (4, Some("4/4"))
    );
}

#[test]
fn there_and_back_within_the_settle_time_raises_nothing() {
    let mut world = record(changed_to(quiet(Method::Signal, 4), "abcd"), 50);
    world = record(changed_to(world, "abc"), 70);
    world = record(changed_to(world, "abcd"), 75);
    assert!(look(&world, 100).status.pending_epoch.is_none());
    assert!(look(&world, 105).status.pending_epoch.is_some());
}

#[test]
fn an_epoch_takes_what_has_settled_and_the_rest_raises_the_next() {
    let world = record(changed_to(quiet(Method::Signal, 4), "bacd"), 50);
    let pending = world.status.pending_epoch.clone().unwrap();
    assert_eq!(pending.triggers, [Trigger::Failover]);
    assert_eq!(
        world.status.topology.as_ref().unwrap().writer.as_deref(),
        Some("b")
    );
    assert_eq!(world.status.topology.as_ref().unwrap().reader_count, 2);
    let world = opened(world, 51);
    assert_eq!(look(&world, 79).status.pending_epoch, None);
    let next = look(&world, 80).status.pending_epoch.unwrap();
    assert_eq!(
        (next.epoch, &next.triggers[..]),
        (3, &[Trigger::ReaderAdded][..])
    );
}

#[test]
fn epochs_are_counted_while_observed_suspended_and_paused() {
    let modes: [fn(&mut World); 3] = [
        |w| w.spec.mode = Mode::Observe,
        |w| w.spec.suspend = true,
        |w| w.policy.pause_until = Some("2099-01-01T00:00:00Z".into()),
    ];
    for set in modes {
        let mut world = quiet(Method::Signal, 4);
        set(&mut world);
        world.policy.token = Some("now".into());
        let world = opened(record(changed(world, "abcd"), 101), 102);
        assert_eq!(world.status.targets[0].due_epoch, 2);
        assert!(world.status.targets[0].triggers.contains(&Trigger::Manual));
        let world = record(record(world, 110), 111);
        assert_eq!(world.status.targets[0].run, None);
        assert!(look(&world, 112).targets[0].step.is_none());
        assert_eq!(world.status.stale.as_deref(), Some("4/4"));
    }
}

#[test]
fn a_token_at_first_sight_is_recorded_and_not_run_and_a_new_one_runs() {
    let mut world = unseen(vec![target("web", Method::Signal)], 4);
    world.policy.token = Some("old".into());
    let mut world = record(record(world, 0), 1);
    assert_eq!(world.status.recycle_requested.as_deref(), Some("old"));
    assert_eq!(world.status.pending_epoch, None);
    world.policy.token = Some("new".into());
    let world = record(world, 2);
    let pending = world.status.pending_epoch.as_ref().unwrap();
    assert_eq!(
        (&pending.triggers[..], &pending.targets[..]),
        (&[Trigger::Manual][..], &["web".to_owned()][..])
    );
    assert_eq!(world.status.recycle_requested.as_deref(), Some("new"));
    let world = opened(world, 3);
    assert_eq!(
        look(&world, 4).status.pending_epoch,
        None,
        "a token runs once"
    );
}

#[test]
fn a_token_during_a_pending_epoch_opens_with_it_once_that_is_recorded() {
    let mut world = changed(quiet(Method::Signal, 4), "abcd");
    world.policy.token = Some("t".into());
    let plan = look(&world, 101);
    assert_eq!(plan.open, None);
    let world = opened(record(world, 101), 102);
    assert_eq!(world.status.epoch, Some(2));
    assert_eq!(
        world.status.targets[0].triggers,
        [Trigger::ReaderAdded, Trigger::Manual]
    );
}

#[test]
fn a_token_that_is_taken_away_or_empty_does_nothing() {
    let mut world = quiet(Method::Signal, 4);
    world.status.recycle_requested = Some("t".into());
    assert_eq!(look(&world, 5).status.pending_epoch, None);
    world.policy.token = Some(String::new());
    assert_eq!(look(&world, 5).status.pending_epoch, None);
}

#[test]
fn a_target_with_writer_pools_alone_is_not_concerned_by_readers() {
    let mut writer = target("writer", Method::Signal);
    writer.pools.remove(0);
    let targets = vec![target("web", Method::Signal), writer];
    let world = opened(changed(baseline(unseen(targets, 4)), "abcd"), 101);
    let due: Vec<i64> = world.status.targets.iter().map(|t| t.due_epoch).collect();
    assert_eq!(due, [2, 1]);
    let world = opened(changed(world, "bacd"), 201);
    let due: Vec<i64> = world.status.targets.iter().map(|t| t.due_epoch).collect();
    assert_eq!(due, [3, 3]);
}

#[test]
fn a_disabled_trigger_counts_an_epoch_that_concerns_nobody_and_enabling_it_recycles_nothing() {
    let mut world = quiet(Method::Signal, 4);
    world.spec.triggers.reader_added.enabled = false;
    let mut world = opened(changed(world, "abcd"), 101);
    assert_eq!(
        (world.status.epoch, world.status.targets[0].due_epoch),
        (Some(2), 1)
    );
    world.spec.triggers.reader_added.enabled = true;
    assert_eq!(look(&world, 500).status, record(world.clone(), 500).status);
    assert_eq!(look(&world, 500).status.targets[0].stale, 0);
}

#[test]
fn a_replaced_cluster_is_urgent_and_concerns_every_target() {
    let mut world = quiet(Method::Signal, 4);
    let mut green = view("xyz");
    green.topology.resource.0 = "cluster-2".into();
    world.topology = TopologyState::Current(green);
    let world = opened(record(world, 50), 51);
    let target = &world.status.targets[0];
    assert_eq!((target.due_epoch, target.urgent_epoch), (2, 2));
    assert_eq!(target.triggers, [Trigger::Replaced]);
}

#[test]
fn the_urgent_epoch_stays_after_a_later_epoch_of_readers() {
    let world = opened(record(changed_to(quiet(Method::Signal, 4), "bac"), 50), 51);
    let world = opened(changed(world, "bacd"), 101);
    let target = &world.status.targets[0];
    assert_eq!((target.due_epoch, target.urgent_epoch), (3, 2));
    assert_eq!(target.urgent_open_time.as_ref().unwrap().0, at(52));
}

#[test]
fn a_new_name_or_reference_is_first_sight_again() {
    let world = opened(changed(quiet(Method::Signal, 4), "abcd"), 101);
    for rename in [true, false] {
        let mut world = world.clone();
        if rename {
            world.spec.targets[0].name = "other".into();
        } else {
            world.spec.targets[0].workload_ref.as_mut().unwrap().name = "other".into();
        }
        let target = look(&world, 110).status.targets.remove(0);
        assert_eq!(
            (target.baseline_epoch, target.due_epoch, target.stale),
            (2, 2, 0)
        );
    }
    assert_eq!(look(&world, 110).status.targets[0].stale, 4);
}

#[test]
fn ownership_that_is_regained_is_first_sight_again() {
    let mut world = opened(changed(quiet(Method::Signal, 4), "abcd"), 101);
    world.targets[0].owned_by = Some("older".into());
    let plan = look(&world, 102);
    assert!(matches!(plan.notices[..], [Notice::Conflict(_)]));
    let mut world = record(world, 102);
    assert!(look(&world, 103).notices.is_empty(), "said once");
    world.targets[0].owned_by = None;
    let target = look(&world, 104).status.targets.remove(0);
    assert_eq!((target.baseline_epoch, target.stale), (2, 0));
}

#[test]
fn a_workload_that_appears_later_is_at_the_baseline_of_that_moment() {
    let mut world = unseen(vec![target("web", Method::Signal)], 4);
    let workload = world.targets[0].workload.take();
    let mut world = opened(changed(baseline(world), "abcd"), 101);
    assert!(!world.status.targets[0].owned);
    world.targets[0].workload = workload;
    let target = look(&world, 110).status.targets.remove(0);
    assert_eq!(
        (target.owned, target.baseline_epoch, target.stale),
        (true, 2, 0)
    );
}

#[test]
fn opening_an_epoch_twice_or_another_one_changes_nothing() {
    let world = changed(quiet(Method::Signal, 4), "abcd");
    let mut status = world.status.clone();
    open_epoch(&mut status, 7, at(200));
    assert_eq!(status, world.status);
    open_epoch(&mut status, 2, at(200));
    let once = status.clone();
    open_epoch(&mut status, 2, at(300));
    assert_eq!(status, once);
}

/// The world with another topology.
fn changed_to(mut world: World, names: &str) -> World {
    world.topology = TopologyState::Current(view(names));
    world
}
