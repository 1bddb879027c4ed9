//! Plays one case: from the even start to the end of what is done, with the databases and the apps watched all the while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::FleetCommand;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cases::{Case, Deed};
use crate::fixture::{APP, BenchFixture, CLUSTER, LIMIT, NAMESPACE, now};
use crate::measure;
use dbbalance_figures::results::Run;

/// After the end: what was recycled last has opened anew, and what was in use is closed.
const AFTER: Duration = Duration::from_secs(4);
/// The databases notice that a client has gone.
const GONE: Duration = Duration::from_secs(30);
/// A rollout of 20 pods on a busy machine.
const ROLLOUT: Duration = Duration::from_mins(5);

/// Plays it.
pub fn play(fixture: &BenchFixture<'_>, case: &Case) -> Run {
    fixture.start_state(&case.app, case.name_of_readers);
    if !case.rest.is_zero() {
        fixture.within(case.rest, || None::<()>);
    }
    play_from_here(fixture, case)
}

/// Plays it from the state that the fixture is in.
pub fn play_from_here(fixture: &BenchFixture<'_>, case: &Case) -> Run {
    if let Deed::Policy(spec, _) = &case.deed {
        fixture.policy(spec);
    }
    fixture.control.observe(CLUSTER).expect("an observer");
    // The first sample is the start.
    fixture.sample();
    let began = Timestamp::now();
    let mut failures = Failures::default();
    failures.look(fixture);
    let order = FleetCommand::AddReader {
        cluster: CLUSTER.to_owned(),
        name: None,
        dns_delay: case.dns_delay,
    };
    let reader: String =
        serde_json::from_value(fixture.control.send(&order).expect("a reader")).expect("its name");
    let (zero, from, said) = match &case.deed {
        Deed::Nothing(seconds) => {
            let from = available(fixture, &reader);
            last(fixture, &mut failures, Duration::from_secs(*seconds));
            (from, "available", None)
        }
        Deed::Restart => {
            fixture
                .control
                .wait_idle(CLUSTER, LIMIT)
                .expect("an idle cluster");
            let from = now();
            restart(fixture, case, &mut failures);
            (from, "restart", None)
        }
        Deed::Policy(_, seconds) => {
            let from = opened(fixture, &mut failures);
            let said = ended(fixture, &mut failures, Duration::from_secs(*seconds));
            (from, "openTime", Some(said))
        }
    };
    last(fixture, &mut failures, AFTER);
    // Sessions of pods that have gone may outlive them; what stays for longer than this is part of the result.
    let want = case.app.pods * case.app.size;
    fixture.within(GONE, || {
        let sample = fixture.sample();
        let held = fixture
            .readers()
            .iter()
            .filter_map(|name| sample.connections(name))
            .sum::<usize>();
        (held == want).then_some(())
    });
    // By now the operator has measured what its last step did.
    let said = said.map(|word| format!("{word}: {}", balanced(&fixture.status())));
    let seen = fixture
        .control
        .send(&FleetCommand::Seen {
            cluster: CLUSTER.to_owned(),
            stop: true,
        })
        .expect("samples");
    let seen = serde_json::from_value(seen).expect("an observation");
    let readers = fixture.readers();
    assert_eq!(readers.last(), Some(&reader), "the new reader is the last");
    Run {
        case: case.name.to_owned(),
        app: case.app.name.to_owned(),
        began: began.to_string(),
        zero: from.to_owned(),
        failed_queries: failures.number(),
        said,
        ..measure::run(&case.app, &seen, &readers, zero)
    }
}

/// Failed queries of each pod: first and last count, also of pods that have gone since.
#[derive(Default)]
struct Failures(BTreeMap<String, (u64, u64)>);

impl Failures {
    fn look(&mut self, fixture: &BenchFixture<'_>) {
        let began = self.0.is_empty();
        for (pod, stats) in fixture.stats() {
            let pools = stats["pools"].as_object();
            let failed = pools
                .into_iter()
                .flatten()
                .filter_map(|(_, pool)| pool["failed"].as_u64())
                .sum();
            // A pod that was born in the run began with none.
            let first = if began { failed } else { 0 };
            self.0.entry(pod).or_insert((first, failed)).1 = failed;
        }
    }

    fn number(&self) -> u64 {
        self.0
            .values()
            .map(|(first, last)| last.saturating_sub(*first))
            .sum()
    }
}

/// When the API told that the reader is available.
fn available(fixture: &BenchFixture<'_>, reader: &str) -> i64 {
    fixture.until("the new reader", LIMIT, || {
        let events = fixture.control.events(0).expect("events");
        let told = events
            .iter()
            .rev()
            .find(|event| event.instance.as_deref() == Some(reader) && event.what == "available");
        told.map(|event| event.at)
    })
}

/// Watches for so long.
fn last(fixture: &BenchFixture<'_>, failures: &mut Failures, time: Duration) {
    watch(fixture, failures, time, || None::<()>);
}

/// Watches until something is there, or time is over.
fn watch<T>(
    fixture: &BenchFixture<'_>,
    failures: &mut Failures,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Option<T> {
    let mut looked = Instant::now();
    let found = fixture.within(limit, || {
        if looked.elapsed() > Duration::from_secs(1) {
            failures.look(fixture);
            looked = Instant::now();
        }
        probe()
    });
    failures.look(fixture);
    found
}

/// What `kubectl rollout restart` does; watched until all pods are new, and the old ones gone.
fn restart(fixture: &BenchFixture<'_>, case: &Case, failures: &mut Failures) {
    let old: Vec<String> = fixture.pods().into_iter().map(|pod| pod.name).collect();
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{APP}");
    let at = Timestamp::now().to_string();
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": at});
    fixture.call(
        Method::PATCH,
        &path,
        &json!({"spec": {"template": {"metadata": {"annotations": annotation}}}}),
    );
    let done = watch(fixture, failures, ROLLOUT, || {
        let pods = fixture.pods();
        let new = pods.iter().all(|pod| pod.ready && !old.contains(&pod.name));
        (new && pods.len() == case.app.pods).then_some(())
    });
    done.expect("a rollout that ends");
}

/// The second epoch's `openTime`.
fn opened(fixture: &BenchFixture<'_>, failures: &mut Failures) -> i64 {
    let open = watch(fixture, failures, LIMIT, || {
        let target = &fixture.status()["targets"][0];
        (target["dueEpoch"].as_i64() >= Some(2))
            .then(|| target["openTime"].as_str().map(str::to_owned))
            .flatten()
    });
    let time: Timestamp = open.expect("an open epoch").parse().expect("a time");
    time.as_millisecond()
}

/// How the epoch's run ended, or where it stood when time was over.
fn ended(fixture: &BenchFixture<'_>, failures: &mut Failures, limit: Duration) -> String {
    let end = watch(fixture, failures, limit, || {
        let status = fixture.status();
        let history = status["history"].as_array().cloned().unwrap_or_default();
        let run = history
            .into_iter()
            .find(|run| run["epoch"].as_i64() >= Some(2) && !run["endTime"].is_null())?;
        Some(run["result"].as_str().unwrap_or_default().to_owned())
    });
    end.unwrap_or_else(|| {
        let status = fixture.status();
        let plan = &status["plan"][0]["message"];
        format!("not ended after {} s, {plan}", limit.as_secs())
    })
}

/// What the operator says of the balance.
fn balanced(status: &Value) -> String {
    let all = status["conditions"].as_array();
    let found = all.into_iter().flatten().find(|c| c["type"] == "Balanced");
    let words = found.and_then(|c| c["message"].as_str());
    words.unwrap_or_default().to_owned()
}
