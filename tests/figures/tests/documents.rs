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

#[test]
fn a_narrowed_name_has_its_own_table_its_goals_and_its_line_in_the_chart() {
    let run = |case: &str, seconds: f64, touched: usize, missed: Option<f64>| Run {
        case: case.to_owned(),
        app: "hikaricp".to_owned(),
        pods: 20,
        per_pod: 10,
        reached: true,
        seconds_to_band: Some(seconds),
        pods_touched: touched,
        recycles: 6.0,
        missed,
        shares: vec![0.35, 0.35, 0.3],
        ..Run::default()
    };
    let mut results = Results::default();
    let document = |results: &Results| {
        let pages = page::pages(results).unwrap();
        let text = |name: &str| {
            let found = pages.iter().find(|(path, _)| path.ends_with(name));
            found.unwrap().1.clone()
        };
        (text("docs/bench.md"), text("docs/bench/shares.svg"))
    };
    // Rows that are older than the figure do not say that nothing was missed.
    results
        .runs
        .insert("1".to_owned(), run("eks-http", 38.0, 8, None));
    let (page, chart) = document(&results);
    assert!(page.contains(
        "| `HTTP`, Aurora's endpoint | HikariCP | 1 of 1 | 38 / 38 / 38 | 8.0 / 8 | 6.0 | – | 0 |"
    ));
    assert!(!page.contains("narrowed by a Service, HikariCP"), "{page}");
    assert!(!chart.contains("name narrowed"));
    for (key, seconds, touched) in [("2", 7.0, 6), ("3", 9.0, 8)] {
        let narrowed = run("narrowed-a-http", seconds, touched, Some(0.0));
        results.runs.insert(key.to_owned(), narrowed);
    }
    let (page, chart) = document(&results);
    assert!(
        page.contains("| 2 of 2 | 8 / 9 / 9 | 7.0 / 8 | 6.0 | 0.0 | 0 |"),
        "{page}"
    );
    assert!(page.contains("narrowed by a Service, HikariCP: at most 12 s, median | met (8 s) |"));
    assert!(page.contains(
        "at most 7 pods touched, one above the least | **not met** (8 at most, 7.0 on average) |"
    ));
    assert!(chart.contains("the same, name narrowed, 2 runs"));
}
