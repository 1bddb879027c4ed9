//! The page's sections on failovers and on evidence where it is hard, from the kept results. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::page::APPS;
use crate::quantile::{quantile, to_f64};
use crate::results::{Failover, Results};

/// What is told apart, with what a reader calls it: half-open, flicker, with the operator.
const ROWS: [(bool, bool, bool, &str); 4] = [
    (false, false, false, "nothing is done"),
    (false, false, true, "dbbalance"),
    (
        false,
        true,
        true,
        "dbbalance, the record flickers new, old, new",
    ),
    (true, false, true, "dbbalance, the old writer is half-open"),
];

/// A failover's table, its goals and its evidence; nothing if there was none.
#[must_use]
pub fn section(results: &Results) -> String {
    let mut text = String::new();
    let some = results.failovers.values().next();
    let Some(first) = some else {
        return text;
    };
    let _ = write!(
        text,
        "\n## A failover\n\n{} pods, each with a reader and a writer pool of {}, by `HTTP` (HikariCP) and `Signal` (ActiveRecord); one failover \
         after the other. *Gone after*: from the name server's last move of the writer's record until the databases last saw a connection on the wrong role; \
         CoreDNS keeps the old answer for 5 s of that. *Nothing is done* is watched for 120 s after the failover has ended, and what is on the wrong role then stays there. \
         *Failed queries* are of one failover, the mean, by the apps' own count, the outage itself included; beside writes that fail for want of a writer, \
         they are mostly writes to the old writer, which reads only now.\n\n\
         | what is done | pool | failovers | gone after, median / p95 | after the last cache, median | pods touched, mean | wrong role at the end | all back | zombies left | failed queries |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        first.pods, first.per_pool,
    );
    for (half_open, flicker, with_us, words) in ROWS {
        for (app, called) in APPS {
            let all: Vec<&Failover> = results
                .failovers
                .iter()
                .filter(|(key, _)| key.split('/').nth(1) == Some(app))
                .map(|(_, run)| run)
                .filter(|r| (r.half_open, r.flicker, r.with_us) == (half_open, flicker, with_us))
                .collect();
            if !all.is_empty() {
                text += &row(words, called, &all);
            }
        }
    }
    text += &kinds(results);
    text += &zombies(results);
    text
}

