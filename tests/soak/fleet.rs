//! 300 policies on 30 clusters in 5 namespaces: what they cost the RDS API, the API server and the machine.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fixture::{Noted, SoakFixture, condition, policy, used};
use crate::seconds;
use dbbalance_testkit::api_server::{KubeApiServer, STRICT};

const POLICIES: usize = 300;
const CLUSTERS: usize = 30;
const NAMESPACES: usize = 5;
/// Policies whose workload has a pod, so that there is something to watch.
const WITH_POD: usize = 30;
/// RDS calls a second while nothing moves: two every 5 s, and some slack.
const QUIET_RATE: f64 = 0.5;
/// RDS calls a second while something moves: what the token bucket gives.
const MOVING_RATE: f64 = 2.0;
/// What the bucket may give at once, on top.
const BURST: u64 = 4;

pub fn run(server: &KubeApiServer<'_>) {
    let (idle, moving) = (seconds("IDLE", 600), seconds("MOVING", 60));
    let fixture = SoakFixture::new(server);
    for cluster in 0..CLUSTERS {
        fixture.cluster(&format!("c{cluster}"));
    }
    let namespaces: Vec<_> = (0..NAMESPACES).map(|n| format!("fleet-{n}")).collect();
    for namespace in &namespaces {
        server.kubectl(&["create", "namespace", namespace]);
    }
    for number in 0..POLICIES {
        let (name, namespace) = (format!("p{number}"), &namespaces[number % NAMESPACES]);
        fixture.deployment(namespace, &name, usize::from(number < WITH_POD));
        let policy = policy(namespace, &name, &format!("c{}", number % CLUSTERS));
        let path = format!(
            "/apis/dbbalance.io/v1alpha1/namespaces/{namespace}/dbbalancepolicies?{STRICT}"
        );
        server.call(http::Method::POST, &path, &policy).unwrap();
    }
    for namespace in &namespaces {
        fixture.run_pods(namespace, WITH_POD / NAMESPACES);
    }

    let operator = fixture.start_operator();
    let began = Instant::now();
    let all = || {
        let of = |namespace: &String| fixture.policies(namespace);
        namespaces.iter().flat_map(of).collect::<Vec<_>>()
    };
    fixture.until("all policies Ready", Duration::from_mins(5), || {
        let all = all();
        all.len() == POLICIES && all.iter().all(|p| condition(p, "Ready").0 == "True")
    });
    let ready = began.elapsed();
    // Ready comes before the last word on each; from here on nothing has a reason to be written.
    let mut from = fixture.noted(0).1;
    let mut since = Instant::now();
    fixture.until(
        "the writes of the beginning to end",
        Duration::from_mins(1),
        || {
            let (noted, next) = fixture.noted(from);
            if noted.iter().any(Noted::is_write) {
                since = Instant::now();
            }
            from = next;
            since.elapsed() >= Duration::from_secs(5)
        },
    );

    let (first, calls, start) = (used(&operator), fixture.relay.calls(), Instant::now());
    fixture.keep("idle", idle, || true);
    let quiet = rate(fixture.relay.calls() - calls, start.elapsed());
    let (noted, _) = fixture.noted(from);
    let last = used(&operator);
    let writes: Vec<_> = noted.iter().filter(|n| n.is_write()).collect();
    let looks = noted
        .iter()
        .filter(|n| ["get", "list"].contains(&n.verb.as_str()))
        .count();

    // A writer that moves every second keeps one cluster moving, and with it the poller that all share.
    let (calls, start, mut turn) = (fixture.relay.calls(), Instant::now(), 0_usize);
    fixture.keep("moving", moving, || {
        turn += 1;
        let member = format!("c0-{}", 2 - (turn + 1) % 2);
        fixture.rds.failover("c0", Some(&member)).is_ok()
    });
    let (calls, elapsed) = (fixture.relay.calls() - calls, start.elapsed());
    let busy = rate(calls, elapsed);
    let end = used(&operator);

    println!(
        "{}",
        json!({
            "test": "fleet", "policies": POLICIES, "clusters": CLUSTERS, "pods": WITH_POD,
            "ready_after_seconds": ready.as_secs_f64(), "idle_seconds": idle.as_secs(),
            "rds_calls_per_second_quiet": quiet, "rds_calls_per_second_moving": busy,
            "writes_idle": writes.len(), "reads_idle": looks, "rss_kib": last.rss_kib, "rss_kib_before": first.rss_kib,
            "rss_kib_end": end.rss_kib, "cpu_seconds_idle": last.cpu_seconds - first.cpu_seconds,
            "cpu_seconds_start": first.cpu_seconds, "cpu_seconds_moving": end.cpu_seconds - last.cpu_seconds,
        })
    );
    assert!(writes.is_empty(), "an idle fleet was written: {writes:?}");
    assert!(quiet <= QUIET_RATE, "{quiet} RDS calls/s while quiet");
    let allowed = MOVING_RATE + rate(BURST, elapsed);
    assert!(busy <= allowed, "{busy} RDS calls/s while moving");
    assert!(
        busy > quiet,
        "nothing moved: {busy} RDS calls/s, {quiet} while quiet"
    );
}

fn rate(count: u64, time: Duration) -> f64 {
    // Far from where a float would lose a call.
    #[allow(clippy::cast_precision_loss)]
    let count = count as f64;
    count / time.as_secs_f64()
}
