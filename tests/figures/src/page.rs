//! From the kept results to what people read: `docs/bench.md`, the chart, and the section of the README. Pure but for
//! [`write()`]; a test holds the files equal to what this gives.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use crate::checkout_folder;
use crate::failover_table;
use crate::narrowed_table;
use crate::results::{CaseSummary, Results};
use crate::share_chart;

/// Where the README's section begins.
const BEGIN: &str = "<!-- bench -->";
/// Where it ends.
const END: &str = "<!-- /bench -->";

/// Cases by their names, with what a reader calls them, in the tables' order.
const ROWS: [(&str, &str); 7] = [
    ("nothing", "nothing is done"),
    ("restart", "rolling restart, 25 % surge"),
    ("http-blind", "dbbalance by `HTTP`, without evidence"),
    ("signal-blind", "dbbalance by `Signal`, without evidence"),
    ("evict", "dbbalance by `Evict`, with evidence"),
    ("http", "**dbbalance by `HTTP`, with evidence**"),
    ("signal", "**dbbalance by `Signal`, with evidence**"),
];
/// The same for DNS that is late or kept.
const DNS_ROWS: [(&str, &str); 3] = [
    ("gate-on", "DNS 20 s late, the epoch waits for it (default)"),
    (
        "gate-off",
        "DNS 20 s late, the epoch does not (`Proceed` after 0 s)",
    ),
    ("jvm-cache-60", "JVM that keeps addresses for 60 s"),
];
/// The apps, and their names.
pub const APPS: [(&str, &str); 2] = [("hikaricp", "HikariCP"), ("activerecord", "ActiveRecord")];

/// A file and its content.
pub type Page = (PathBuf, String);

/// Renders all files from the results; the README keeps what is outside its markers.
///
/// # Errors
/// A file that cannot be read, or a README without markers.
pub fn pages(results: &Results) -> Result<Vec<Page>, String> {
    let root = checkout_folder();
    let read =
        |path: &PathBuf| fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    let readme = root.join("README.md");
    let notes = read(&root.join("docs/bench/notes.md"))?;
    Ok(vec![
        (root.join("docs/bench.md"), document(results, &notes)),
        (
            root.join("docs/bench/shares.svg"),
            share_chart::render_svg(results),
        ),
        (readme.clone(), framed(&read(&readme)?, &section(results))?),
    ])
}

/// Renders the files and writes them.
///
/// # Errors
/// A file that cannot be read or written.
pub fn write() -> Result<(), String> {
    for (path, text) in pages(&Results::load()?)? {
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        eprintln!("written: {}", path.display());
    }
    Ok(())
}

