//! Calls and refusals of the fleet, without databases.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::super::cluster_faults::ClusterFaults;
use super::super::databases::NoDatabases;
use super::super::inventory::{ControlPlane as _, NewCluster, NewInstance};
use super::*;
use crate::wait;

fn cluster_spec() -> AuroraClusterSpec {
    AuroraClusterSpec {
        cluster: "orders".into(),
        readers: 2,
        profile: "quick".into(),
        max_connections: 100,
    }
}

fn fleet_of_three() -> Fleet {
    let fleet = Fleet::new(Box::new(NoDatabases), "quick");
    fleet.start_cluster(&cluster_spec()).unwrap();
    fleet
}

fn wait_idle(fleet: &Fleet) {
    wait::poll_until("an idle cluster", Duration::from_secs(20), || {
        Ok(fleet.status().clusters[0].busy.is_empty().then_some(()))
    })
    .unwrap();
}

fn api_writers(fleet: &Fleet) -> Vec<String> {
    let members = fleet.inventory().clusters["orders"].members.clone();
    members
        .into_iter()
        .filter(|member| member.writer)
        .map(|member| member.instance)
        .collect()
}

#[test]
fn a_cluster_is_told_as_a_whole() {
    let fleet = fleet_of_three();
    let inventory = fleet.inventory();
    assert_eq!(inventory.instances.len(), 3);
    assert!(inventory.instances.values().all(|row| row.has_endpoint));
    assert_eq!(api_writers(&fleet), ["orders-1"]);
    let names = fleet.dns_zone().clusters["orders"].clone();
    assert_eq!(names.writer.as_deref(), Some("orders-1"));
    assert_eq!(names.readers, ["orders-2", "orders-3"]);
    assert!(
        fleet.start_cluster(&cluster_spec()).is_err(),
        "there is one already"
    );
}

#[test]
fn a_failover_ends_with_the_roles_swapped_and_a_second_one_is_refused_meanwhile() {
    let fleet = fleet_of_three();
    fleet.failover("orders", Some("orders-3")).unwrap();
    let refused = fleet.failover("orders", None).unwrap_err();
    assert_eq!(refused.code, "InvalidDBClusterStateFault");
    wait_idle(&fleet);
    assert_eq!(api_writers(&fleet), ["orders-3"]);
    let names = fleet.dns_zone().clusters["orders"].clone();
    assert_eq!(names.writer.as_deref(), Some("orders-3"));
    assert_eq!(names.readers, ["orders-2", "orders-1"]);
    // The lowest tier, then the first name.
    fleet.failover("orders", None).unwrap();
    wait_idle(&fleet);
    assert_eq!(api_writers(&fleet), ["orders-1"]);
}

#[test]
fn the_reader_endpoint_leaves_a_reader_out_for_as_long_as_it_is_told() {
    let fleet = fleet_of_three();
    let readers = || fleet.dns_zone().clusters["orders"].readers.clone();
    fleet.set_dns_reader("orders-2", false).unwrap();
    assert_eq!(readers(), ["orders-3"]);
    fleet.set_dns_reader("orders-2", true).unwrap();
    assert_eq!(readers(), ["orders-3", "orders-2"]);
    assert!(
        fleet.set_dns_reader("orders-1", true).is_err(),
        "the writer"
    );
    assert!(fleet.set_dns_reader("none", false).is_err());
}

#[test]
fn what_is_not_there_or_not_fit_is_refused_by_the_real_code() {
    let fleet = fleet_of_three();
    let code = |fault: super::super::inventory::ApiError| (fault.status, fault.code);
    assert_eq!(
        code(fleet.failover("none", None).unwrap_err()),
        (404, "DBClusterNotFoundFault")
    );
    assert_eq!(
        code(fleet.failover("orders", Some("none")).unwrap_err()),
        (404, "DBInstanceNotFound")
    );
    assert_eq!(
        code(fleet.failover("orders", Some("orders-1")).unwrap_err()),
        (400, "InvalidDBClusterStateFault")
    );
    assert_eq!(
        code(fleet.delete_cluster("orders").unwrap_err()),
        (400, "InvalidDBClusterStateFault")
    );
    assert_eq!(
        code(fleet.reboot("none").unwrap_err()),
        (404, "DBInstanceNotFound")
    );
    assert_eq!(
        code(fleet.delete_instance("none").unwrap_err()),
        (404, "DBInstanceNotFound")
    );
}

#[test]
fn the_api_can_make_and_unmake_a_cluster() {
    let fleet = Fleet::new(Box::new(NoDatabases), "quick");
    let engine = "aurora-postgresql".to_owned();
    let new = NewCluster {
        identifier: "orders".into(),
        engine: engine.clone(),
    };
    fleet.create_cluster(&new).unwrap();
    for name in ["one", "two"] {
        let told = fleet
            .create_instance(&NewInstance {
                identifier: name.into(),
                cluster: Some("orders".into()),
                class: "db.r6g.large".into(),
                engine: engine.clone(),
                tier: 1,
            })
            .unwrap();
        assert_eq!(
            (told.status.as_str(), told.has_endpoint),
            ("creating", false)
        );
        wait_idle(&fleet);
    }
    assert_eq!(api_writers(&fleet), ["one"]);
    assert_eq!(fleet.dns_zone().clusters["orders"].readers, ["two"]);
    // The writer's deletion makes another writer first.
    fleet.delete_instance("one").unwrap();
    wait_idle(&fleet);
    assert_eq!(api_writers(&fleet), ["two"]);
    fleet.delete_instance("two").unwrap();
    wait_idle(&fleet);
    assert_eq!(fleet.dns_zone().clusters["orders"].writer, None);
    fleet.delete_cluster("orders").unwrap();
    assert!(fleet.inventory().clusters.is_empty());
}

#[test]
fn a_replaced_cluster_has_the_same_names_and_other_ids() {
    let fleet = fleet_of_three();
    let before = fleet.inventory();
    fleet.replace("orders").unwrap();
    let after = fleet.inventory();
    let id = |inventory: &super::super::inventory::Inventory, name: &str| {
        inventory.clusters[name].resource_id.clone()
    };
    assert_ne!(id(&before, "orders"), id(&after, "orders"));
    assert_eq!(id(&before, "orders"), id(&after, "orders-old1"));
    assert_ne!(
        before.instances["orders-2"].resource_id,
        after.instances["orders-2"].resource_id
    );
    fleet.remove_cluster("orders").unwrap();
    assert!(
        fleet.inventory().clusters.is_empty(),
        "the old one goes too"
    );
}

#[test]
fn faults_are_of_one_cluster_and_end_when_cleared() {
    let fleet = fleet_of_three();
    let none = ClusterFaults {
        writers: Some(0),
        ..ClusterFaults::default()
    };
    fleet.set_faults("orders", none).unwrap();
    assert!(api_writers(&fleet).is_empty());
    fleet
        .set_faults("orders", ClusterFaults::default())
        .unwrap();
    assert_eq!(api_writers(&fleet), ["orders-1"]);
    assert!(fleet.set_faults("none", ClusterFaults::default()).is_err());
}
