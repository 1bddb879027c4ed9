//! What API and DNS publish at each second of a script: time is a number here.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::inventory::InstanceRecord;
use super::super::published_state::{PublishedState, new_cluster};
use super::*;

fn instance_record(name: &str, status: &str) -> InstanceRecord {
    InstanceRecord {
        identifier: name.into(),
        resource_id: format!("db-{name}"),
        status: status.into(),
        class: "db.r6g.large".into(),
        engine: "aurora-postgresql".into(),
        cluster: Some("orders".into()),
        has_endpoint: false,
        port: 5432,
        zone: "eu-west-1a".into(),
        tier: 1,
        created: "2026-01-01T00:00:00Z".into(),
    }
}

/// A writer `a` and the readers `b` and `c`, all available and in the DNS.
fn three_instances() -> PublishedState {
    let mut published = PublishedState::default();
    published.add_cluster(new_cluster(
        "orders",
        "aurora-postgresql",
        "cluster-1".into(),
        "2026-01-01T00:00:00Z",
    ));
    for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
        published.add_instance(instance_record(name, "available"));
        let address = Ipv4Addr::new(198, 18, 0, 32 + u8::try_from(index).unwrap());
        published.apply("orders", &StateChange::Endpoint(name.into(), address));
        published.apply("orders", &StateChange::DnsReader(name.into(), index > 0));
    }
    published.apply("orders", &StateChange::DnsWriter("a".into()));
    published
}

/// What is published `seconds` after the script's start.
fn state_at(mut published: PublishedState, script: &[ScriptStep], seconds: f64) -> PublishedState {
    let now = Duration::from_secs_f64(seconds);
    for step in script.iter().filter(|step| step.after <= now) {
        if let ScriptAction::Say(word) = &step.what {
            published.apply("orders", word);
        }
    }
    published
}

fn database_actions(script: &[ScriptStep]) -> Vec<DatabaseAction> {
    script
        .iter()
        .filter_map(|step| match &step.what {
            ScriptAction::Do(act) => Some(act.clone()),
            ScriptAction::Say(_) => None,
        })
        .collect()
}

fn failover_roles() -> FailoverRoles<'static> {
    FailoverRoles {
        old: "a",
        target: "b",
        dead: false,
    }
}

fn writer_names(published: &PublishedState) -> Vec<&str> {
    published.inventory.clusters["orders"]
        .members
        .iter()
        .filter(|member| member.writer)
        .map(|member| member.instance.as_str())
        .collect()
}

fn dns_writer(published: &PublishedState) -> &str {
    published.dns_zone.clusters["orders"]
        .writer
        .as_deref()
        .unwrap()
}

#[test]
fn a_failover_tells_what_the_records_say_and_when() {
    let profile = TimingProfile::named("realistic").unwrap();
    let script = failover_script(&profile, &FailoverOptions::default(), failover_roles());
    let published = |seconds| state_at(three_instances(), &script, seconds);
    assert_eq!(
        published(0.1).inventory.clusters["orders"].status,
        "available"
    );
    assert_eq!(
        published(1.0).inventory.clusters["orders"].status,
        "failing-over"
    );
    assert_eq!(writer_names(&published(14.0)), ["a"]);
    assert_eq!(writer_names(&published(15.0)), ["b"]);
    // The API knows before the DNS, and the DNS before the cluster is available.
    assert_eq!(dns_writer(&published(15.0)), "a");
    assert_eq!(dns_writer(&published(17.0)), "b");
    assert_eq!(
        published(18.0).inventory.clusters["orders"].status,
        "failing-over"
    );
    assert_eq!(
        published(21.0).inventory.clusters["orders"].status,
        "available"
    );
    // Until the old writer is back, the reader endpoint may lead to the new writer.
    assert_eq!(
        published(21.0).dns_zone.clusters["orders"].readers,
        ["b", "c"]
    );
    assert_eq!(
        published(24.0).dns_zone.clusters["orders"].readers,
        ["c", "a"]
    );
    assert_eq!(
        database_actions(&script),
        [
            DatabaseAction::Stop("a".into()),
            DatabaseAction::Promote("b".into()),
            DatabaseAction::Rejoin("a".into())
        ]
    );
}

#[test]
fn between_its_return_and_the_dns_the_old_writer_is_reached_and_reads_only() {
    for name in TimingProfile::names() {
        let profile = TimingProfile::named(name).unwrap();
        let script = failover_script(&profile, &FailoverOptions::default(), failover_roles());
        let rejoined = script
            .iter()
            .find(|step| step.what == ScriptAction::Do(DatabaseAction::Rejoin("a".into())))
            .unwrap();
        let published = state_at(
            three_instances(),
            &script,
            rejoined.after.as_secs_f64() + 0.5,
        );
        assert_eq!(dns_writer(&published), "a", "{name}");
    }
}

