//! What is measured besides readers that join: failovers in a row, half-open writers, and evidence where it is hard.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use dbbalance_testbed::interrupt;

use crate::cases;
use crate::fixture::BenchFixture;
use crate::{evidence, failover};
use dbbalance_figures::results::Results;

/// In a row, where nobody says another number.
pub const FAILOVERS: usize = 20;
/// Half-open writers of each app.
const HALF_OPEN: usize = 2;

/// One of them.
#[derive(Clone, Debug)]
pub enum Other {
    Failover {
        app: &'static str,
        flicker: bool,
        half_open: bool,
        with_us: bool,
    },
    Masqueraded,
    Pooled,
}

impl Other {
    pub fn app(&self) -> &'static str {
        match self {
            Self::Failover { app, .. } => app,
            Self::Masqueraded | Self::Pooled => "hikaricp",
        }
    }
}

/// All of them, in the order of playing: pods are started anew only for another app.
pub fn all(failovers: usize) -> Vec<(String, Other)> {
    let mut all = Vec::new();
    for app in ["activerecord", "hikaricp"] {
        let mut add = |name: &str, runs, flicker, half_open, with_us| {
            for run in 1..=runs {
                let other = Other::Failover {
                    app,
                    flicker,
                    half_open,
                    with_us,
                };
                all.push((format!("{name}/{app}/{run:02}"), other));
            }
        };
        add("failover", failovers, false, false, true);
        add("failover-flicker", failovers, true, false, true);
        add("half-open", HALF_OPEN, false, true, true);
        add("failover-nothing", 1, false, false, false);
    }
    all.push(("masqueraded/hikaricp/01".to_owned(), Other::Masqueraded));
    all.push(("pgbouncer/hikaricp/01".to_owned(), Other::Pooled));
    all
}

/// Plays them; gives the keys of those that failed.
pub fn play(
    fixture: &BenchFixture<'_>,
    others: &[(String, Other)],
    results: &mut Results,
) -> Vec<String> {
    let mut failed = Vec::new();
    for (at, (key, other)) in others.iter().enumerate() {
        let began = Instant::now();
        let played = catch_unwind(AssertUnwindSafe(|| one(fixture, key, other, results)));
        let place = format!("[{}/{}] {key}", at + 1, others.len());
        let took = began.elapsed().as_secs();
        if let Ok(told) = played {
            eprintln!("{place}: {told}, in {took} s");
            results.save().expect("results kept");
        } else {
            eprintln!("{place}: failed after {took} s");
            failed.push(key.clone());
        }
        if interrupt::is_interrupted() {
            failed.push("interrupted".to_owned());
            break;
        }
    }
    failed
}

fn one(fixture: &BenchFixture<'_>, key: &str, other: &Other, results: &mut Results) -> String {
    match other {
        Other::Failover {
            app,
            flicker,
            half_open,
            with_us,
        } => {
            let app = failover::app(app);
            let run = failover::play(fixture, &app, *flicker, *half_open, *with_us);
            let told = serde_json::to_string(&run).unwrap_or_default();
            results.failovers.insert(key.to_owned(), run);
            told
        }
        Other::Masqueraded => {
            let mut all = cases::all(20, 1, true).into_iter();
            let case = all.find(|case| case.name == "http").expect("the case");
            let run = evidence::masqueraded(fixture, &case);
            let told = format!(
                "reached {}, {:?} s, shares {:?}",
                run.reached, run.seconds_to_band, run.shares
            );
            results.masqueraded.insert(key.to_owned(), run);
            told
        }
        Other::Pooled => {
            let run = evidence::pooled(fixture);
            let told = serde_json::to_string(&run).unwrap_or_default();
            results.pooled.insert(key.to_owned(), run);
            told
        }
    }
}
