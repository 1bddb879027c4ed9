//! The testbed's Aurora: what the real one does to connections, the testbed does too.
//!
//! All tests share one testbed, each with a cluster of its own, so that they run side by side. Needs root and
//! `testbed tools`; without them these fail and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{ErrorKind, Write as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use dbbalance_testbed::aurora::FleetCommand;
use dbbalance_testbed::aurora::address::{self, PORT};
use dbbalance_testbed::aurora::inventory;
use dbbalance_testbed::aurora::scenario::{Scenario, ScenarioRecord};
use dbbalance_testbed::aurora::script::FailoverOptions;
use dbbalance_testbed::rds;
use hickory_resolver::proto::rr::RecordType;
use support::aurora::{
    AuroraFixture, NAME, SSL_REQUEST, backend_pid, read_byte, send_ssl_request, write_row,
};
use support::{deploy_testapp, run_testbed, utf8_text, wait_eventually};

/// A primary and two standbys, on a machine that does nothing else.
const START: Duration = Duration::from_secs(5);

#[test]
fn a_cluster_starts_in_time_and_sees_pods_under_their_own_addresses() {
    let aurora = AuroraFixture::up("pods", 2);
    // On a machine that is busy with the other tests too, the best of three says what a start takes.
    let mut took = aurora.took;
    for again in ["pods-again", "pods-at-last"] {
        if took >= START {
            took = took.min(AuroraFixture::up(again, 2).took);
        }
    }
    println!("primary and two standbys in {:.2} s", took.as_secs_f64());
    assert!(took < START, "took {took:?}");
    let roles: Vec<_> = (1..=3).map(|n| aurora.instance(n).standby).collect();
    assert_eq!(roles, [Some(false), Some(true), Some(true)]);

    let pod = deploy_testapp(aurora.testbed(), 1).remove(0);
    let ip = ["get", "pod", &pod, "-o", "jsonpath={.status.podIP}"];
    let ip = aurora.testbed().kubectl(&ip).unwrap();
    let address = aurora.instance(2).address;
    // A login as `app` by hand: the pod has no PostgreSQL client. The session lasts as long as its input.
    let login = format!(
        "(printf '\\000\\000\\000\\037\\000\\003\\000\\000user\\000app\\000database\\000app\\000\\000'; sleep 20) \
         | nc {address} {PORT} > /dev/null 2>&1 &"
    );
    aurora.control.observe("pods").unwrap();
    aurora
        .testbed()
        .kubectl(&["exec", &pod, "--", "sh", "-c", &login])
        .unwrap();
    wait_eventually("the pod's connection", || {
        let seen = aurora.control.observation("pods").unwrap();
        seen.samples.last().is_some_and(|sample| {
            sample.instances["pods-2"]
                .as_ref()
                .is_some_and(|seen| seen.clients.get(&ip).is_some_and(|held| held.count == 1))
        })
    });
    let seen = aurora.control.observation("pods").unwrap();
    assert_eq!(
        seen.lives.len(),
        1,
        "the testbed's own sessions are not counted"
    );
    assert_eq!(seen.lives[0].user, "app");

    // The command line tells the same.
    let told = run_testbed(&["aurora", "--testbed", NAME, "status"]);
    assert!(
        utf8_text(&told.stdout).contains("pods-3"),
        "{}",
        utf8_text(&told.stderr)
    );
}