fn framed(readme: &str, section: &str) -> Result<String, String> {
    let parts = readme
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("README.md has no {BEGIN} … {END}"))?;
    Ok(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

/// The README's: the chart, and the rows in short.
fn section(results: &Results) -> String {
    let mut text = String::from(
        "![The new reader's share of all connections over time: nothing, a rolling restart, dbbalance](docs/bench/shares.svg)\n\n",
    );
    text += &world(results);
    text += "\n| a third reader joins | pool | even | seconds, median | pods touched | failed queries |\n|---|---|---|---|---|---|\n";
    for (case, words, app, figures) in rows(results, &ROWS) {
        let _ = case;
        let _ = writeln!(
            text,
            "| {words} | {app} | {} of {} | {} | {} | {} |",
            figures.reached,
            figures.runs,
            seconds(figures.median_seconds),
            number(figures.mean_touched),
            figures.failed_queries
        );
    }
    text += "\nAll figures, and how they were measured: [docs/bench.md](docs/bench.md).\n";
    text
}

/// The whole page.
fn document(results: &Results, notes: &str) -> String {
    let mut text = String::from(
        "# What it costs, and what it cures\n\nWritten by `make bench-page` from [results.json](bench/results.json), which `make bench` measures; \
         a test holds page, chart and README equal to it.\n\n![Shares over time](bench/shares.svg)\n\n",
    );
    text += &world(results);
    text += "\nShares, seconds and pods are counted in the databases' own lists of sessions, five times a second; failed queries by the \
             apps. *Even*: every reader within 15 % above its fair share and half below, or as near as whole pods can. *Seconds*: from the epoch's \
             `openTime` (for a restart: from its start) until all readers are within the band and stay; only of runs that got there. *Pods touched*: those \
             that lost at least half of their connections. *Recycles*: new connections in pods' worth, so a pod moved twice counts twice.\n\n\
             ## A third reader joins\n\n";
    text += &table(results, &ROWS);
    if !rows(results, &DNS_ROWS).is_empty() {
        text += "\n## DNS that is late, or kept\n\n";
        text += &table(results, &DNS_ROWS);
    }
    text += &narrowed_table::section(results);
    text += &failover_table::section(results);
    text += &failover_table::evidence(results);
    text += "\n## Goals\n\n| goal | ";
    text += "measured |\n|---|---|\n";
    for (case, app, label) in [
        ("http", "hikaricp", "`HTTP`, HikariCP"),
        ("signal", "activerecord", "`Signal`, ActiveRecord"),
    ] {
        if let Some(figures) = results.figures(case, app) {
            text += &goals(&figures, label);
        }
    }
    text += &narrowed_table::goals(results);
    text += &failover_table::goals(results);
    text.push('\n');
    text += notes;
    text
}

fn goals(figures: &CaseSummary, label: &str) -> String {
    let word = |met: bool| if met { "met" } else { "**not met**" };
    let mut text = String::new();
    let mut row = |goal: &str, met: bool, told: String| {
        let _ = writeln!(text, "| {label}: {goal} | {} ({told}) |", word(met));
    };
    let fast = figures
        .median_seconds
        .is_some_and(|seconds| seconds <= 60.0);
    row(
        "every run gets even",
        figures.reached == figures.runs,
        format!("{} of {}", figures.reached, figures.runs),
    );
    row(
        "at most 60 s, median",
        fast,
        format!("{} s", seconds(figures.median_seconds)),
    );
    row(
        "at most 10 pods touched, mean",
        figures.mean_touched <= 10.0,
        number(figures.mean_touched),
    );
    row(
        "no failed query",
        figures.failed_queries == 0,
        figures.failed_queries.to_string(),
    );
    text
}

fn table(results: &Results, cases: &'static [(&'static str, &'static str)]) -> String {
    let mut text = String::from(
        "| what is done | pool | even at the end | seconds to even, median / p95 | pods touched, mean | recycles, mean | failed queries | \
         new reader's share, mean | largest share, mean / worst | misplaced, mean | most connections | most pods busy |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (_, words, app, f) in rows(results, cases) {
        let _ = writeln!(
            text,
            "| {words} | {app} | {} of {} | {} / {} | {} | {} | {} | {} | {} / {} | {} | {} | {} |",
            f.reached,
            f.runs,
            seconds(f.median_seconds),
            seconds(f.p95_seconds),
            number(f.mean_touched),
            number(f.mean_recycles),
            f.failed_queries,
            percent(f.mean_new_share),
            percent(f.mean_largest_share),
            percent(f.worst_largest_share),
            number(f.mean_misplaced),
            f.peak_total,
            f.peak_pods_busy,
        );
    }
    text
}

/// A case's name, what a reader calls it, its app, and its figures.
type Row = (&'static str, &'static str, &'static str, CaseSummary);

/// The rows of these cases that were played.
pub(crate) fn rows(results: &Results, cases: &'static [(&'static str, &'static str)]) -> Vec<Row> {
    let of = |(case, words): &(&'static str, &'static str)| {
        let (case, words) = (*case, *words);
        APPS.iter().filter_map(move |(app, called)| {
            Some((case, words, *called, results.figures(case, app)?))
        })
    };
    cases.iter().flat_map(of).collect()
}

/// What it was measured on.
fn world(results: &Results) -> String {
    let Some(run) = results.runs.values().next() else {
        return "Nothing has been measured yet: `make bench`.\n".to_owned();
    };
    let machine = &results.machine;
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let nothing = results.runs.values().find(|run| run.case == "nothing");
    let watched = nothing.map_or_else(String::new, |run| {
        format!(" Where nothing is done, {:.0} s were watched.", run.seconds)
    });
    format!(
        "{} pods with {} connections each go from two readers to three, behind two CoreDNS caches; real PostgreSQL, real pools under load, {} cores and {} GiB \
         for all of it, {} ({}).{watched}\n",
        run.pods,
        run.per_pod,
        machine.cores,
        machine.memory_gib,
        machine.date,
        versions.join(", "),
    )
}

pub(crate) fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.0}"))
}

pub(crate) fn number(value: f64) -> String {
    format!("{value:.1}")
}

fn percent(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}