/// Failed queries of a failover by kind, with the operator and without it.
fn kinds(results: &Results) -> String {
    let mut text = String::new();
    for (app, called) in APPS {
        for with_us in [false, true] {
            let of = |key: &str| key.split('/').nth(1) == Some(app);
            let runs: Vec<&Failover> = results
                .failovers
                .iter()
                .filter(|(key, r)| of(key) && r.with_us == with_us && !r.half_open && !r.flicker)
                .map(|(_, run)| run)
                .collect();
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for (kind, count) in runs.iter().flat_map(|r| &r.failed_by) {
                *sums.entry(kind).or_default() += count;
            }
            if sums.is_empty() {
                continue;
            }
            let all = u64::try_from(runs.len()).unwrap_or(1).max(1);
            let told: Vec<String> = sums
                .iter()
                .map(|(kind, sum)| format!("{} `{kind}`", sum / all))
                .collect();
            let words = if with_us {
                "dbbalance"
            } else {
                "nothing is done"
            };
            let _ = writeln!(
                text,
                "- Failed queries of a failover, {called}, {words}: {}.",
                told.join(", ")
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("\n{text}")
}

/// The goals' rows, of the failovers that the operator acted on.
#[must_use]
pub fn goals(results: &Results) -> String {
    let all: Vec<&Failover> = results
        .failovers
        .values()
        .filter(|r| r.with_us && !r.half_open)
        .collect();
    let mut text = String::new();
    if all.is_empty() {
        return text;
    }
    let flip = sorted(&all, |r| r.seconds_from_flip);
    let cache = sorted(&all, |r| r.seconds_from_last_cache);
    let median = |values: &[f64]| quantile(values, 0.5).unwrap_or_default();
    let back = all.iter().filter(|r| r.back).count();
    let zombies: usize = all.iter().map(|r| r.zombies).sum();
    let mut row = |goal: &str, met: bool, told: String| {
        let word = if met { "met" } else { "**not met**" };
        let _ = writeln!(
            text,
            "| {} failovers, both pools: {goal} | {word} ({told}) |",
            all.len()
        );
    };
    row(
        "the wrong role gone at most 5 s after the last cache, median",
        median(&cache) <= 5.0,
        format!("{:.1} s", median(&cache)),
    );
    row(
        "and at most 12 s after the record, median",
        median(&flip) <= 12.0,
        format!("{:.1} s", median(&flip)),
    );
    row(
        "connections back each time",
        back == all.len(),
        format!("{back} of {}", all.len()),
    );
    row("no zombie left", zombies == 0, zombies.to_string());
    text
}

fn sorted(all: &[&Failover], of: impl Fn(&Failover) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = all.iter().map(|run| of(run)).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn row(words: &str, called: &str, all: &[&Failover]) -> String {
    let mean =
        |of: &dyn Fn(&Failover) -> f64| all.iter().map(|r| of(r)).sum::<f64>() / to_f64(all.len());
    let stays = |part: f64, values: &[f64]| {
        let value = quantile(values, part).unwrap_or_default();
        format!("{value:.1} s")
    };
    let never = all.iter().all(|r| r.wrong_at_end > 0);
    let flip = sorted(all, |r| r.seconds_from_flip);
    let cache = sorted(all, |r| r.seconds_from_last_cache);
    let gone = if never {
        "never".to_owned()
    } else {
        format!("{} / {}", stays(0.5, &flip), stays(0.95, &flip))
    };
    let after = if never {
        "never".to_owned()
    } else {
        stays(0.5, &cache)
    };
    let wrong: usize = all.iter().map(|r| r.wrong_at_end).sum();
    let of: usize = all.iter().map(|r| r.connections_at_end).sum();
    let back = all.iter().filter(|r| r.back).count();
    let zombies: usize = all.iter().map(|r| r.zombies).sum();
    #[allow(clippy::cast_precision_loss)] // thousands
    let failed = mean(&|r| r.failed_queries as f64);
    format!(
        "| {words} | {called} | {n} | {gone} | {after} | {touched:.1} | {wrong} of {of} | {back} of {n} | {zombies} | {failed:.0} |\n",
        n = all.len(),
        touched = mean(&|r| to_f64(r.pods_touched)),
    )
}

fn zombies(results: &Results) -> String {
    let mut text = String::new();
    for run in results.failovers.values().filter(|r| r.half_open) {
        let (Some(seconds), Some(line)) = (run.seconds_to_swept, &run.evidence) else {
            continue;
        };
        let _ = writeln!(
            text,
            "- {} sockets of a half-open writer were gone {seconds:.1} s after the record had moved; `kubectl dbbalance connections` showed them as `{line}`",
            run.most_zombies
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("\n{text}")
}

/// Pods whose addresses are rewritten, and a pooler in between.
#[must_use]
pub fn evidence(results: &Results) -> String {
    let mut text = String::new();
    for run in results.masqueraded.values() {
        let told = if run.reached {
            "even at the end"
        } else {
            "not even at the end"
        };
        let seconds = run
            .seconds_to_band
            .map_or_else(String::new, |s| format!(", {s:.0} s after `openTime`"));
        let _ = writeln!(
            text,
            "- {} pods whose addresses are masqueraded, so that the databases see one client: {told}{seconds}; said: {}.",
            run.pods,
            run.said.as_deref().unwrap_or_default()
        );
    }
    for run in results.pooled.values() {
        let _ = writeln!(
            text,
            "- {} pods behind a PgBouncer, and a reader that joins: {} recycles in {} s; `Balanced` is {}, {}: {}.",
            run.pods, run.recycles, run.seconds, run.balanced.0, run.balanced.1, run.message
        );
    }
    if text.is_empty() {
        return text;
    }
    format!("\n## Evidence where it is hard\n\n{text}")
}
