//! Prints the table of the simulation beside the study's figures, and writes it as JSON.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dbbalance_figures::quantile::to_f64;
use dbbalance_simulator::blind_failover::{BlindFailover, BlindFigures, measure_blind_failovers};
use dbbalance_simulator::failover::{self, FailoverFigures};
use dbbalance_simulator::figures::{RunFigures, measure_runs};
use dbbalance_simulator::table::all_parts;
use serde::Serialize;

/// Simulates DNS caches, pools and pods around the rule that steers connections.
#[derive(Parser)]
struct Flags {
    /// Runs a case.
    #[arg(long, default_value_t = 1000)]
    runs: u64,
    /// Where the figures go.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What is written.
#[derive(Serialize)]
struct JsonRecord {
    cases: Vec<RunFigures>,
    failovers: Vec<FailoverFigures>,
    blind_failovers: Vec<BlindFigures>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match print_tables(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print_tables(flags: &Flags) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut all: Vec<RunFigures> = vec![];
    for part in all_parts() {
        writeln!(
            out,
            "\n{}, {} runs a row; the study's figures in brackets",
            part.name, flags.runs
        )?;
        writeln!(
            out,
            "{:46} {:>13} {:>21} {:>19} {:>5} {:>11} {:>8}",
            "", "even %", "seconds mean/p95", "pods mean/p95", "busy", "peak share", "unended"
        )?;
        for row in part.rows {
            let study = row.study;
            let found = measure_runs(&row.case, flags.runs);
            let said = |figure: Option<f64>| figure.map_or(String::new(), |x| format!(" ({x})"));
            writeln!(
                out,
                "{:46} {:>13} {:>21} {:>19} {:>5} {:>11} {:>8}",
                found.name,
                format!("{:.0}{}", found.even_percent, said(study.even)),
                format!(
                    "{:.0}/{:.0}{}",
                    found.seconds.mean,
                    found.seconds.p95,
                    said(study.seconds)
                ),
                format!(
                    "{:.1}/{:.0}{}",
                    found.pods.mean,
                    found.pods.p95,
                    said(study.pods)
                ),
                found.busy,
                format!("{:.2}/{:.2}", found.share.mean, found.share.p95),
                found.unended,
            )?;
            if let Some((_, why)) = row.differs {
                writeln!(out, "{:4}{why}", "")?;
            }
            all.push(found);
        }
    }
    let failovers = [8, 1].map(|looks| failover::measure_failovers(looks, flags.runs));
    writeln!(
        out,
        "\n20 writer pools left on the old writer, DNS goes new, old, new within 1.5 to 11 s"
    )?;
    for found in &failovers {
        writeln!(
            out,
            "{:46} all right {:.0} %, seconds {:.1}/{:.1}, a pod sent to the old writer in {:.0} %, recycles {:.1}/{:.0}",
            found.name,
            found.right_percent,
            found.seconds.mean,
            found.seconds.p95,
            found.sent_wrong_percent,
            found.recycles.mean,
            found.recycles.p95,
        )?;
    }
    let blind = print_blind_failovers(&mut out, flags.runs)?;
    let record = JsonRecord {
        cases: all,
        failovers: failovers.into(),
        blind_failovers: blind,
    };
    if let Some(path) = &flags.json {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(&record)? + "\n")?;
        writeln!(out, "\nwritten to {}", path.display())?;
    }
    Ok(())
}

/// Prints how failovers go where nothing is measured, with and without the hold.
fn print_blind_failovers(out: &mut impl Write, runs: u64) -> std::io::Result<Vec<BlindFigures>> {
    writeln!(
        out,
        "\n20 pools, a failover on the testbed's realistic timeline, nothing is measured; {runs} failovers a row"
    )?;
    let cases = [None, Some(5)].into_iter().flat_map(BlindFailover::all);
    let mut all = vec![];
    for case in cases {
        let found = measure_blind_failovers(case, runs);
        writeln!(
            out,
            "{:68} wrong {:>6.2} of 1,000, epoch open after {:.1}/{:.1} s, last pool opened after {:.1}/{:.1} s",
            found.name,
            1000.0 * to_f64(found.wrong) / to_f64(found.opened.max(1)),
            found.epoch_opened.mean,
            found.epoch_opened.p95,
            found.seconds.mean,
            found.seconds.p95,
        )?;
        all.push(found);
    }
    Ok(all)
}
