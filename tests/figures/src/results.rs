//! What the bench keeps: one JSON file with a row a run, and the figures that are drawn from it.
//!
//! Values and files only: nothing is measured here. A row, once kept, is not changed; rows of the same case and app are
//! summed up by [`Results::figures`].

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::checkout_folder;
use crate::quantile::{quantile, to_f64};

/// All of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// Where it was measured, and with what.
    pub machine: Machine,
    /// By key: `CASE/APP/NUMBER`.
    pub runs: BTreeMap<String, Run>,
    /// Failovers, by key too.
    #[serde(default)]
    pub failovers: BTreeMap<String, Failover>,
    /// Runs of masqueraded pods, by key too.
    #[serde(default)]
    pub masqueraded: BTreeMap<String, Run>,
    /// Pods behind a pooler, by key too.
    #[serde(default)]
    pub pooled: BTreeMap<String, Pooled>,
}

/// The machine of the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// Memory, GiB.
    pub memory_gib: u64,
    /// The day, RFC 3339.
    pub date: String,
    /// Name and version of each part.
    pub versions: BTreeMap<String, String>,
}

/// One run of one case, measured from the databases' side where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its case.
    pub case: String,
    /// Its app.
    pub app: String,
    /// When it began, RFC 3339.
    pub began: String,
    /// Pods.
    pub pods: usize,
    /// Connections of each.
    pub per_pod: usize,
    /// What times and the series count from: `openTime`, `restart`, or `available` of the new reader.
    pub zero: String,
    /// Seconds watched after that.
    pub seconds: f64,
    /// Every reader was within the band at the end.
    pub reached: bool,
    /// Seconds until they were, and stayed.
    pub seconds_to_band: Option<f64>,
    /// Pods that lost at least half of the connections they began with.
    pub pods_touched: usize,
    /// New connections, in pods' worth: a pod that was recycled twice counts twice.
    pub recycles: f64,
    /// Those of them that were opened elsewhere than on the new reader, in pods' worth; none in rows that are older than
    /// the figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<f64>,
    /// Queries that failed, by the apps' own count.
    pub failed_queries: u64,
    /// The most connections of each reader at a moment.
    pub peak_connections: BTreeMap<String, usize>,
    /// The most connections of all of them together.
    pub peak_total: usize,
    /// The most pods at a moment that had fewer or more connections than they should.
    pub peak_pods_busy: usize,
    /// Each reader's share at the end; the last is the new one's.
    pub shares: Vec<f64>,
    /// Connections above the fair share at the end.
    pub misplaced: f64,
    /// The operator's words at the end of its run.
    pub said: Option<String>,
    /// Each reader's share once a second; the last is the new one's.
    pub series: Vec<Point>,
}

/// Shares at a moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds from the run's zero; negative before it.
    pub at: f64,
    /// As in [`Run::shares`].
    pub shares: Vec<f64>,
}

/// Summary of the runs of one case with one app. Shares are parts of 1.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseSummary {
    /// Number of runs.
    pub runs: usize,
    /// Runs that ended with every reader within the band.
    pub reached: usize,
    /// Median of the seconds until then, over the runs that got there.
    pub median_seconds: Option<f64>,
    /// 95th percentile of the same.
    pub p95_seconds: Option<f64>,
    /// The longest of the same.
    pub worst_seconds: Option<f64>,
    /// Mean of the pods touched.
    pub mean_touched: f64,
    /// Most pods touched in any run.
    pub worst_touched: usize,
    /// Mean of the recycles.
    pub mean_recycles: f64,
    /// Mean of the missed ones, over the rows that have them.
    pub mean_missed: Option<f64>,
    /// Failed queries of all runs.
    pub failed_queries: u64,
    /// Most connections at a moment, over all runs.
    pub peak_total: usize,
    /// Most pods at a moment with a wrong number of connections, over all runs.
    pub peak_pods_busy: usize,
    /// Mean of the new reader's share at the end.
    pub mean_new_share: f64,
    /// Mean of the largest share at the end.
    pub mean_largest_share: f64,
    /// Largest share at the end of any run.
    pub worst_largest_share: f64,
    /// Mean of the misplaced connections at the end.
    pub mean_misplaced: f64,
    /// Mean of the seconds watched.
    pub mean_watched: f64,
}

