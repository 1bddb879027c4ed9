#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aws_sdk_rds::types::Endpoint;
use aws_sdk_rds::types::builders::DbClusterBuilder;

use super::*;

fn asked() -> ClusterId {
    ClusterId("orders".to_owned())
}

fn member(name: &str, writer: bool) -> DbClusterMember {
    DbClusterMember::builder()
        .db_instance_identifier(name)
        .is_cluster_writer(writer)
        .build()
}

fn cluster() -> DbClusterBuilder {
    DbCluster::builder()
        .db_cluster_identifier("orders")
        .db_cluster_arn("arn:aws:rds:eu-west-1:1:cluster:orders")
        .db_cluster_resource_id("cluster-A")
        .status("available")
        .engine("aurora-postgresql")
        .db_cluster_members(member("orders-1", true))
        .db_cluster_members(member("orders-2", false))
}

fn instance(name: &str) -> DbInstance {
    DbInstance::builder()
        .db_instance_identifier(name)
        .db_cluster_identifier("orders")
        .dbi_resource_id(format!("db-{name}"))
        .db_instance_status("available")
        .db_instance_class("db.r6g.large")
        .endpoint(Endpoint::builder().address(format!("{name}.x.rds")).build())
        .build()
}

fn instances() -> Vec<DbInstance> {
    vec![instance("orders-1"), instance("orders-2")]
}

fn read(
    cluster: DbClusterBuilder,
    instances: &[DbInstance],
) -> Result<ClusterReading, ReadingError> {
    build_reading(&asked(), &[cluster.build()], instances)
}

fn reason(result: &Result<ClusterReading, ReadingError>) -> &'static str {
    result
        .as_ref()
        .map_or_else(ReadingError::reason, |_| "whole")
}

#[test]
fn the_capacity_of_serverless_instances_is_read_from_their_cluster() {
    let scaling = aws_sdk_rds::types::ServerlessV2ScalingConfigurationInfo::builder()
        .min_capacity(0.5)
        .max_capacity(8.0)
        .build();
    let rows = vec![
        instance("orders-1"),
        DbInstance::builder()
            .db_instance_identifier("orders-2")
            .db_cluster_identifier("orders")
            .dbi_resource_id("db-orders-2")
            .db_instance_status("available")
            .db_instance_class("db.serverless")
            .build(),
    ];
    let reading = read(
        cluster().serverless_v2_scaling_configuration(scaling),
        &rows,
    )
    .unwrap();
    let capacities: Vec<_> = reading.members.values().map(|m| m.serverless).collect();
    let expected = ServerlessCapacity {
        min_half_units: 1,
        max_half_units: 16,
    };
    assert_eq!(capacities, [None, Some(expected)]);
}

#[test]
fn whole_answer_is_a_reading() {
    let reading = read(cluster(), &instances()).unwrap();
    assert_eq!(reading.writer.unwrap().instance.0, "orders-1");
    assert_eq!(reading.members.len(), 2);
    let reader = reading.members.values().last().unwrap();
    assert_eq!(reader.class.as_deref(), Some("db.r6g.large"));
    assert_eq!(reader.endpoint.as_deref(), Some("orders-2.x.rds"));
}

#[test]
fn identifiers_are_compared_without_regard_to_case() {
    let loud = cluster()
        .db_cluster_identifier("ORDERS")
        .set_db_cluster_members(Some(vec![
            member("Orders-1", true),
            member("ORDERS-2", false),
        ]));
    assert_eq!(
        read(loud, &instances()).unwrap(),
        read(cluster(), &instances()).unwrap()
    );
}

#[test]
fn rows_of_other_clusters_are_dropped() {
    let other = |i: DbInstance| {
        DbInstance::builder()
            .set_db_instance_identifier(i.db_instance_identifier)
            .db_cluster_identifier("orders-two")
            .build()
    };
    let mut all = instances();
    all.push(other(instance("stranger")));
    let clusters = [
        cluster().db_cluster_identifier("orders-two").build(),
        cluster().build(),
    ];
    assert_eq!(
        build_reading(&asked(), &clusters, &all)
            .unwrap()
            .members
            .len(),
        2
    );
}

