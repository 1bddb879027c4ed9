//! Who was Ready when, seen by a watch of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use dbbalance_testkit::TestCase;
use dbbalance_testkit::workloads::is_ready;
use futures::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::watcher::{self, Event, watcher};

/// What the operator and the server may not have seen yet.
const SLACK: SignedDuration = SignedDuration::from_secs(3);

/// The Ready pods of an app, and how many it should have, since a moment.
#[derive(Clone, Debug)]
struct ReadyPods {
    since: Timestamp,
    ready: BTreeSet<String>,
    wanted: usize,
}

/// The record of an app's availability.
#[derive(Clone, Default)]
pub struct AvailabilityLog(Arc<Mutex<Vec<ReadyPods>>>);

impl AvailabilityLog {
    /// Watches the app's pods from now on.
    pub fn watch(case: &TestCase<'_>, app: &str, wanted: usize) -> Self {
        let log = Self::default();
        log.set_wanted(wanted);
        let (own, api) = (log.clone(), case.api::<Pod>());
        let config = watcher::Config::default().labels(&format!("app={app}"));
        tokio::spawn(async move {
            let mut pods: BTreeMap<String, bool> = BTreeMap::new();
            let mut events = pin!(watcher(api, config));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => pods.clear(),
                    Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                        pods.insert(pod.name_any(), is_ready(&pod));
                    }
                    Ok(Event::Delete(pod)) => drop(pods.remove(&pod.name_any())),
                    Ok(Event::InitDone) | Err(_) => {}
                }
                let ready = pods.iter().filter(|(_, ready)| **ready);
                own.add(Some(ready.map(|(name, _)| name.clone()).collect()), None);
            }
        });
        log
    }

    /// Notes how many pods there should be from now on.
    pub fn set_wanted(&self, wanted: usize) {
        self.add(None, Some(wanted));
    }

    fn add(&self, ready: Option<BTreeSet<String>>, wanted: Option<usize>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = all.last().cloned();
        all.push(ReadyPods {
            since: Timestamp::now(),
            ready: ready.unwrap_or_else(|| last.iter().flat_map(|l| l.ready.clone()).collect()),
            wanted: wanted.unwrap_or_else(|| last.map_or(0, |l| l.wanted)),
        });
    }

    /// The fewest pods that would have been missing without this one, over the last seconds before `at`.
    pub fn missing_without(&self, pod: &str, at: Timestamp) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = at.checked_sub(SLACK).unwrap();
        let first = all.iter().rposition(|entry| entry.since <= begun);
        let window = all.iter().skip(first.unwrap_or(0));
        window
            .take_while(|entry| entry.since <= at)
            .map(|entry| {
                let left = entry.ready.iter().filter(|name| *name != pod).count();
                entry.wanted.saturating_sub(left)
            })
            .min()
            .unwrap_or(0)
    }
}

pub fn an_eviction_beside_a_missing_pod_is_told() {
    let log = AvailabilityLog::default();
    let begun = Timestamp::from_second(0).unwrap();
    let entry = |second: i64, ready: &[&str]| ReadyPods {
        since: begun + SignedDuration::from_secs(second),
        ready: ready.iter().map(|name| (*name).to_owned()).collect(),
        wanted: 3,
    };
    *log.0.lock().unwrap() = vec![
        entry(0, &["a", "b", "c"]),
        entry(100, &["b", "c"]),
        entry(200, &["a", "b", "c"]),
    ];
    let missing =
        |pod: &str, second| log.missing_without(pod, begun + SignedDuration::from_secs(second));
    assert_eq!(missing("b", 50), 1);
    assert_eq!(missing("b", 101), 1, "too new to be known");
    assert_eq!(missing("b", 150), 2);
    assert_eq!(missing("a", 150), 1, "the missing pod itself");
    assert_eq!(missing("b", 201), 1, "back");
}