#[test]
fn a_failover_promotes_drops_what_aurora_drops_and_nothing_else() {
    let aurora = AuroraFixture::up("swap", 2);
    let address = |number| aurora.instance(number).address;
    let (old, target, other) = (address(1), address(2), address(3));
    let mut writer = aurora.session(old).unwrap();
    let mut promoted = aurora.session(target).unwrap();
    let mut reader = aurora.session(other).unwrap();
    write_row(&mut writer).unwrap();
    let before = backend_pid(&mut reader).unwrap();

    let to = aurora.name(2);
    aurora
        .control
        .failover("swap", Some(&to), FailoverOptions::default())
        .unwrap();
    // The old writer is back before the DNS moves: a pool that reconnects now is glued to a reader.
    let mut glued = None;
    wait_eventually("the old writer as a reader", || {
        glued = aurora.session(old).ok();
        glued.is_some() && aurora.instance(1).standby == Some(true)
    });
    let told = aurora.status();
    assert_eq!(told.dns_writer.as_deref(), Some("swap-1"));
    // So is a reader pool that reconnects: the reader endpoint still leads to the promoted node.
    assert!(aurora.instance(2).dns_reader);
    let mut misled = aurora.session(target).unwrap();
    aurora.idle();

    let refused = write_row(glued.as_mut().unwrap()).unwrap_err();
    assert_eq!(
        refused.as_db_error().unwrap().message(),
        "cannot execute INSERT in a read-only transaction"
    );
    write_row(&mut misled).unwrap();
    assert!(backend_pid(&mut writer).is_err(), "the old writer's end");
    assert!(backend_pid(&mut promoted).is_err(), "the target's restart");
    assert_eq!(
        backend_pid(&mut reader).unwrap(),
        before,
        "another reader stays"
    );
    assert_eq!(aurora.instance(1).standby, Some(true));
    assert_eq!(aurora.instance(2).standby, Some(false));

    // The reader that stayed and the old writer follow the new one.
    for client in [&mut reader, glued.as_mut().unwrap()] {
        wait_eventually("both rows", || {
            let rows = client.query_one("SELECT count(*) FROM load WHERE pod = 'test'", &[]);
            rows.is_ok_and(|row| row.get::<_, i64>(0) == 2)
        });
    }
    // And back, while nobody tells.
    aurora
        .control
        .failover("swap", Some("swap-1"), FailoverOptions::default())
        .unwrap();
    aurora.idle();
    assert_eq!(aurora.instance(1).standby, Some(false));
    assert_eq!(backend_pid(&mut reader).unwrap(), before);
}

#[test]
fn a_target_that_does_not_restart_keeps_its_readers_which_can_then_write() {
    let aurora = AuroraFixture::up("keep", 1);
    let mut reader = aurora.session(aurora.instance(2).address).unwrap();
    let before = backend_pid(&mut reader).unwrap();
    assert!(write_row(&mut reader).is_err());
    let options = FailoverOptions {
        keep_target: true,
        ..FailoverOptions::default()
    };
    aurora.control.failover("keep", None, options).unwrap();
    aurora.idle();
    assert_eq!(backend_pid(&mut reader).unwrap(), before);
    write_row(&mut reader).unwrap();
}

#[test]
fn a_removed_reader_leaves_the_dns_serves_on_and_is_killed() {
    let aurora = AuroraFixture::up("less", 2);
    let gone = aurora.name(3);
    let address = aurora.instance(3).address;
    let mut held = aurora.session(address).unwrap();
    aurora.order(&FleetCommand::RemoveReader { name: gone.clone() });
    assert_eq!(aurora.instance(3).api_status, "deleting");
    wait_eventually("its leaving of the DNS", || !aurora.instance(3).dns_reader);
    backend_pid(&mut held).expect("a deleting instance serves on");
    aurora.idle();
    assert!(backend_pid(&mut held).is_err());
    assert_eq!(aurora.status().instances.len(), 2);
    assert!(aurora.socket(address, Duration::from_secs(1)).is_err());
    // A new one has another name and another address.
    let added = aurora.control.add_reader("less").unwrap();
    assert_ne!(added, gone);
    wait_eventually("its data", || aurora.instance(4).standby == Some(true));
    assert!(!aurora.instance(4).dns_reader, "not in the DNS yet");
    aurora.idle();
    assert!(aurora.instance(4).dns_reader);
    assert_ne!(aurora.instance(4).address, address);
}