#[test]
fn a_flicker_goes_new_old_new() {
    let profile = TimingProfile::named("realistic").unwrap();
    let options = FailoverOptions {
        flicker: true,
        ..FailoverOptions::default()
    };
    let script = failover_script(&profile, &options, failover_roles());
    let seen: Vec<String> = [16.0, 17.5, 20.5, 24.5, 25.5]
        .into_iter()
        .map(|seconds| dns_writer(&state_at(three_instances(), &script, seconds)).to_owned())
        .collect();
    assert_eq!(seen, ["a", "b", "a", "a", "b"]);
}

#[test]
fn the_dns_and_the_api_may_be_late() {
    let profile = TimingProfile::named("quick").unwrap();
    let options = FailoverOptions {
        dns_delay: Some(20.0),
        api_delay: Some(10.0),
        ..FailoverOptions::default()
    };
    let script = failover_script(&profile, &options, failover_roles());
    assert_eq!(dns_writer(&state_at(three_instances(), &script, 20.0)), "a");
    assert_eq!(dns_writer(&state_at(three_instances(), &script, 20.7)), "b");
    assert_eq!(
        writer_names(&state_at(three_instances(), &script, 10.0)),
        ["a"]
    );
    assert_eq!(
        writer_names(&state_at(three_instances(), &script, 10.7)),
        ["b"]
    );
}

#[test]
fn a_new_reader_is_creating_without_endpoint_then_available_then_in_the_dns() {
    let profile = TimingProfile::named("realistic").unwrap();
    let address = Ipv4Addr::new(198, 18, 0, 40);
    let script = create_script(&profile, "d", address, false, None);
    let mut start = three_instances();
    start.add_instance(instance_record("d", "creating"));
    let published = |seconds| state_at(start.clone(), &script, seconds);
    assert!(!published(7.0).inventory.instances["d"].has_endpoint);
    assert_eq!(published(7.0).inventory.instances["d"].status, "creating");
    assert_eq!(published(8.0).inventory.instances["d"].status, "available");
    assert!(published(8.0).inventory.instances["d"].has_endpoint);
    assert_eq!(published(8.0).dns_zone.instances["d"], address);
    assert_eq!(
        published(22.0).dns_zone.clusters["orders"].readers,
        ["b", "c"]
    );
    assert_eq!(
        published(23.0).dns_zone.clusters["orders"].readers,
        ["b", "c", "d"]
    );
}

#[test]
fn a_deleting_reader_leaves_the_dns_first_and_is_listed_to_the_end() {
    let profile = TimingProfile::named("realistic").unwrap();
    let script = delete_script(&profile, "b");
    let published = |seconds| state_at(three_instances(), &script, seconds);
    assert_eq!(published(0.0).inventory.instances["b"].status, "deleting");
    assert_eq!(published(3.0).dns_zone.clusters["orders"].readers, ["c"]);
    assert!(published(19.0).dns_zone.instances.contains_key("b"));
    assert!(!published(20.0).dns_zone.instances.contains_key("b"));
    assert_eq!(
        published(29.0).inventory.clusters["orders"].members.len(),
        3
    );
    assert_eq!(
        published(30.0).inventory.clusters["orders"].members.len(),
        2
    );
    assert!(!published(30.0).inventory.instances.contains_key("b"));
}

#[test]
fn a_dead_writer_is_not_stopped_again_and_a_dead_reader_restarts() {
    let profile = TimingProfile::named("quick").unwrap();
    assert_eq!(
        database_actions(&crash_script(&profile, "a", Some("b"))),
        [
            DatabaseAction::Promote("b".into()),
            DatabaseAction::Rejoin("a".into())
        ]
    );
    assert_eq!(
        database_actions(&crash_script(&profile, "c", None)),
        [DatabaseAction::Restart("c".into())]
    );
}

#[test]
fn a_writer_that_is_deleted_does_not_come_back() {
    let profile = TimingProfile::named("quick").unwrap();
    let script = handover_script(&profile, failover_roles());
    assert_eq!(
        database_actions(&script),
        [
            DatabaseAction::Stop("a".into()),
            DatabaseAction::Promote("b".into())
        ]
    );
    assert_eq!(
        state_at(three_instances(), &script, 60.0).dns_zone.clusters["orders"].readers,
        ["c"]
    );
}
