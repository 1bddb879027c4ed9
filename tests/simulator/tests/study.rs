//! Ten thousand seeded runs guard the rule and its defaults: every row of the table stays near the study's
//! figures, or near what is said of it where the simulator is known to differ.

use dbbalance_core::balance::Reach;
use dbbalance_simulator::case::{RecycleStrategy, SimulationCase};
use dbbalance_simulator::failover;
use dbbalance_simulator::figures::{RunFigures, measure_runs};
use dbbalance_simulator::table::{Study, TableRow, all_parts};

/// More than 10,000 over all rows.
const RUNS: u64 = 240;

/// Three standard errors of a proportion over so many runs, in points.
fn proportion(percent: f64) -> f64 {
    let p = (percent / 100.0).clamp(0.02, 0.98);
    300.0 * (p * (1.0 - p) / 240.0).sqrt()
}

/// The model's own freedom (how looks and reads fall in time), and the error of a mean over so many runs.
fn near(found: f64, expected: f64, share: f64, least: f64) -> bool {
    (found - expected).abs() <= (expected * share).max(least)
}

fn complaints(row: &TableRow, found: &RunFigures) -> Vec<String> {
    let Study {
        even,
        seconds,
        pods,
    } = row.expected();
    let mut said = vec![];
    if let Some(even) = even
        && (found.even_percent - even).abs() > proportion(even)
    {
        said.push(format!("{:.1} % end even, not {even}", found.even_percent));
    }
    if let Some(pods) = pods
        && !near(found.pods.mean, pods, 0.2, 0.7)
    {
        said.push(format!("{:.2} pods, not {pods}", found.pods.mean));
    }
    if let Some(seconds) = seconds
        && !near(found.seconds.mean, seconds, 0.25, 9.0)
    {
        said.push(format!("{:.1} s, not {seconds}", found.seconds.mean));
    }
    if let RecycleStrategy::Steered { reach, .. } = &row.case.strategy {
        let most = row.case.max_unavailable();
        if found.busy > most {
            said.push(format!("{} pods away at once, {most} may be", found.busy));
        }
        if found.each > 3 && !matches!(reach, Reach::Slow { .. }) {
            said.push(format!("a pod was recycled {} times", found.each));
        }
        if found.told_wrong > 0 {
            said.push(format!(
                "{} runs called Balanced were not",
                found.told_wrong
            ));
        }
    }
    said.into_iter()
        .map(|what| format!("{}: {what}", row.case.name))
        .collect()
}

#[test]
fn every_row_of_the_table_stays_near_the_study() {
    let mut runs = 0;
    let mut said = vec![];
    for row in all_parts().into_iter().flat_map(|part| part.rows) {
        let found = measure_runs(&row.case, RUNS);
        runs += found.runs;
        said.extend(complaints(&row, &found));
    }
    assert!(runs >= 10_000, "{runs} runs");
    assert!(said.is_empty(), "{}", said.join("\n"));
}

#[test]
fn the_recommended_rule_moves_half_as_many_pods_as_evidence_alone_and_ends_even() {
    let found = |strategy| measure_runs(&SimulationCase::key("", strategy), 500);
    let recommended = found(RecycleStrategy::recommended());
    let alone = found(RecycleStrategy::evidence_only());
    assert!(recommended.pods.mean <= 0.5 * alone.pods.mean);
    assert!(recommended.pods.mean < 10.0, "the goal is ten at most");
    assert!(recommended.seconds.mean <= 60.0, "and a minute");
    assert_eq!(recommended.unended, 0);
    assert!((recommended.even_percent - 100.0).abs() < f64::EPSILON);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let case = SimulationCase::key("", RecycleStrategy::recommended());
    assert_eq!(measure_runs(&case, 20), measure_runs(&case, 20));
}

#[test]
fn eight_looks_that_agree_send_hardly_any_pod_to_the_old_writer_where_one_look_does_in_most_failovers()
 {
    let eight = failover::measure_failovers(8, 500);
    let one = failover::measure_failovers(1, 500);
    assert!((eight.right_percent - 100.0).abs() < f64::EPSILON);
    assert!(eight.sent_wrong_percent < 10.0, "{eight:?}");
    assert!(one.sent_wrong_percent > 40.0, "{one:?}");
    assert!(eight.recycles.mean < 21.0, "one each: {eight:?}");
}