#[test]
fn a_partition_is_half_open_without_a_reset_and_heals() {
    let aurora = AuroraFixture::up("halfopen", 1);
    let (name, address) = (aurora.name(2), aurora.instance(2).address);
    let second = Duration::from_secs(1);
    let mut held = aurora.socket(address, second).unwrap();
    aurora.order(&FleetCommand::Partition { name: name.clone() });
    send_ssl_request(&mut held);
    let silent = read_byte(&mut held, second).unwrap_err().kind();
    assert!(
        matches!(silent, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{silent}: not an end, not a reset"
    );
    let refused = aurora.socket(address, second).unwrap_err().kind();
    assert_eq!(refused, ErrorKind::TimedOut, "a new one hangs too");
    assert!(aurora.instance(2).partitioned);
    assert_eq!(aurora.instance(2).standby, Some(true), "it lives");
    let others = aurora.instance(1).address;
    aurora.socket(others, second).expect("others are reached");
    aurora.order(&FleetCommand::Heal { name });
    // What was sent meanwhile is sent again by the kernel, and answered.
    assert_eq!(read_byte(&mut held, Duration::from_secs(20)).unwrap(), b'N');
}

#[test]
fn a_half_open_writer_is_failed_over_and_its_old_sockets_never_hear_of_it() {
    let aurora = AuroraFixture::up("zombie", 1);
    let (name, address) = (aurora.name(1), aurora.instance(1).address);
    let second = Duration::from_secs(1);
    let mut zombie = aurora.socket(address, second).unwrap();
    aurora.order(&FleetCommand::Partition { name: name.clone() });
    aurora
        .control
        .failover("zombie", None, FailoverOptions::default())
        .unwrap();
    aurora.idle();
    assert_eq!(aurora.instance(2).standby, Some(false), "promoted");
    assert_eq!(
        aurora.instance(1).standby,
        Some(true),
        "and the old one back"
    );
    send_ssl_request(&mut zombie);
    let silent = read_byte(&mut zombie, second).unwrap_err().kind();
    assert!(matches!(
        silent,
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    aurora.order(&FleetCommand::Heal { name });
    let reset = read_byte(&mut zombie, Duration::from_secs(20))
        .unwrap_err()
        .kind();
    assert!(
        matches!(reset, ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof),
        "{reset}"
    );
}

#[test]
fn a_crash_resets_old_sockets_and_the_next_writer_takes_over() {
    let aurora = AuroraFixture::up("crash", 1);
    let address = aurora.instance(1).address;
    let second = Duration::from_secs(1);
    let mut held = aurora.socket(address, second).unwrap();
    send_ssl_request(&mut held);
    assert_eq!(read_byte(&mut held, Duration::from_secs(5)).unwrap(), b'N');
    let mut session = aurora.session(address).unwrap();
    write_row(&mut session).unwrap();
    aurora.order(&FleetCommand::Crash {
        name: aurora.name(1),
        recover: true,
    });
    let refused = aurora.socket(address, second).unwrap_err().kind();
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    wait_eventually("a reset", || {
        held.write_all(&SSL_REQUEST)
            .is_err_and(|e| matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
    });
    aurora.idle();
    assert_eq!(aurora.instance(2).standby, Some(false));
    assert_eq!(aurora.instance(1).standby, Some(true));
    let mut session = aurora.session(aurora.instance(2).address).unwrap();
    write_row(&mut session).unwrap();
    // A reader restarts as what it was.
    aurora.order(&FleetCommand::Crash {
        name: aurora.name(1),
        recover: true,
    });
    aurora.idle();
    assert_eq!(aurora.instance(1).standby, Some(true));
}

#[test]
fn the_api_and_the_name_server_tell_of_the_databases() {
    let aurora = AuroraFixture::up("faces", 1);
    let endpoint = format!("http://{}:{}", address::RDS_API, address::RDS_API_PORT);
    let api = rds::client::RdsClient::inside(aurora.testbed(), &endpoint, rds::REGION);
    assert_eq!(
        api.describe_cluster("faces").unwrap().writer(),
        Some("faces-1")
    );
    // A reader made by the API is real, and told in steps.
    let new = api
        .add_instance("faces", "third", rds::client::CLASS)
        .unwrap();
    assert_eq!((new.status.as_str(), new.address), ("creating", None));
    let row = |name: &str| {
        let rows = api.describe_instances("faces").unwrap();
        rows.into_iter().find(|row| row.identifier == name)
    };
    wait_eventually("the third's endpoint", || {
        row("third").is_some_and(|row| row.status == "available" && row.address.is_some())
    });
    let lookup = |name: String| {
        let server = (address::AUTHORITY, 53);
        aurora
            .testbed()
            .enter(|| support::dns::ask_server(server, &name, RecordType::A))
            .unwrap()
    };
    let leads_to = |name: String, address: Ipv4Addr| {
        support::dns::first_address(&lookup(name)) == Some(address.into())
    };
    let third = |aurora: &AuroraFixture| {
        let instances = aurora.status().instances.into_iter();
        instances.clone().find(|row| row.name == "third").unwrap()
    };
    let there = third(&aurora);
    assert_eq!(there.standby, Some(true));
    assert!(leads_to(
        inventory::instance_endpoint("third"),
        there.address
    ));
    wait_eventually("an answer with the third", || {
        leads_to(inventory::reader_endpoint("faces"), there.address)
    });
    api.failover("faces", Some("third")).unwrap();
    wait_eventually("the third as the writer", || {
        api.describe_cluster("faces").unwrap().writer() == Some("third")
            && leads_to(inventory::cluster_endpoint("faces"), there.address)
    });
    assert_eq!(third(&aurora).standby, Some(false));
    aurora.idle();
    api.delete_instance("faces-2").unwrap();
    assert_eq!(row("faces-2").unwrap().status, "deleting");
    wait_eventually("its end", || row("faces-2").is_none());
    let asked = aurora.control.send(&FleetCommand::Asked).unwrap();
    assert!(asked["api"]["byAction"]["FailoverDBCluster"].as_u64() >= Some(1));
    assert!(
        asked["dns"][inventory::cluster_endpoint("faces")].is_object(),
        "{asked}"
    );
}

#[test]
fn a_scenario_writes_one_record_of_all_that_was_measured() {
    let aurora = AuroraFixture::up("story", 1);
    let mut held = aurora.session(aurora.instance(2).address).unwrap();
    let scenario = Scenario::parse(
        r#"{"name": "a third, then a failover", "cluster": "story", "steps": [
            {"at": 0.5, "order": {"do": "add-reader", "cluster": "story"}},
            {"wait": {"dnsReader": "story-3"}, "limit": 30,
             "order": {"do": "failover", "cluster": "story", "to": "story-3",
                       "options": {"flicker": true, "dnsDelay": 0.5}}},
            {"wait": {"dnsWriter": "story-3"}},
            {"wait": {"dnsWriter": "story-1"}},
            {"wait": {"dnsWriter": "story-3"}, "kubectl": ["get", "ns", "default", "-o", "name"]},
            {"wait": "idle"}
        ]}"#,
    )
    .unwrap();
    let record = scenario.run(aurora.testbed()).unwrap();
    assert_eq!(record.failed, None);
    assert_eq!(record.steps[4].said, "namespace/default\n");
    let dns: Vec<_> = record
        .events
        .iter()
        .filter(|event| event.what == "writer")
        .filter_map(|event| event.instance.as_deref())
        .collect();
    // Of the API once, of the DNS three times.
    assert_eq!(dns.len(), 4, "{dns:?}");
    assert_eq!(record.lives.len(), 1);
    assert!(record.lives[0].standby_last);
    backend_pid(&mut held).unwrap();
    let (seconds, samples) = (
        f64::from(i32::try_from(record.ended).unwrap()) / 1000.0,
        f64::from(u32::try_from(record.samples.len()).unwrap()),
    );
    println!("{samples} samples in {seconds:.1} s");
    assert!(samples > 3.0 * seconds, "{samples} samples in {seconds} s");
    let written = serde_json::to_string(&record).unwrap();
    assert_eq!(
        serde_json::from_str::<ScenarioRecord>(&written).unwrap(),
        record
    );
}
