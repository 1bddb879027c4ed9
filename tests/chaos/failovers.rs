//! Failovers in a row with the defaults and without evidence, for each real pool: what is on the wrong role 60 s after.

use std::path::PathBuf;
use std::time::Duration;

use dbbalance_api::DbBalancePolicy;
use dbbalance_testbed::aurora::control::AuroraControl;
use dbbalance_testbed::aurora::event::{EventKind, FleetEvent, now_millis};
use dbbalance_testbed::aurora::observe::Observation;
use dbbalance_testbed::aurora::script::FailoverOptions;
use dbbalance_testkit::database_view::{is_wrong, sees};
use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::signal_recycle;
use dbbalance_testkit::{TestCase, checkout_path, wait_until};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

use crate::fixture::{
    CLUSTER, ChaosFixture, app, cluster, deployment, held, is_right, operator_settings, readers,
    target,
};
use crate::read_number;
use crate::rules::{RecycleLedger, why_not_at_rest};

const PODS: u32 = 6;
const POOLS: &[&str] = &["activerecord", "hikaricp"];
/// When connections are counted, from the moment when the writer's record has come to rest.
const AFTER: Duration = Duration::from_mins(1);
/// Pods that start on two cores; or a failover of the slowest profile with all that follows.
const LIMIT: Duration = Duration::from_mins(5);
/// How long pools get before they are renewed by hand, so that each failover begins with right ones.
const PATIENCE: Duration = Duration::from_mins(2);

/// What one failover left.
struct FailoverOutcome {
    wrong: usize,
    held: usize,
    last_seen_seconds: f64,
    /// Whether nothing was wrong any more within [`PATIENCE`] of the count.
    healed: bool,
    recycles: u64,
}

