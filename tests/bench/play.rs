//! Plays one case: from the even start to the end of what is done, with the databases and the apps watched all the while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::Order;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::{APP, Bed, CLUSTER, LIMIT, NAMESPACE, now};
use crate::cases::{Case, Deed};
use crate::measure;
use crate::record::Run;

/// After the end: what was recycled last has opened anew, and what was in use is closed.
const AFTER: Duration = Duration::from_secs(4);
/// The databases notice that a client has gone.
const GONE: Duration = Duration::from_secs(30);
/// A rollout of 20 pods on a busy machine.
const ROLLOUT: Duration = Duration::from_mins(5);

/// Plays it.
pub fn play(bed: &Bed<'_>, case: &Case) -> Run {
    bed.start_state(&case.app);
    play_from_here(bed, case)
}

/// Plays it from the state that the bed is in.
pub fn play_from_here(bed: &Bed<'_>, case: &Case) -> Run {
    if let Deed::Policy(spec, _) = &case.deed {
        bed.policy(spec);
    }
    bed.control.observe(CLUSTER).expect("an observer");
    // The first sample is the start.
    bed.sample();
    let began = Timestamp::now();
    let mut failures = Failures::default();
    failures.look(bed);
    let order = Order::AddReader {
        cluster: CLUSTER.to_owned(),
        name: None,
        dns_delay: case.dns_delay,
    };
    let reader: String =
        serde_json::from_value(bed.control.order(&order).expect("a reader")).expect("its name");
    let (zero, from, said) = match &case.deed {
        Deed::Nothing(seconds) => {
            let from = available(bed, &reader);
            last(bed, &mut failures, Duration::from_secs(*seconds));
            (from, "available", None)
        }
        Deed::Restart => {
            bed.control
                .wait_idle(CLUSTER, LIMIT)
                .expect("an idle cluster");
            let from = now();
            restart(bed, case, &mut failures);
            (from, "restart", None)
        }
        Deed::Policy(_, seconds) => {
            let from = opened(bed, &mut failures);
            let said = ended(bed, &mut failures, Duration::from_secs(*seconds));
            (from, "openTime", Some(said))
        }
    };
    last(bed, &mut failures, AFTER);
    // Sessions of pods that have gone may outlive them; what stays for longer than this is part of the result.
    let want = case.app.pods * case.app.size;
    bed.within(GONE, || {
        let sample = bed.sample();
        let held = bed
            .readers()
            .iter()
            .filter_map(|name| sample.connections(name))
            .sum::<usize>();
        (held == want).then_some(())
    });
    // By now the operator has measured what its last step did.
    let said = said.map(|word| format!("{word}: {}", balanced(&bed.status())));
    let seen = bed
        .control
        .order(&Order::Seen {
            cluster: CLUSTER.to_owned(),
            stop: true,
        })
        .expect("samples");
    let seen = serde_json::from_value(seen).expect("an observation");
    let readers = bed.readers();
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
    fn look(&mut self, bed: &Bed<'_>) {
        let began = self.0.is_empty();
        for (pod, stats) in bed.stats() {
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
fn available(bed: &Bed<'_>, reader: &str) -> i64 {
    bed.until("the new reader", LIMIT, || {
        let events = bed.control.events(0).expect("events");
        let told = events
            .iter()
            .rev()
            .find(|event| event.instance.as_deref() == Some(reader) && event.what == "available");
        told.map(|event| event.at)
    })
}

/// Watches for so long.
fn last(bed: &Bed<'_>, failures: &mut Failures, time: Duration) {
    watch(bed, failures, time, || None::<()>);
}

/// Watches until something is there, or time is over.
fn watch<T>(
    bed: &Bed<'_>,
    failures: &mut Failures,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Option<T> {
    let mut looked = Instant::now();
    let found = bed.within(limit, || {
        if looked.elapsed() > Duration::from_secs(1) {
            failures.look(bed);
            looked = Instant::now();
        }
        probe()
    });
    failures.look(bed);
    found
}

/// What `kubectl rollout restart` does; watched until all pods are new, and the old ones gone.
fn restart(bed: &Bed<'_>, case: &Case, failures: &mut Failures) {
    let old: Vec<String> = bed.pods().into_iter().map(|pod| pod.name).collect();
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{APP}");
    let at = Timestamp::now().to_string();
    let annotation = json!({"kubectl.kubernetes.io/restartedAt": at});
    bed.call(
        Method::PATCH,
        &path,
        &json!({"spec": {"template": {"metadata": {"annotations": annotation}}}}),
    );
    let done = watch(bed, failures, ROLLOUT, || {
        let pods = bed.pods();
        let new = pods.iter().all(|pod| pod.ready && !old.contains(&pod.name));
        (new && pods.len() == case.app.pods).then_some(())
    });
    done.expect("a rollout that ends");
}

/// The second epoch's `openTime`.
fn opened(bed: &Bed<'_>, failures: &mut Failures) -> i64 {
    let open = watch(bed, failures, LIMIT, || {
        let target = &bed.status()["targets"][0];
        (target["dueEpoch"].as_i64() >= Some(2))
            .then(|| target["openTime"].as_str().map(str::to_owned))
            .flatten()
    });
    let time: Timestamp = open.expect("an open epoch").parse().expect("a time");
    time.as_millisecond()
}

/// How the epoch's run ended, or where it stood when time was over.
fn ended(bed: &Bed<'_>, failures: &mut Failures, limit: Duration) -> String {
    let end = watch(bed, failures, limit, || {
        let status = bed.status();
        let history = status["history"].as_array().cloned().unwrap_or_default();
        let run = history
            .into_iter()
            .find(|run| run["epoch"].as_i64() >= Some(2) && !run["endTime"].is_null())?;
        Some(run["result"].as_str().unwrap_or_default().to_owned())
    });
    end.unwrap_or_else(|| {
        let status = bed.status();
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
