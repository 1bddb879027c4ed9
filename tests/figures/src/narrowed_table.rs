//! The page's section on narrowed names, and its goals, from the kept results. Pure.

use std::fmt::Write as _;

use crate::page::{APPS, number, rows, seconds};
use crate::results::{CaseSummary, Results};

/// Cases by their names, with what a reader calls them, in the table's order.
const ROWS: [(&str, &str); 17] = [
    ("eks-http", "`HTTP`, Aurora's endpoint"),
    ("eks-signal", "`Signal`, Aurora's endpoint"),
    ("eks-evict", "`Evict`, Aurora's endpoint"),
    ("narrowed-a-http", "**`HTTP`, narrowed by a Service (A)**"),
    (
        "narrowed-a-signal",
        "**`Signal`, narrowed by a Service (A)**",
    ),
    ("narrowed-a-evict", "**`Evict`, narrowed by a Service (A)**"),
    ("narrowed-b-http", "**`HTTP`, narrowed by a slice (B)**"),
    ("narrowed-b-signal", "**`Signal`, narrowed by a slice (B)**"),
    ("narrowed-b-evict", "**`Evict`, narrowed by a slice (B)**"),
    ("narrowed-a-http-kubeadm", "`HTTP`, A, kubeadm's Corefile"),
    ("narrowed-b-http-kubeadm", "`HTTP`, B, kubeadm's Corefile"),
    (
        "narrowed-a-http-nodelocal",
        "`HTTP`, A, NodeLocal over EKS's",
    ),
    (
        "narrowed-b-http-nodelocal",
        "`HTTP`, B, NodeLocal over EKS's",
    ),
    (
        "narrowed-a-http-jvm-30-new",
        "`HTTP`, A, a JVM that keeps addresses for 30 s, just started",
    ),
    (
        "narrowed-a-http-jvm-30-old",
        "`HTTP`, A, the same JVM, older than that",
    ),
    (
        "narrowed-a-http-jvm-60-new",
        "`HTTP`, A, a JVM that keeps addresses for 60 s, just started",
    ),
    (
        "narrowed-a-http-jvm-60-old",
        "`HTTP`, A, the same JVM, older than that",
    ),
];

/// What a method with a narrowed name is measured against, in seconds.
struct Goal {
    method: &'static str,
    words: &'static str,
    median: f64,
    p95: Option<f64>,
}

/// The canary is part of these seconds. An eviction waits for a pod to start.
const GOALS: [Goal; 3] = [
    Goal {
        method: "http",
        words: "HTTP",
        median: 12.0,
        p95: Some(20.0),
    },
    Goal {
        method: "signal",
        words: "Signal",
        median: 12.0,
        p95: Some(20.0),
    },
    Goal {
        method: "evict",
        words: "Evict",
        median: 60.0,
        p95: None,
    },
];

/// The table; nothing if no such case was played.
pub(crate) fn section(results: &Results) -> String {
    let all = rows(results, &ROWS);
    if all.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "\n## A third reader joins, and the name is narrowed\n\nPods look names up at two replicas of CoreDNS with EKS's Corefile, where nothing else is \
         said. *Narrowed by a Service (A)*: pods look up a Service of type `ExternalName`. *By a slice (B)*: pods look up Aurora's own endpoint, which a server \
         block of CoreDNS leads to a headless Service first. *Missed*: recycles, in pods' worth, whose connections opened on another reader than the new one.\n\n\
         | what is done | pool | even at the end | seconds from `openTime`, median / p95 / longest | pods touched, mean / most | recycles, mean | missed, mean | failed queries |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (_, words, app, f) in all {
        let _ = writeln!(
            text,
            "| {words} | {app} | {} of {} | {} / {} / {} | {} / {} | {} | {} | {} |",
            f.reached,
            f.runs,
            seconds(f.median_seconds),
            seconds(f.p95_seconds),
            seconds(f.worst_seconds),
            number(f.mean_touched),
            f.worst_touched,
            number(f.mean_recycles),
            f.mean_missed.map_or_else(|| "–".to_owned(), number),
            f.failed_queries,
        );
    }
    text
}

/// The goals' rows; nothing if no such case was played.
pub(crate) fn goals(results: &Results) -> String {
    let mut text = String::new();
    for (way, called) in [("a", "a Service"), ("b", "a slice")] {
        for goal in &GOALS {
            for (app, app_called) in APPS {
                let case = format!("narrowed-{way}-{}", goal.method);
                let Some(figures) = results.figures(&case, app) else {
                    continue;
                };
                let label = format!("`{}`, narrowed by {called}, {app_called}", goal.words);
                let least = results.of(&case, app).next().map_or(0, |run| {
                    // The new reader's share, in whole pods.
                    run.pods / run.shares.len().max(1)
                });
                text += &goal_rows(goal, &label, least, &figures);
            }
        }
    }
    text
}

fn goal_rows(goal: &Goal, label: &str, least: usize, figures: &CaseSummary) -> String {
    let mut text = String::new();
    let mut row = |words: &str, met: bool, told: &str| {
        let word = if met { "met" } else { "**not met**" };
        let _ = writeln!(text, "| {label}: {words} | {word} ({told}) |");
    };
    row(
        "every run gets even",
        figures.reached == figures.runs,
        &format!("{} of {}", figures.reached, figures.runs),
    );
    let within = |value: Option<f64>, most: f64| value.is_some_and(|value| value <= most);
    row(
        &format!("at most {:.0} s, median", goal.median),
        within(figures.median_seconds, goal.median),
        &format!("{} s", seconds(figures.median_seconds)),
    );
    if let Some(p95) = goal.p95 {
        row(
            &format!("at most {p95:.0} s, p95"),
            within(figures.p95_seconds, p95),
            &format!("{} s", seconds(figures.p95_seconds)),
        );
    }
    row(
        &format!("at most {} pods touched, one above the least", least + 1),
        figures.worst_touched <= least + 1,
        &format!(
            "{} at most, {} on average",
            figures.worst_touched,
            number(figures.mean_touched)
        ),
    );
    row(
        "no failed query",
        figures.failed_queries == 0,
        &figures.failed_queries.to_string(),
    );
    text
}