impl Results {
    /// Returns the path of the file.
    #[must_use]
    pub fn file() -> PathBuf {
        checkout_folder().join("docs/bench/results.json")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// A missing or malformed file; the text says how it is made.
    pub fn load() -> Result<Self, String> {
        let file = Self::file();
        let text = fs::read_to_string(&file)
            .map_err(|e| format!("{}: {e}; it is written by: make bench", file.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Writes the file atomically.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self) -> Result<(), String> {
        let file = Self::file();
        let partial = file.with_extension("partial");
        let text = self.text();
        let write = || {
            fs::create_dir_all(file.parent().unwrap_or(&file))?;
            fs::write(&partial, text)?;
            fs::rename(&partial, &file)
        };
        write().map_err(|e: std::io::Error| format!("{}: {e}", file.display()))
    }

    /// A line a run: readable, and small in a diff.
    fn text(&self) -> String {
        format!(
            "{{\n  \"machine\": {},\n{},\n{},\n{},\n{}\n}}\n",
            serde_json::to_string(&self.machine).unwrap_or_default(),
            rows("runs", &self.runs),
            rows("failovers", &self.failovers),
            rows("masqueraded", &self.masqueraded),
            rows("pooled", &self.pooled),
        )
    }

    /// Whether this key has been played.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.runs.contains_key(key)
            || self.failovers.contains_key(key)
            || self.masqueraded.contains_key(key)
            || self.pooled.contains_key(key)
    }

    /// All runs of a case with an app.
    pub fn of<'a>(&'a self, case: &'a str, app: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs
            .values()
            .filter(move |run| run.case == case && run.app == app)
    }

    /// Summarises the runs of a case with an app; `None` without runs.
    #[must_use]
    pub fn figures(&self, case: &str, app: &str) -> Option<CaseSummary> {
        let runs: Vec<&Run> = self.of(case, app).collect();
        if runs.is_empty() {
            return None;
        }
        let mean = |of: &dyn Fn(&Run) -> f64| {
            runs.iter().map(|run| of(run)).sum::<f64>() / to_f64(runs.len())
        };
        let largest = |run: &Run| run.shares.iter().copied().fold(0.0, f64::max);
        let mut seconds: Vec<f64> = runs.iter().filter_map(|run| run.seconds_to_band).collect();
        seconds.sort_by(f64::total_cmp);
        Some(CaseSummary {
            runs: runs.len(),
            reached: runs.iter().filter(|run| run.reached).count(),
            median_seconds: quantile(&seconds, 0.5),
            p95_seconds: quantile(&seconds, 0.95),
            worst_seconds: seconds.last().copied(),
            mean_touched: mean(&|run| to_f64(run.pods_touched)),
            worst_touched: runs
                .iter()
                .map(|run| run.pods_touched)
                .max()
                .unwrap_or_default(),
            mean_recycles: mean(&|run| run.recycles),
            mean_missed: mean_of(runs.iter().filter_map(|run| run.missed)),
            failed_queries: runs.iter().map(|run| run.failed_queries).sum(),
            peak_total: runs
                .iter()
                .map(|run| run.peak_total)
                .max()
                .unwrap_or_default(),
            peak_pods_busy: runs
                .iter()
                .map(|run| run.peak_pods_busy)
                .max()
                .unwrap_or_default(),
            mean_new_share: mean(&|run| run.shares.last().copied().unwrap_or_default()),
            mean_largest_share: mean(&largest),
            worst_largest_share: runs.iter().map(|run| largest(run)).fold(0.0, f64::max),
            mean_misplaced: mean(&|run| run.misplaced),
            mean_watched: mean(&|run| run.seconds),
        })
    }
}

/// None of nothing.
fn mean_of(values: impl Iterator<Item = f64>) -> Option<f64> {
    let all: Vec<f64> = values.collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / to_f64(all.len()))
}

fn rows<T: Serialize>(name: &str, rows: &BTreeMap<String, T>) -> String {
    let rows: Vec<String> = rows
        .iter()
        .map(|(key, row)| {
            let row = serde_json::to_string(row).unwrap_or_default();
            format!("    \"{key}\": {row}")
        })
        .collect();
    if rows.is_empty() {
        return format!("  \"{name}\": {{}}");
    }
    format!("  \"{name}\": {{\n{}\n  }}", rows.join(",\n"))
}

/// One failover.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failover {
    /// Pods.
    pub pods: usize,
    /// Connections of each of a pod's two pools.
    pub per_pool: usize,
    /// The writer's record went new, old, new.
    pub flicker: bool,
    /// The old writer was half-open.
    pub half_open: bool,
    /// The operator acted.
    pub with_us: bool,
    /// Pods that were recycled.
    pub pods_touched: usize,
    /// Recycles.
    pub recycles: u64,
    /// From the name server's last move of the writer's record to the last sight of a connection on the wrong role; negative: it
    /// was gone before.
    pub seconds_from_flip: f64,
    /// The same from when the last cache has forgotten the old answer.
    pub seconds_from_last_cache: f64,
    /// Connections on the wrong role at the end.
    pub wrong_at_end: usize,
    /// Of all connections.
    pub connections_at_end: usize,
    /// Every pool was full again.
    pub back: bool,
    /// Sockets of pods at the end that no database knows.
    pub zombies: usize,
    /// Where the old writer was half-open: the most at a time.
    pub most_zombies: usize,
    /// And until the last was gone, from the record's move.
    pub seconds_to_swept: Option<f64>,
    /// The line of `kubectl dbbalance connections` that showed them.
    pub evidence: Option<String>,
    /// Failed queries, by the apps' own count.
    pub failed_queries: u64,
    /// The same by pool and kind, in the words of the app's log.
    pub failed_by: BTreeMap<String, u64>,
}

/// What came of a pooler in between.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pooled {
    /// Pods.
    pub pods: usize,
    /// Status and reason of `Balanced`.
    pub balanced: (String, String),
    /// Its words.
    pub message: String,
    /// What the target waits for.
    pub waits_for: String,
    /// Recycles within the time watched after a reader was added.
    pub recycles: u64,
    /// Seconds watched.
    pub seconds: u64,
}
