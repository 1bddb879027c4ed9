//! Moods of the RDS API: what it tells of a cluster when it is late, stale, of two minds or plainly wrong.
//!
//! Pure: history, moods, time and the call's number give the answer. The databases and the name server know nothing
//! of it. Each mood is one that callers of the real API have met; see the testbed's page for sources.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::PORT;
use super::estate::{Cluster, Estate, Instance, Member};
use super::told::new_cluster;

/// Older answers are forgotten: no mood looks back further.
const MEMORY: Duration = Duration::from_mins(10);

/// The moods of one cluster; the default is a good one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Moods {
    /// Every answer is this many seconds old.
    pub late: Option<f64>,
    /// Answers are those of the moment when this was set.
    pub stale: bool,
    /// Each answer comes from one of two replicas, of which one is this many seconds behind.
    pub alternate: Option<f64>,
    /// So many members are writers: none, or the first two.
    pub writers: Option<u8>,
    /// Rows of `DocumentDB`, Neptune and a Multi-AZ cluster among the answers.
    pub foreign: bool,
}

/// What was told, and when.
#[derive(Debug, Default)]
pub struct History {
    entries: VecDeque<(Duration, Estate)>,
}

impl History {
    /// Notes what is told from now on.
    pub fn note(&mut self, now: Duration, estate: &Estate) {
        self.entries.push_back((now, estate.clone()));
        // The last one before the horizon is still what was told at it.
        while self
            .entries
            .get(1)
            .is_some_and(|(at, _)| *at + MEMORY < now)
        {
            self.entries.pop_front();
        }
    }

    /// What was told at a time; before the first, the first.
    #[must_use]
    pub fn at(&self, time: Duration) -> Option<&Estate> {
        self.entries
            .iter()
            .rev()
            .find(|(at, _)| *at <= time)
            .or_else(|| self.entries.front())
            .map(|(_, estate)| estate)
    }
}

/// A cluster's moods, and when they were set.
pub type Set = BTreeMap<String, (Duration, Moods)>;

/// The API's answer to call number `call` at `now`.
#[must_use]
pub fn answer(history: &History, moods: &Set, now: Duration, call: u64) -> Estate {
    let mut estate = history.at(now).cloned().unwrap_or_default();
    for (name, (since, mood)) in moods {
        if let Some(time) = moment(mood, *since, now, call)
            && let Some(then) = history.at(time)
        {
            replace(&mut estate, then, name);
        }
        if let (Some(count), Some(cluster)) = (mood.writers, estate.clusters.get_mut(name)) {
            for (index, member) in cluster.members.iter_mut().enumerate() {
                member.writer = index < usize::from(count);
            }
        }
    }
    if moods.values().any(|(_, mood)| mood.foreign) {
        add_foreign(&mut estate);
    }
    estate
}

