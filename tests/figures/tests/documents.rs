//! The figures that people read are those that were measured: README, `docs/bench.md` and its chart are what
//! `docs/bench/results.json` gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use dbbalance_figures::page;
use dbbalance_figures::quantile::quantile;
use dbbalance_figures::results::{Results, Run};

#[test]
fn readme_page_and_chart_are_what_was_measured() {
    let results = Results::load().unwrap_or_else(|e| panic!("{e}"));
    assert!(!results.runs.is_empty(), "nothing was measured: make bench");
    for (path, wanted) in page::pages(&results).unwrap() {
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{} is not what the results give: make bench-page",
            path.display()
        );
    }
}

#[test]
fn figures_count_only_runs_that_got_there() {
    let run = |seconds: Option<f64>| Run {
        case: "c".to_owned(),
        app: "a".to_owned(),
        reached: seconds.is_some(),
        seconds_to_band: seconds,
        ..Run::default()
    };
    let mut results = Results::default();
    for (key, seconds) in [("1", Some(10.0)), ("2", None), ("3", Some(30.0))] {
        results.runs.insert(key.to_owned(), run(seconds));
    }
    let figures = results.figures("c", "a").unwrap();
    assert_eq!(
        (figures.runs, figures.reached, figures.median_seconds),
        (3, 2, Some(20.0))
    );
    assert_eq!(results.figures("c", "b"), None);
    assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95), Some(4.8));
}