/// Plays all failovers; an error names those that left something.
pub fn run() -> Result<(), String> {
    let count = read_number("DBBALANCE_FAILOVERS", 10);
    let set = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let only = set("DBBALANCE_FAILOVERS_POOL");
    let profile = set("DBBALANCE_FAILOVERS_PROFILE").unwrap_or_else(|| "realistic".to_owned());
    let chosen = |pool: &&&str| only.as_deref().is_none_or(|only| only == **pool);
    let pools: Vec<&'static str> = POOLS.iter().filter(chosen).copied().collect();
    assert!(!pools.is_empty(), "the pools are {}", POOLS.join(", "));
    let mut problems = Vec::new();
    for pool in pools {
        let fixture = ChaosFixture::up(&profile, &[pool]);
        let outcomes = fixture.suite.run(|| play(&fixture, pool, count))?;
        let bad: usize = outcomes.iter().map(|o| o.wrong).sum();
        let worst = outcomes
            .iter()
            .map(|o| o.last_seen_seconds)
            .fold(0.0, f64::max);
        println!(
            "figures: failovers: {}",
            json!({
                "pool": pool, "profile": profile, "failovers": outcomes.len(), "pods": PODS, "wrongAfter60Seconds": bad,
                "neverHealed": outcomes.iter().filter(|o| !o.healed).count(),
                "lastWrongSeenSeconds": worst, "recycles": outcomes.iter().map(|o| o.recycles).sum::<u64>(),
            })
        );
        if bad > 0 {
            problems.push(format!("{pool}: {bad} connections on the wrong role"));
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

/// A policy that says nothing but what it must.
fn policy(pool: &str) -> Value {
    let recycle = if pool == "hikaricp" {
        json!({"method": "HTTP", "http": {"port": 8080, "path": "/pool/recycle"}})
    } else {
        signal_recycle()
    };
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy", "metadata": {"name": "app"},
        "spec": {"cluster": {"identifier": CLUSTER}, "targets": [target("app", &recycle)]},
    })
}

fn is_whole(seen: &Observation) -> bool {
    is_right(held(seen, "app"), usize::try_from(PODS).unwrap())
}

async fn play(fixture: &ChaosFixture, pool: &'static str, count: u64) -> Vec<FailoverOutcome> {
    let case = fixture.case().await;
    let control = AuroraControl::inside();
    case.create::<Deployment>(deployment("app", &app(pool, PODS)))
        .await;
    control.observe(CLUSTER).unwrap();
    sees(&control, CLUSTER, "full pools", LIMIT, is_whole).await;
    let settings = OperatorSettings {
        default_cadence: true,
        ..operator_settings()
    };
    let operator = OperatorProcess::with(&case, "one", &settings).await;
    case.create_with_baseline(policy(pool)).await;
    let mut outcomes = Vec::new();
    for number in 1..=count {
        prepare(&case, &control).await;
        let flicker = number % 2 == 0;
        let outcome = fail_over(&case, &control, flicker).await;
        println!(
            "{pool} {number}/{count}{}: {} of {} connections on the wrong role 60 s after the writer's record came to rest, \
             the last seen after {:.1} s{}; {} recycles",
            if flicker { " with flicker" } else { "" },
            outcome.wrong,
            outcome.held,
            outcome.last_seen_seconds,
            if outcome.healed {
                ""
            } else {
                ", and they stay"
            },
            outcome.recycles,
        );
        if outcome.wrong > 0 {
            let policy = case.api::<DbBalancePolicy>().get("app").await.unwrap();
            println!("  the policy then: {:?}", why_not_at_rest(&policy));
            println!("  log: {}", keep_log(pool, &operator).display());
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// Keeps what the operator has logged, as the testbed is taken away.
fn keep_log(pool: &str, operator: &OperatorProcess<'_>) -> PathBuf {
    let folder = checkout_path("target/chaos");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("failovers-{pool}.log"));
    std::fs::write(&file, operator.log()).unwrap();
    file
}

/// Every pool full and right, by hand if need be, and the policy at rest if it comes to be.
async fn prepare(case: &TestCase<'_>, control: &AuroraControl) {
    control.observe(CLUSTER).unwrap();
    let begun = std::time::Instant::now();
    let mut renewed = false;
    wait_until("pools on the right side", LIMIT, async || {
        let policy = case.api::<DbBalancePolicy>().get("app").await.ok()?;
        let patient = begun.elapsed() < PATIENCE;
        if is_whole(&control.observation(CLUSTER).ok()?) {
            let why = why_not_at_rest(&policy);
            if why.is_some() && !patient {
                println!("  the policy is not at rest: {}", why.as_deref()?);
            }
            return (why.is_none() || !patient).then_some(());
        }
        if !patient && !renewed {
            renewed = true;
            println!(
                "  pools are renewed by hand: {:?}",
                why_not_at_rest(&policy)
            );
            for pod in case.pods("app").await {
                let ip = pod.status.as_ref()?.pod_ip.clone()?;
                let url = format!("http://{ip}:8080/pool/recycle");
                drop(case.http.post(url).send().await);
            }
        }
        None
    })
    .await;
}

/// When the name server last moved the writer's record, milliseconds since 1970.
fn record_moved(events: &[FleetEvent]) -> i64 {
    let moves = events
        .iter()
        .filter(|e| e.kind == EventKind::Dns && e.what == "writer");
    moves.map(|e| e.at).max().expect("the record has moved")
}

async fn fail_over(case: &TestCase<'_>, control: &AuroraControl, flicker: bool) -> FailoverOutcome {
    control.observe(CLUSTER).unwrap();
    let before = RecycleLedger::read(case, "app").await;
    let start = now_millis();
    let to = readers(control).into_iter().next().expect("a reader");
    let options = FailoverOptions {
        flicker,
        ..FailoverOptions::default()
    };
    control.failover(CLUSTER, Some(&to), options).unwrap();
    control.wait_idle(CLUSTER, LIMIT).unwrap();
    assert_eq!(cluster(control).writer.as_deref(), Some(to.as_str()));
    let moved = record_moved(&control.events(start).unwrap());
    let counted_at = moved + i64::try_from(AFTER.as_millis()).unwrap();
    let seen = sees(control, CLUSTER, "the count", LIMIT, |seen| {
        seen.samples.last().is_some_and(|s| s.at >= counted_at)
    })
    .await;
    let now = held(&seen, "app");
    let deadline = counted_at + i64::try_from(PATIENCE.as_millis()).unwrap();
    let seen = sees(control, CLUSTER, "right pools", LIMIT, |seen| {
        is_whole(seen) || seen.samples.last().is_some_and(|s| s.at >= deadline)
    })
    .await;
    let wrong = seen.lives.iter().filter(|record| is_wrong(record));
    let last = wrong.map(|record| record.last).max().unwrap_or(moved);
    let after = RecycleLedger::read(case, "app").await;
    FailoverOutcome {
        wrong: now.wrong,
        held: now.reading + now.writing,
        last_seen_seconds: f64::from(i32::try_from(last - moved).unwrap()) / 1000.0,
        healed: is_whole(&seen),
        recycles: after.since(&before),
    }
}
