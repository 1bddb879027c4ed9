//! A reader that is being deleted: its connections leave before they are cut.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::steer::names;
use crate::testing::measured::{looks, measured, read};
use crate::testing::{look, record, verify, view};
use crate::world::{TopologyState, World};
use crate::{Plan, open_epoch};
use dbbalance_api::spec::Method;
use dbbalance_api::status::Trigger;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::topology::InstanceId;

const B: &[(&str, u16)] = &[("b", 10)];
const C: &[(&str, u16)] = &[("c", 10)];
const D: &[(&str, u16)] = &[("d", 10)];
const PODS: [&[(&str, u16)]; 12] = [B, B, B, B, C, C, C, C, D, D, D, D];

/// Readers b, c and d, of which the last leaves at time 110: it is being deleted, or is not listed.
fn leaves(is_deleting: bool) -> World {
    let mut world = measured(Method::Http, &PODS);
    world.topology = TopologyState::Current(view("abcd"));
    world.status.topology = Some(crate::epochs::record_topology(&view("abcd").topology));
    world.settling = SettlingChanges::default();
    verify(&mut world);
    let mut left = view("abc");
    if is_deleting {
        left.leaving = BTreeSet::from([InstanceId("d".into())]);
    }
    world.topology = TopologyState::Current(left);
    read(&mut world, 110, &PODS);
    named(&mut world, 110);
    world
}

/// The last looks: DNS names d still, and b last.
fn named(world: &mut World, second: i64) {
    looks(world, second, "b", "a");
    let mut view = (*world.dns).clone();
    let d = view.book.current_addresses(&InstanceId("d".into())).next();
    view.reader[3].address = d;
    view.reader[3].instance = Some(InstanceId("d".into()));
    world.dns = Arc::new(view);
}

fn triggers(plan: &Plan) -> Vec<Trigger> {
    let pending = plan.status.pending_epoch.as_ref();
    pending.map_or_else(Vec::new, |p| p.triggers.clone())
}

#[test]
fn a_reader_that_is_being_deleted_is_left_at_once_though_dns_still_names_it() {
    let mut world = leaves(true);
    assert_eq!(triggers(&look(&world, 110)), [Trigger::ReaderRemoved]);
    world = record(world, 110);
    named(&mut world, 111);
    let plan = look(&world, 111);
    let opening = plan.open.expect("no look of absence is waited for");
    world.status = plan.status;
    open_epoch(&mut world.status, opening.epoch, crate::testing::at(112));
    let mut moved = Vec::new();
    for second in 112..118 {
        read(&mut world, second, &PODS);
        named(&mut world, second);
        let plan = look(&world, second);
        world.status = plan.status.clone();
        moved = names(&plan).into_iter().map(str::to_owned).collect();
        if !moved.is_empty() {
            break;
        }
    }
    let all = ["web-10", "web-11", "web-8", "web-9"];
    moved.sort();
    assert_eq!(moved, all, "all of them, whatever maxUnavailable says");
}

#[test]
fn a_reader_that_is_not_listed_settles_as_long_as_the_policy_says() {
    let mut world = leaves(false);
    assert!(triggers(&look(&world, 110)).is_empty());
    world = record(world, 110);
    assert!(triggers(&look(&world, 139)).is_empty());
    assert_eq!(triggers(&look(&world, 140)), [Trigger::ReaderRemoved]);
}