/// The moment whose answer a cluster's mood gives; none: now.
fn moment(mood: &Moods, since: Duration, now: Duration, call: u64) -> Option<Duration> {
    let ago =
        |seconds: f64| now.saturating_sub(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    if mood.stale {
        return Some(since);
    }
    match mood.alternate {
        Some(lag) if second_replica(call) => Some(ago(lag)),
        _ => mood.late.map(ago),
    }
}

/// Which replica answers. Not turn by turn: a poll is two calls, which would then always see the same mixture.
fn second_replica(call: u64) -> bool {
    // The finisher of SplitMix64, of which one bit is as good as a coin.
    let mixed = (call ^ (call >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) & 1 == 1
}

/// Takes one cluster's rows from another estate.
fn replace(estate: &mut Estate, from: &Estate, cluster: &str) {
    let own = |instance: &Instance| instance.cluster.as_deref() == Some(cluster);
    estate.instances.retain(|_, instance| !own(instance));
    estate.clusters.remove(cluster);
    if let Some(row) = from.clusters.get(cluster) {
        estate.clusters.insert(cluster.to_owned(), row.clone());
    }
    for (name, instance) in from.instances.iter().filter(|(_, row)| own(row)) {
        estate.instances.insert(name.clone(), instance.clone());
    }
}

/// `DescribeDBClusters` also tells of these (RDS API reference), all with the same shape.
fn add_foreign(estate: &mut Estate) {
    const CREATED: &str = "2026-01-01T00:00:00Z";
    for (name, engine) in [
        ("testbed-docs", "docdb"),
        ("testbed-graph", "neptune"),
        ("testbed-multi-az", "postgres"),
    ] {
        let id = format!("{name}-1");
        let mut cluster: Cluster = new_cluster(
            name,
            engine,
            format!("cluster-{}", name.to_uppercase()),
            CREATED,
        );
        cluster.members.push(Member {
            instance: id.clone(),
            writer: true,
            tier: 1,
        });
        estate.clusters.insert(name.to_owned(), cluster);
        estate.instances.insert(
            id.clone(),
            Instance {
                resource_id: format!("db-{}", id.to_uppercase()),
                identifier: id,
                status: "available".to_owned(),
                class: "db.r6g.large".to_owned(),
                engine: engine.to_owned(),
                cluster: Some(name.to_owned()),
                has_endpoint: true,
                port: PORT,
                zone: "eu-west-1a".to_owned(),
                tier: 1,
                created: CREATED.to_owned(),
            },
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::told::{Told, Word};
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// `a` is the writer until 10 s, then `b`.
    fn history() -> History {
        let mut told = Told::default();
        told.found(new_cluster("orders", "aurora-postgresql", "c".into(), ""));
        for name in ["a", "b"] {
            told.estate
                .clusters
                .get_mut("orders")
                .unwrap()
                .members
                .push(Member {
                    instance: name.into(),
                    writer: name == "a",
                    tier: 1,
                });
        }
        let mut history = History::default();
        history.note(seconds(0), &told.estate);
        told.say("orders", &Word::Writer("b".into()));
        history.note(seconds(10), &told.estate);
        history
    }

    fn writers(moods: &Moods, set: u64, now: u64, call: u64) -> Vec<String> {
        let moods = Set::from([("orders".to_owned(), (seconds(set), moods.clone()))]);
        let estate = answer(&history(), &moods, seconds(now), call);
        estate.clusters["orders"]
            .members
            .iter()
            .filter(|member| member.writer)
            .map(|member| member.instance.clone())
            .collect()
    }

    #[test]
    fn a_late_api_tells_the_past_and_catches_up() {
        let late = Moods {
            late: Some(5.0),
            ..Moods::default()
        };
        assert_eq!(writers(&late, 0, 14, 0), ["a"]);
        assert_eq!(writers(&late, 0, 15, 0), ["b"]);
    }

    #[test]
    fn a_stale_api_never_catches_up() {
        let stale = Moods {
            stale: true,
            ..Moods::default()
        };
        assert_eq!(writers(&stale, 9, 500, 0), ["a"]);
    }

    #[test]
    fn answers_of_two_replicas_alternate_until_both_know() {
        let alternate = Moods {
            alternate: Some(30.0),
            ..Moods::default()
        };
        let seen = |now| -> std::collections::BTreeSet<String> {
            (0..40)
                .flat_map(|call| writers(&alternate, 0, now, call))
                .collect()
        };
        assert_eq!(seen(20).len(), 2);
        assert_eq!(seen(41), ["b".to_owned()].into());
    }

    #[test]
    fn none_or_two_may_be_told_as_writers() {
        let count = |writers| Moods {
            writers: Some(writers),
            ..Moods::default()
        };
        assert!(writers(&count(0), 0, 20, 0).is_empty());
        assert_eq!(writers(&count(2), 0, 20, 0), ["a", "b"]);
    }

    #[test]
    fn foreign_rows_have_other_engines() {
        let foreign = Moods {
            foreign: true,
            ..Moods::default()
        };
        let moods = Set::from([("orders".to_owned(), (seconds(0), foreign))]);
        let estate = answer(&history(), &moods, seconds(20), 0);
        assert_eq!(estate.clusters.len(), 4);
        assert!(estate.clusters.values().any(|row| row.engine == "docdb"));
    }

    #[test]
    fn the_history_keeps_what_was_told_at_its_horizon() {
        let mut history = history();
        for minute in 1..30 {
            let last = history.at(seconds(60 * minute)).unwrap().clone();
            history.note(seconds(60 * minute), &last);
        }
        assert!(history.entries.len() < 14);
        assert!(history.at(seconds(0)).is_some());
    }
}
