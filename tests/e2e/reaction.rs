//! How long after a failover of the RDS API the first pod is claimed, at the default cadence of polls.
//!
//! It runs alone: what it measures is the operator, not the other tests.

use std::time::{Duration, Instant};

use dbbalance_api::DbBalancePolicy;
use serde_json::json;

use dbbalance_figures::quantile::quantile;
use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{policy_object, signal_recycle, target_object};
use dbbalance_testkit::workloads::workload_object;
use dbbalance_testkit::{LIMIT, TestCase, TestSuite, wait_until};

const CLUSTERS: usize = 20;
/// Failovers at a time; each lot falls at another moment between two polls.
const LOT: usize = 4;
/// The default time between two polls.
const POLL: Duration = Duration::from_secs(5);
/// A poll, its confirmation a second later, and what a busy machine adds.
const WORST: Duration = Duration::from_secs(15);

pub async fn a_failover_is_acted_on_within_a_poll_and_its_confirmation(suite: &TestSuite) {
    let case = TestCase::new(suite, "r").await;
    let seen = case.watch_pods().await;
    let name = |n: usize| format!("r-{n:02}");
    for n in 0..CLUSTERS {
        case.create_cluster(&name(n), 2);
        let app = workload_object("Deployment", &name(n), 1);
        case.create::<k8s_openapi::api::apps::v1::Deployment>(app)
            .await;
    }
    for n in 0..CLUSTERS {
        case.ready_pods(&name(n), 1).await;
    }
    let settings = OperatorSettings {
        default_cadence: true,
        ..OperatorSettings::default()
    };
    let _operator = OperatorProcess::with(&case, "one", &settings).await;
    for n in 0..CLUSTERS {
        let target = target_object("Deployment", &name(n), &signal_recycle());
        let object = policy_object(&name(n), &name(n), &[target]);
        case.create::<DbBalancePolicy>(object).await;
    }
    for n in 0..CLUSTERS {
        case.wait_fresh(&name(n), 1).await;
    }
    let mut times = Vec::new();
    for lot in 0..CLUSTERS / LOT {
        // A lot begins when all is quiet again, and then at a part of the poll that differs from the others'.
        let part = u32::try_from(lot).unwrap() + 1;
        tokio::time::sleep(POLL + POLL * part / 7).await;
        let mut begun = Vec::new();
        for n in lot * LOT..(lot + 1) * LOT {
            let writer = format!("{}-2", name(n));
            case.rds.failover(&name(n), Some(&writer)).unwrap();
            begun.push((name(n), Instant::now()));
        }
        for (app, begun) in begun {
            let claimed = wait_until("a claim", LIMIT, async || {
                let all = seen.all();
                let mut of_app = all.values().filter(|s| s.app == app);
                of_app.find_map(|s| s.claimed)
            })
            .await;
            times.push(claimed.saturating_duration_since(begun));
            case.wait_fresh(&app, 2).await;
        }
    }
    times.sort();
    let seconds: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
    let (median, worst) = (quantile(&seconds, 0.5).unwrap(), times[times.len() - 1]);
    let seconds: Vec<String> = seconds.iter().map(|s| format!("{s:.2}")).collect();
    println!(
        "figures: reaction: {CLUSTERS} clusters, poll every {} s: median {:.2} s, worst {:.2} s; all: {}",
        POLL.as_secs(),
        median,
        worst.as_secs_f64(),
        seconds.join(" ")
    );
    let figures = json!({"clusters": CLUSTERS, "worst": worst.as_secs_f64()});
    assert!(worst < WORST, "{figures}");
}
