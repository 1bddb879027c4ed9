//! How long after a failover of the RDS API the first pod is claimed, at the default cadence of polls.
//!
//! It runs alone: what it measures is the operator, not the other tests.

use std::time::{Duration, Instant};

use dbbalance_api::DbBalancePolicy;
use serde_json::json;

use crate::support::app::workload;
use crate::support::operator::{Operator, Settings};
use crate::support::policy::{policy, signal, target};
use crate::support::{Case, LIMIT, Suite, until};

const CLUSTERS: usize = 20;
/// Failovers at a time; each lot falls at another moment between two polls.
const LOT: usize = 4;
/// The default time between two polls.
const POLL: Duration = Duration::from_secs(5);
/// A poll, its confirmation a second later, and what a busy machine adds.
const WORST: Duration = Duration::from_secs(15);

pub async fn a_failover_is_acted_on_within_a_poll_and_its_confirmation(suite: &Suite) {
    let case = Case::new(suite, "r").await;
    let seen = case.watch_pods().await;
    let name = |n: usize| format!("r-{n:02}");
    for n in 0..CLUSTERS {
        case.cluster(&name(n), 2);
        let app = workload("Deployment", &name(n), 1);
        case.create::<k8s_openapi::api::apps::v1::Deployment>(app)
            .await;
    }
    for n in 0..CLUSTERS {
        case.ready_pods(&name(n), 1).await;
    }
    let settings = Settings {
        default_cadence: true,
        ..Settings::default()
    };
    let _operator = Operator::with(&case, "one", &settings).await;
    for n in 0..CLUSTERS {
        let target = target("Deployment", &name(n), &signal());
        let object = policy(&name(n), &name(n), &[target]);
        case.create::<DbBalancePolicy>(object).await;
    }
    for n in 0..CLUSTERS {
        case.fresh(&name(n), 1).await;
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
            let claimed = until("a claim", LIMIT, async || {
                let all = seen.all();
                let mut of_app = all.values().filter(|s| s.app == app);
                of_app.find_map(|s| s.claimed)
            })
            .await;
            times.push(claimed.saturating_duration_since(begun));
            case.fresh(&app, 2).await;
        }
    }
    times.sort();
    let seconds: Vec<String> = times
        .iter()
        .map(|t| format!("{:.2}", t.as_secs_f64()))
        .collect();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "figures: reaction: {CLUSTERS} clusters, poll every {} s: median {:.2} s, worst {:.2} s; all: {}",
        POLL.as_secs(),
        median.as_secs_f64(),
        worst.as_secs_f64(),
        seconds.join(" ")
    );
    let figures = json!({"clusters": CLUSTERS, "worst": worst.as_secs_f64()});
    assert!(worst < WORST, "{figures}");
}
