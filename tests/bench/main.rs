//! The bench, by `make bench`: measures how real pools on real databases follow a topology change, and what following costs.
//!
//! Every run starts from the same state and is kept under its key in `docs/bench/results.json`; a run that is there is
//! not repeated, so an interrupted bench goes on where it was. `BENCH_RUNS=n` sets how often each case is run,
//! `BENCH_FAILOVERS=n` how many failovers there are in a row (20),
//! `BENCH_ONLY=text` narrows to the keys that hold the text, or one of several with commas between, `BENCH_FRESH=1` starts anew, `BENCH_SHORT=1` cuts the
//! five minutes of "nothing is done" to one, `BENCH_PODS=n` takes fewer pods than 20. `DBBALANCE_BENCH_BINARY` is the operator's release build.
//! With the argument `list` nothing is measured: each case is printed with the number of its runs, by the key that
//! `BENCH_ONLY` takes. With `page` nothing is measured either: page, chart and README are written from the file.
//!
//! A single run of a case: `BENCH_ONLY=narrowed-a-http/hikaricp/01 make bench`; the case: `BENCH_ONLY=narrowed-a-http/`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod app;
mod cases;
mod evidence;
mod failover;
mod fixture;
mod measure;
mod names;
mod operator;
mod others;
mod play;
mod start;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::time::Instant;

use dbbalance_figures::page;
use dbbalance_testbed::interrupt;

use cases::Case;
use dbbalance_figures::results::{Machine, Results, Run};
use fixture::BenchFixture;

fn main() -> ExitCode {
    let is_asked = |what: &str| std::env::args().any(|argument| argument == what);
    let done = if is_asked("page") {
        page::write()
    } else if is_asked("list") {
        list_cases()
    } else {
        measure_all().and_then(|()| page::write())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// A setting of the environment; empty is none.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str, default: usize) -> Result<usize, String> {
    let number = set(name).map_or(Ok(default), |text| text.parse());
    number.map_err(|_| format!("{name} is not a number"))
}

/// All cases, with the settings of the environment.
fn all_cases() -> Result<Vec<Case>, String> {
    let (pods, runs) = (
        number("BENCH_PODS", cases::PODS)?,
        number("BENCH_RUNS", 10)?,
    );
    Ok(cases::all(pods, runs, set("BENCH_SHORT").is_some()))
}

/// Prints what `BENCH_ONLY` may name.
fn list_cases() -> Result<(), String> {
    for case in all_cases()? {
        println!("{}/{}/ {}", case.name, case.app.name, case.runs);
    }
    let mut others = BTreeMap::new();
    for (key, _) in others::all(number("BENCH_FAILOVERS", others::FAILOVERS)?) {
        let case = key.rsplit_once('/').map_or("", |(case, _)| case).to_owned();
        *others.entry(case).or_insert(0) += 1;
    }
    for (case, runs) in others {
        println!("{case}/ {runs}");
    }
    Ok(())
}

/// Plays what is not in the file yet.
fn measure_all() -> Result<(), String> {
    let only = set("BENCH_ONLY").unwrap_or_default();
    let fresh = set("BENCH_FRESH").is_some() || !Results::file().exists();
    let mut results = if fresh {
        Results::default()
    } else {
        Results::load()?
    };
    let wanted: Vec<(String, Case)> = all_cases()?
        .into_iter()
        .flat_map(|case| {
            (1..=case.runs).map(move |run| {
                (
                    format!("{}/{}/{run:02}", case.name, case.app.name),
                    case.clone(),
                )
            })
        })
        .filter(|(key, case)| {
            // A trial with other pods is no result of this one.
            let kept = results.runs.get(key);
            only.split(',').any(|part| key.contains(part))
                && kept.is_none_or(|run| run.pods != case.app.pods)
        })
        .collect();
    let others: Vec<_> = others::all(number("BENCH_FAILOVERS", others::FAILOVERS)?)
        .into_iter()
        .filter(|(key, _)| only.split(',').any(|part| key.contains(part)) && !results.has(key))
        .collect();
    if wanted.is_empty() && others.is_empty() {
        eprintln!("every run is in {}", Results::file().display());
        return Ok(());
    }
    let mut apps: Vec<&str> = wanted.iter().map(|(_, case)| case.app.name).collect();
    apps.extend(others.iter().map(|(_, other)| other.app()));
    apps.sort_unstable();
    apps.dedup();
    let mut failed = Vec::new();
    BenchFixture::with(&apps, |fixture| {
        results.machine = machine();
        for (at, (key, case)) in wanted.iter().enumerate() {
            if interrupt::is_interrupted() {
                failed.push("what came after the interrupt".to_owned());
                return;
            }
            let began = Instant::now();
            // One that fails must not take the others with it.
            let played = catch_unwind(AssertUnwindSafe(|| play::play(fixture, case)));
            let took = began.elapsed().as_secs();
            let place = format!("[{}/{}] {key}", at + 1, wanted.len());
            let Ok(run) = played else {
                eprintln!("{place}: failed after {took} s");
                failed.push(key.clone());
                continue;
            };
            eprintln!(
                "{place}: {} in {took} s; {}",
                if run.reached { "even" } else { "uneven" },
                words(&run)
            );
            results.runs.insert(key.clone(), run);
            results.save().expect("results kept");
        }
        failed.extend(others::play(fixture, &others, &mut results));
    });
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "not measured: {}; the same command goes on with them",
            failed.join(", ")
        ))
    }
}

/// A run's figures, for who waits for the next.
fn words(run: &Run) -> String {
    let to_band = run.seconds_to_band.map_or_else(
        || "never".to_owned(),
        |seconds| format!("after {seconds} s"),
    );
    format!(
        "within the band {to_band}, pods touched {}, recycles {}, missed {}, failed queries {}, shares {:?}; {}",
        run.pods_touched,
        run.recycles,
        run.missed.unwrap_or_default(),
        run.failed_queries,
        run.shares,
        run.said.as_deref().unwrap_or_default(),
    )
}

fn machine() -> Machine {
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse::<u64>().ok());
    let told = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        output.map_or_else(
            |_| "?".to_owned(),
            |output| number_in(&String::from_utf8_lossy(&output.stdout)),
        )
    };
    let versions: BTreeMap<String, String> = [
        ("dbbalance", env!("CARGO_PKG_VERSION").to_owned()),
        ("PostgreSQL", told("/usr/lib/postgresql/15/bin/postgres")),
    ]
    .map(|(name, version)| (name.to_owned(), version))
    .into();
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        memory_gib: kib.unwrap_or_default() / (1 << 20),
        date: jiff::Timestamp::now().to_string()[..10].to_owned(),
        versions,
    }
}

/// The first word that begins with a digit.
fn number_in(told: &str) -> String {
    let number = told
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    number.unwrap_or("?").to_owned()
}
