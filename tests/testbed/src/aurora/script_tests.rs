//! What API and DNS tell at which second of a script: time is a number here.

#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::estate::Instance;
use super::super::told::{Told, new_cluster};
use super::*;

fn instance(name: &str, status: &str) -> Instance {
    Instance {
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
fn three() -> Told {
    let mut told = Told::default();
    told.found(new_cluster(
        "orders",
        "aurora-postgresql",
        "cluster-1".into(),
        "2026-01-01T00:00:00Z",
    ));
    for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
        told.listed(instance(name, "available"));
        let address = Ipv4Addr::new(198, 18, 0, 32 + u8::try_from(index).unwrap());
        told.say("orders", &Word::Endpoint(name.into(), address));
        told.say("orders", &Word::DnsReader(name.into(), index > 0));
    }
    told.say("orders", &Word::DnsWriter("a".into()));
    told
}

/// What is told `seconds` after the script's start.
fn at(mut told: Told, script: &[Step], seconds: f64) -> Told {
    let now = Duration::from_secs_f64(seconds);
    for step in script.iter().filter(|step| step.after <= now) {
        if let What::Say(word) = &step.what {
            told.say("orders", word);
        }
    }
    told
}

fn acts(script: &[Step]) -> Vec<Act> {
    script
        .iter()
        .filter_map(|step| match &step.what {
            What::Do(act) => Some(act.clone()),
            What::Say(_) => None,
        })
        .collect()
}

fn cast() -> Cast<'static> {
    Cast {
        old: "a",
        target: "b",
        dead: false,
    }
}

fn writers(told: &Told) -> Vec<&str> {
    told.estate.clusters["orders"]
        .members
        .iter()
        .filter(|member| member.writer)
        .map(|member| member.instance.as_str())
        .collect()
}

fn dns_writer(told: &Told) -> &str {
    told.zone.clusters["orders"].writer.as_deref().unwrap()
}

#[test]
fn a_failover_tells_what_the_records_say_and_when() {
    let profile = Profile::named("realistic").unwrap();
    let script = failover(&profile, &FailoverOptions::default(), cast());
    let told = |seconds| at(three(), &script, seconds);
    assert_eq!(told(0.1).estate.clusters["orders"].status, "available");
    assert_eq!(told(1.0).estate.clusters["orders"].status, "failing-over");
    assert_eq!(writers(&told(14.0)), ["a"]);
    assert_eq!(writers(&told(15.0)), ["b"]);
    // The API knows before the DNS, and the DNS before the cluster is available.
    assert_eq!(dns_writer(&told(15.0)), "a");
    assert_eq!(dns_writer(&told(17.0)), "b");
    assert_eq!(told(18.0).estate.clusters["orders"].status, "failing-over");
    assert_eq!(told(21.0).estate.clusters["orders"].status, "available");
    // Until the old writer is back, the reader endpoint may lead to the new writer.
    assert_eq!(told(21.0).zone.clusters["orders"].readers, ["b", "c"]);
    assert_eq!(told(24.0).zone.clusters["orders"].readers, ["c", "a"]);
    assert_eq!(
        acts(&script),
        [
            Act::Stop("a".into()),
            Act::Promote("b".into()),
            Act::Rejoin("a".into())
        ]
    );
}

#[test]
fn between_its_return_and_the_dns_the_old_writer_is_reached_and_reads_only() {
    for name in Profile::names() {
        let profile = Profile::named(name).unwrap();
        let script = failover(&profile, &FailoverOptions::default(), cast());
        let rejoined = script
            .iter()
            .find(|step| step.what == What::Do(Act::Rejoin("a".into())))
            .unwrap();
        let told = at(three(), &script, rejoined.after.as_secs_f64() + 0.5);
        assert_eq!(dns_writer(&told), "a", "{name}");
    }
}

#[test]
fn a_flicker_goes_new_old_new() {
    let profile = Profile::named("realistic").unwrap();
    let options = FailoverOptions {
        flicker: true,
        ..FailoverOptions::default()
    };
    let script = failover(&profile, &options, cast());
    let seen: Vec<String> = [16.0, 17.5, 20.5, 24.5, 25.5]
        .into_iter()
        .map(|seconds| dns_writer(&at(three(), &script, seconds)).to_owned())
        .collect();
    assert_eq!(seen, ["a", "b", "a", "a", "b"]);
}

#[test]
fn the_dns_and_the_api_may_be_late() {
    let profile = Profile::named("quick").unwrap();
    let options = FailoverOptions {
        dns_delay: Some(20.0),
        api_delay: Some(10.0),
        ..FailoverOptions::default()
    };
    let script = failover(&profile, &options, cast());
    assert_eq!(dns_writer(&at(three(), &script, 20.0)), "a");
    assert_eq!(dns_writer(&at(three(), &script, 20.7)), "b");
    assert_eq!(writers(&at(three(), &script, 10.0)), ["a"]);
    assert_eq!(writers(&at(three(), &script, 10.7)), ["b"]);
}

#[test]
fn a_new_reader_is_creating_without_endpoint_then_available_then_in_the_dns() {
    let profile = Profile::named("realistic").unwrap();
    let address = Ipv4Addr::new(198, 18, 0, 40);
    let script = create(&profile, "d", address, false, None);
    let mut start = three();
    start.listed(instance("d", "creating"));
    let told = |seconds| at(start.clone(), &script, seconds);
    assert!(!told(7.0).estate.instances["d"].has_endpoint);
    assert_eq!(told(7.0).estate.instances["d"].status, "creating");
    assert_eq!(told(8.0).estate.instances["d"].status, "available");
    assert!(told(8.0).estate.instances["d"].has_endpoint);
    assert_eq!(told(8.0).zone.instances["d"], address);
    assert_eq!(told(22.0).zone.clusters["orders"].readers, ["b", "c"]);
    assert_eq!(told(23.0).zone.clusters["orders"].readers, ["b", "c", "d"]);
}

#[test]
fn a_deleting_reader_leaves_the_dns_first_and_is_listed_to_the_end() {
    let profile = Profile::named("realistic").unwrap();
    let script = delete(&profile, "b");
    let told = |seconds| at(three(), &script, seconds);
    assert_eq!(told(0.0).estate.instances["b"].status, "deleting");
    assert_eq!(told(3.0).zone.clusters["orders"].readers, ["c"]);
    assert!(told(19.0).zone.instances.contains_key("b"));
    assert!(!told(20.0).zone.instances.contains_key("b"));
    assert_eq!(told(29.0).estate.clusters["orders"].members.len(), 3);
    assert_eq!(told(30.0).estate.clusters["orders"].members.len(), 2);
    assert!(!told(30.0).estate.instances.contains_key("b"));
}

#[test]
fn a_dead_writer_is_not_stopped_again_and_a_dead_reader_restarts() {
    let profile = Profile::named("quick").unwrap();
    assert_eq!(
        acts(&crash(&profile, "a", Some("b"))),
        [Act::Promote("b".into()), Act::Rejoin("a".into())]
    );
    assert_eq!(
        acts(&crash(&profile, "c", None)),
        [Act::Restart("c".into())]
    );
}

#[test]
fn a_writer_that_is_deleted_does_not_come_back() {
    let profile = Profile::named("quick").unwrap();
    let script = bequeath(&profile, cast());
    assert_eq!(
        acts(&script),
        [Act::Stop("a".into()), Act::Promote("b".into())]
    );
    assert_eq!(
        at(three(), &script, 60.0).zone.clusters["orders"].readers,
        ["c"]
    );
}
