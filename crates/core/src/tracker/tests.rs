#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::topology::{InstanceId, ResourceId};

fn member(name: &str) -> MemberId {
    MemberId {
        instance: InstanceId(name.to_owned()),
        resource: ResourceId(format!("db-{name}")),
    }
}

/// Parses `"w1 r2 r3:creating"`: the writer and the readers, each with a status word if it is not available.
fn reading(text: &str) -> ClusterReading {
    let mut writer = None;
    let mut members = BTreeMap::new();
    for part in text.split_whitespace() {
        let (tag, status) = part.split_once(':').unwrap_or((part, "available"));
        let (role, name) = tag.split_at(1);
        let id = member(name);
        if role == "w" {
            writer = Some(id.clone());
        }
        let facts = MemberReading {
            status: status.to_owned(),
            ..MemberReading::default()
        };
        members.insert(id, facts);
    }
    ClusterReading {
        arn: "arn:c".to_owned(),
        resource: ResourceId("cluster-1".to_owned()),
        status: "available".to_owned(),
        engine: "aurora-postgresql".to_owned(),
        endpoints: crate::topology::Endpoints::default(),
        writer,
        members,
    }
}

#[test]
fn a_reader_that_is_being_deleted_is_told_apart_from_one_that_is_down() {
    let mut tracker = Tracker::default();
    let leaving = |tracker: &Tracker| {
        let view = tracker.view().unwrap();
        view.leaving.iter().map(|i| i.0.clone()).collect::<Vec<_>>()
    };
    for second in 0..2 {
        tracker.observe(&reading("wa rb rc"), at(second));
    }
    assert!(leaving(&tracker).is_empty());
    tracker.observe(&reading("wa:deleting rb:stopped rc:deleting"), at(2));
    assert_eq!(leaving(&tracker), ["c"], "at once, and never the writer");
    tracker.observe(&reading("wa rb"), at(3));
    assert!(leaving(&tracker).is_empty(), "it is listed no more");
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Formats the confirmed topology in the notation of [`reading`].
fn shown(tracker: &Tracker) -> String {
    tracker.view().map_or_else(String::new, |view| {
        let readers = view
            .topology
            .readers
            .iter()
            .map(|r| format!(" r{}", r.instance));
        format!(
            "w{}{}",
            view.topology.writer.instance,
            readers.collect::<String>()
        )
    })
}

/// Feeds one reading per second, from `start` on.
fn feed(tracker: &mut Tracker, start: i64, readings: &[&str]) -> Vec<Observed> {
    let seconds = start..;
    seconds
        .zip(readings)
        .map(|(s, text)| tracker.observe(&reading(text), at(s)))
        .collect()
}

fn settled(text: &str) -> Tracker {
    let mut tracker = Tracker::default();
    feed(&mut tracker, -1000, &[text, text]);
    tracker
}

fn topology(text: &str) -> Topology {
    settled(text).view().unwrap().topology.clone()
}

#[test]
fn first_topology_needs_two_agreeing_readings() {
    let mut tracker = Tracker::default();
    let seen = feed(&mut tracker, 0, &["w1 r2", "w1 r2 r3", "w1 r2 r3"]);
    assert_eq!(
        seen.iter().map(|o| o.changed).collect::<Vec<_>>(),
        [false, false, true]
    );
    assert!(seen[0].unconfirmed && seen[0].moving && !seen[2].moving);
    assert_eq!(shown(&tracker), "w1 r2 r3");
}

#[test]
fn one_odd_reading_changes_nothing() {
    let mut tracker = settled("w1 r2 r3");
    feed(
        &mut tracker,
        0,
        &["w1 r2", "w1 r2 r3", "w2 r1 r3", "w1 r2 r3"],
    );
    assert_eq!(shown(&tracker), "w1 r2 r3");
}

#[test]
fn reader_enters_at_its_first_available() {
    let mut tracker = settled("w1 r2");
    feed(
        &mut tracker,
        0,
        &[
            "w1 r2 r3:creating",
            "w1 r2 r3:configuring-enhanced-monitoring",
        ],
    );
    feed(
        &mut tracker,
        2,
        &["w1 r2 r3:configuring-enhanced-monitoring"],
    );
    assert_eq!(shown(&tracker), "w1 r2");
    feed(&mut tracker, 3, &["w1 r2 r3", "w1 r2 r3:backing-up"]);
    assert_eq!(
        shown(&tracker),
        "w1 r2 r3",
        "a word that decides nothing keeps what it was"
    );
}

#[test]
fn reader_leaves_when_unlisted_or_deleting() {
    for gone in ["w1 r2", "w1 r2 r3:deleting"] {
        let mut tracker = settled("w1 r2 r3");
        feed(&mut tracker, 0, &[gone]);
        assert_eq!(shown(&tracker), "w1 r2 r3");
        feed(&mut tracker, 1, &[gone]);
        assert_eq!(shown(&tracker), "w1 r2");
    }
}

#[test]
fn a_minute_that_nobody_observed_does_not_count_as_down() {
    let mut tracker = settled("w1 r2 r3");
    feed(&mut tracker, 0, &["w1 r2 r3:starting"]);
    tracker.interrupt();
    feed(
        &mut tracker,
        7200,
        &["w1 r2 r3:starting", "w1 r2 r3:starting"],
    );
    assert_eq!(shown(&tracker), "w1 r2 r3");
    feed(
        &mut tracker,
        7262,
        &["w1 r2 r3:starting", "w1 r2 r3:starting"],
    );
    assert_eq!(shown(&tracker), "w1 r2");
}

#[test]
fn reader_leaves_that_reboots_into_a_state_in_which_it_cannot_serve() {
    for word in [
        "incompatible-parameters",
        "incompatible-create",
        "incompatible-option-group",
        "storage-full",
    ] {
        let mut tracker = settled("w1 r2 r3");
        feed(
            &mut tracker,
            0,
            &["w1 r2 r3:rebooting", "w1 r2 r3:rebooting"],
        );
        let dead = format!("w1 r2 r3:{word}");
        feed(&mut tracker, 10, &[&dead, &dead]);
        assert_eq!(shown(&tracker), "w1 r2 r3", "{word}, for a moment");
        feed(&mut tracker, 71, &[&dead, &dead]);
        assert_eq!(shown(&tracker), "w1 r2", "{word}");
    }
}

#[test]
fn reader_leaves_after_it_is_surely_down_for_a_minute() {
    let mut tracker = settled("w1 r2 r3");
    for second in 0..=60 {
        tracker.observe(&reading("w1 r2 r3:stopped"), at(second));
        assert_eq!(shown(&tracker), "w1 r2 r3", "second {second}");
    }
    tracker.observe(&reading("w1 r2 r3:stopped"), at(61));
    assert_eq!(shown(&tracker), "w1 r2");
}

#[test]
fn doubtful_words_never_remove_a_reader() {
    for word in [
        "rebooting",
        "modifying",
        "backing-up",
        "upgrading",
        "storage-optimization",
        "surprised",
    ] {
        let mut tracker = settled("w1 r2 r3");
        for second in 0..300 {
            tracker.observe(&reading(&format!("w1 r2 r3:{word}")), at(second));
        }
        assert_eq!(shown(&tracker), "w1 r2 r3", "{word}");
    }
}

#[test]
fn short_outages_do_not_add_up() {
    let mut tracker = settled("w1 r2 r3");
    for second in 0..200 {
        let word = if second % 50 == 0 {
            "available"
        } else {
            "stopped"
        };
        tracker.observe(&reading(&format!("w1 r2 r3:{word}")), at(second));
    }
    assert_eq!(shown(&tracker), "w1 r2 r3");
}

#[test]
fn no_writer_is_never_a_change() {
    let mut tracker = settled("w1 r2 r3");
    let seen = feed(&mut tracker, 0, &["r1 r2 r3", "r1 r2 r3", "r1 r2 r3"]);
    assert!(
        seen.iter()
            .all(|o| !o.changed && !o.unconfirmed && o.moving)
    );
    assert_eq!(shown(&tracker), "w1 r2 r3");
}

#[test]
fn failover_is_confirmed_by_two_readings_and_keeps_the_old_writer() {
    let mut tracker = settled("w1 r2 r3");
    feed(
        &mut tracker,
        0,
        &[
            "r1:rebooting r2 r3",
            "r1:rebooting w2 r3",
            "r1:rebooting w2 r3",
        ],
    );
    assert_eq!(shown(&tracker), "w2 r1 r3");
}

#[test]
fn restoring_a_topology_of_a_moment_ago_needs_five_readings() {
    let mut tracker = settled("w1 r2");
    feed(&mut tracker, 0, &["w2 r1", "w2 r1"]);
    feed(&mut tracker, 2, &["w1 r2"; 4]);
    assert_eq!(shown(&tracker), "w2 r1");
    feed(&mut tracker, 6, &["w1 r2"]);
    assert_eq!(shown(&tracker), "w1 r2");
}

#[test]
fn restoring_a_topology_of_long_ago_needs_two_readings() {
    let mut tracker = settled("w1 r2");
    feed(&mut tracker, 0, &["w2 r1", "w2 r1"]);
    feed(&mut tracker, 61, &["w1 r2", "w1 r2"]);
    assert_eq!(shown(&tracker), "w1 r2");
}

#[test]
fn renamed_instance_is_another_member() {
    let mut tracker = settled("w1 r2");
    let mut renamed = reading("w1");
    let id = MemberId {
        instance: InstanceId("9".to_owned()),
        resource: member("2").resource,
    };
    let facts = MemberReading {
        status: "available".to_owned(),
        ..MemberReading::default()
    };
    renamed.members.insert(id.clone(), facts);
    tracker.observe(&renamed, at(0));
    assert!(tracker.observe(&renamed, at(1)).changed);
    assert_eq!(
        tracker.view().unwrap().topology.readers,
        BTreeSet::from([id])
    );
}

#[test]
fn replaced_cluster_is_another_topology_that_two_readings_confirm() {
    let mut tracker = settled("w1 r2");
    let mut green = reading("w1 r2:modifying");
    green.resource = ResourceId("cluster-2".to_owned());
    assert!(!tracker.observe(&green, at(0)).changed);
    assert!(tracker.observe(&green, at(1)).changed);
    let topology = &tracker.view().unwrap().topology;
    assert_eq!(topology.resource.0, "cluster-2");
    assert_eq!(
        topology.readers.len(),
        1,
        "seen for the first time, a listed member counts"
    );
}

#[test]
fn without_a_hint_doubtful_members_count_and_down_ones_do_not() {
    let mut tracker = Tracker::default();
    feed(
        &mut tracker,
        0,
        &["w1 r2:modifying r3:creating r4:stopped"; 2],
    );
    assert_eq!(shown(&tracker), "w1 r2");
}

#[test]
fn restart_with_a_hint_changes_nothing() {
    let mut tracker = Tracker::with_hint(topology("w1 r2 r3"));
    assert!(tracker.view().is_none(), "a hint is not an observation");
    let text = "w1 r2:modifying r3:stopped r4:configuring-iam-database-auth r5:creating";
    feed(&mut tracker, 0, &[text, text]);
    assert_eq!(shown(&tracker), "w1 r2 r3");
}

#[test]
fn hint_of_another_cluster_is_not_followed() {
    let mut other = topology("w1 r3");
    other.resource = ResourceId("cluster-0".to_owned());
    let mut tracker = Tracker::with_hint(other);
    feed(&mut tracker, 0, &["w1 r2:modifying r3:stopped"; 2]);
    assert_eq!(shown(&tracker), "w1 r2");
}

#[test]
fn seed_is_taken_only_before_the_first_reading() {
    let mut tracker = Tracker::default();
    tracker.set_hint(topology("w1 r2"));
    feed(&mut tracker, 0, &["w1 r2:stopped r3:modifying"; 2]);
    assert_eq!(shown(&tracker), "w1 r2");
    tracker.set_hint(topology("w1 r3"));
    assert_eq!(tracker.hint, Some(topology("w1 r2")));
}

#[test]
fn facts_follow_the_last_answer_and_survive_gaps() {
    let mut tracker = settled("w1 r2");
    let mut told = reading("w1 r2");
    told.members.get_mut(&member("2")).unwrap().class = Some("db.r6g.large".to_owned());
    tracker.observe(&told, at(0));
    tracker.observe(&reading("w1 r2"), at(1));
    let facts = &tracker.view().unwrap().facts;
    assert_eq!(
        facts[&InstanceId("2".to_owned())].class.as_deref(),
        Some("db.r6g.large")
    );
    assert_eq!(facts.len(), 2);
}

/// Generates random histories: for each of four members whether it is listed and its status word, the writer, and the
/// seconds since the previous reading.
fn history() -> impl Strategy<Value = Vec<(ClusterReading, i64)>> {
    let word = prop::sample::select(vec![
        "-",
        "available",
        "available",
        "available",
        "deleting",
        "stopped",
        "modifying",
        "odd",
    ]);
    let step = (
        prop::collection::vec(word, 4),
        0..5_usize,
        prop::sample::select(vec![1, 5, 30, 61]),
    );
    // Each reading is repeated one to six times; otherwise readings would agree too rarely to test anything.
    prop::collection::vec((step, 1..7_usize), 1..14).prop_map(|steps| {
        let mut all = Vec::new();
        for ((words, writer, seconds), times) in steps {
            let text: Vec<String> = words
                .iter()
                .enumerate()
                .filter(|(_, word)| **word != "-")
                .map(|(i, word)| format!("{}{i}:{word}", if i == writer { "w" } else { "r" }))
                .collect();
            if !text.is_empty() {
                all.extend(std::iter::repeat_n(
                    (reading(&text.join(" ")), seconds),
                    times,
                ));
            }
        }
        all
    })
}

/// Returns whether this single reading could have shown this topology.
fn tells(reading: &ClusterReading, topology: &Topology) -> bool {
    let status = |m: &MemberId| reading.members.get(m).map(|f| f.status.as_str());
    reading.writer.as_ref() == Some(&topology.writer)
        && topology
            .readers
            .iter()
            .all(|r| status(r).is_some_and(|word| word != "deleting"))
        && reading.members.keys().all(|m| {
            status(m) != Some("available") || *m == topology.writer || topology.readers.contains(m)
        })
}

proptest! {
    #[test]
    fn confirmed_topology_changes_only_after_enough_agreeing_readings(history in history()) {
        let mut tracker = Tracker::default();
        let mut now = 0;
        let mut past: Vec<(Topology, i64)> = Vec::new();
        for (i, (reading, seconds)) in history.iter().enumerate() {
            now += seconds;
            let before = tracker.view().map(|view| view.topology.clone());
            let observed = tracker.observe(reading, at(now));
            let after = tracker.view().map(|view| view.topology.clone());
            prop_assert_eq!(observed.changed, before != after);
            if let Some(topology) = &after {
                prop_assert!(!topology.readers.contains(&topology.writer));
                prop_assert_eq!(tracker.view().unwrap().facts.len(), topology.members().count());
            }
            if !observed.changed {
                continue;
            }
            let after = after.unwrap();
            let restores = past.iter().any(|(old, left)| *old == after && now - left < 60);
            let needed = if restores { 5 } else { 2 };
            prop_assert!(i + 1 >= needed);
            for (reading, _) in &history[i + 1 - needed..=i] {
                prop_assert!(tells(reading, &after), "{reading:?} does not tell {after:?}");
            }
            past.extend(before.map(|old| (old, now)));
        }
    }
}

fn heard(tracker: &mut Tracker, writer: &str) {
    tracker.set_dns_writer(Some(InstanceId(writer.to_owned())));
}

#[test]
fn one_reading_confirms_the_writer_on_which_dns_agrees() {
    let mut tracker = settled("w1 r2 r3");
    heard(&mut tracker, "2");
    let seen = feed(&mut tracker, 0, &["r1 w2 r3"]);
    assert!(seen[0].changed && !seen[0].unconfirmed);
    assert_eq!(shown(&tracker), "w2 r1 r3");
}

#[test]
fn dns_that_names_another_writer_or_none_confirms_nothing() {
    for writer in [Some("3"), None] {
        let mut tracker = settled("w1 r2 r3");
        tracker.set_dns_writer(writer.map(|w| InstanceId(w.to_owned())));
        feed(&mut tracker, 0, &["r1 w2 r3"]);
        assert_eq!(shown(&tracker), "w1 r2 r3");
    }
}

#[test]
fn dns_confirms_no_removal_no_first_topology_and_none_that_is_restored() {
    let mut tracker = settled("w1 r2 r3");
    heard(&mut tracker, "2");
    feed(&mut tracker, 0, &["w2 r3"]);
    assert_eq!(shown(&tracker), "w1 r2 r3", "1 has left: two readings");
    let mut tracker = Tracker::default();
    heard(&mut tracker, "1");
    feed(&mut tracker, 0, &["w1 r2"]);
    assert_eq!(shown(&tracker), "");
    let mut tracker = settled("w1 r2");
    feed(&mut tracker, 0, &["r1 w2", "r1 w2"]);
    heard(&mut tracker, "1");
    feed(&mut tracker, 2, &["w1 r2"]);
    assert_eq!(
        shown(&tracker),
        "w2 r1",
        "alternating answers: five readings"
    );
}

#[test]
fn endpoints_are_learnt_and_kept_and_another_one_is_no_change() {
    let mut tracker = settled("w1 r2");
    let mut told = reading("w1 r2");
    told.endpoints.writer = Some("c.cluster-x".to_owned());
    told.endpoints.port = Some(5432);
    assert!(!tracker.observe(&told, at(0)).changed);
    let mut silent = reading("w1 r2");
    silent.endpoints.reader = Some("c.cluster-ro-x".to_owned());
    assert!(!tracker.observe(&silent, at(1)).changed);
    let endpoints = &tracker.view().unwrap().endpoints;
    assert_eq!(endpoints.writer.as_deref(), Some("c.cluster-x"));
    assert_eq!(endpoints.reader.as_deref(), Some("c.cluster-ro-x"));
    assert_eq!(endpoints.port, Some(5432));
}