#[test]
fn every_missing_field_makes_the_answer_not_whole() {
    let broken = vec![
        cluster().set_db_cluster_arn(None),
        cluster().set_db_cluster_resource_id(None),
        cluster().set_status(None),
        cluster().set_status(Some(" ".to_owned())),
        cluster().set_engine(None),
        cluster().set_db_cluster_members(None),
        cluster().db_cluster_members(DbClusterMember::builder().is_cluster_writer(false).build()),
        cluster().set_db_cluster_members(Some(vec![
            member("orders-1", true),
            DbClusterMember::builder()
                .db_instance_identifier("orders-2")
                .build(),
        ])),
        cluster().db_cluster_members(member("orders-2", false)),
    ];
    for cluster in broken {
        let shown = format!("{cluster:?}");
        assert_eq!(
            reason(&read(cluster, &instances())),
            "ReadingNotWhole",
            "{shown}"
        );
    }
}

#[test]
fn member_ids_must_equal_the_instance_list() {
    let extra = [instances(), vec![instance("orders-3")]].concat();
    let twice = [instances(), vec![instance("orders-2")]].concat();
    for rows in [vec![], vec![instance("orders-1")], extra, twice] {
        assert_eq!(
            reason(&read(cluster(), &rows)),
            "ReadingNotWhole",
            "{rows:?}"
        );
    }
}

#[test]
fn instance_without_resource_id_or_status_is_not_whole() {
    let bare = DbInstance::builder()
        .db_instance_identifier("orders-2")
        .db_cluster_identifier("orders");
    for row in [
        bare.clone().dbi_resource_id("db-2"),
        bare.db_instance_status("available"),
    ] {
        let rows = [instance("orders-1"), row.build()];
        assert_eq!(reason(&read(cluster(), &rows)), "ReadingNotWhole");
    }
}

#[test]
fn two_writers_are_never_whole() {
    let two = vec![member("orders-1", true), member("orders-2", true)];
    for status in ["available", "failing-over"] {
        let cluster = cluster()
            .status(status)
            .set_db_cluster_members(Some(two.clone()));
        assert_eq!(reason(&read(cluster, &instances())), "ReadingNotWhole");
    }
}

#[test]
fn no_writer_is_whole_only_while_failing_over() {
    let none = vec![member("orders-1", false), member("orders-2", false)];
    let read = |status: &str| {
        read(
            cluster()
                .status(status)
                .set_db_cluster_members(Some(none.clone())),
            &instances(),
        )
    };
    assert_eq!(read("failing-over").unwrap().writer, None);
    assert_eq!(reason(&read("available")), "ReadingNotWhole");
}

#[test]
fn other_engines_are_not_followed() {
    for engine in ["postgres", "mysql", "neptune", "docdb", "aurora"] {
        assert_eq!(
            reason(&read(cluster().engine(engine), &instances())),
            "NotAurora"
        );
    }
    assert!(read(cluster().engine("aurora-mysql"), &instances()).is_ok());
}

#[test]
fn deleting_and_unknown_clusters_are_not_found() {
    assert_eq!(
        reason(&read(cluster().status("deleting"), &instances())),
        "ClusterNotFound"
    );
    assert_eq!(
        reason(&build_reading(&asked(), &[], &instances())),
        "ClusterNotFound"
    );
}

#[test]
fn a_cluster_that_stops_is_stopped_or_starts_is_not_observed_whatever_its_instances_say() {
    for status in ["stopping", "stopped", "starting"] {
        let stopped = cluster().status(status);
        let row = stopped.clone().build();
        assert!(!is_followable(&row, &asked()), "{status}");
        assert_eq!(reason(&read(stopped, &instances())), "ClusterStopped");
    }
}

#[test]
fn endpoints_and_port_are_read_in_lower_case_and_may_be_missing() {
    let with = cluster()
        .endpoint("Orders.cluster-X.rds")
        .reader_endpoint("orders.cluster-ro-x.rds")
        .port(5432);
    let endpoints = read(with, &instances()).unwrap().endpoints;
    assert_eq!(endpoints.writer.as_deref(), Some("orders.cluster-x.rds"));
    assert_eq!(endpoints.reader.as_deref(), Some("orders.cluster-ro-x.rds"));
    assert_eq!(endpoints.port, Some(5432));
    let without = read(cluster().endpoint(""), &instances())
        .unwrap()
        .endpoints;
    assert_eq!(without, Endpoints::default());
}
