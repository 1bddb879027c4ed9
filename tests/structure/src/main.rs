//! Prints the figures of a checkout, alone or beside those of another one.
#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dbbalance_structure::error::StructureError;
use dbbalance_structure::figures::{StructureFigures, measure_checkout};
use dbbalance_structure::layout::LAYERS;
use dbbalance_structure::report::{format_json, format_table};

const USAGE: &str = "\
Measures the structure of a checkout of dbbalance.

Usage: structure [OPTIONS] [PATH]

  PATH              the checkout [default: .]
  --base PATH       another checkout, such as that of an older commit, to print beside it
  --planner FOLDER  the planner's folder in both [default: crates/planner/src or src/controller/plan]
  --json            print JSON
  --help            print this
";

/// What the command line asks for.
struct StructureFlags {
    checkout: PathBuf,
    base: Option<PathBuf>,
    planner: Option<String>,
    json: bool,
    help: bool,
}

fn main() -> ExitCode {
    match parse_flags(std::env::args().skip(1)).and_then(|flags| run_report(&flags)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("structure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse_flags(
    mut arguments: impl Iterator<Item = String>,
) -> Result<StructureFlags, StructureError> {
    let mut flags = StructureFlags {
        checkout: PathBuf::from("."),
        base: None,
        planner: None,
        json: false,
        help: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| StructureError::new(format!("{argument} needs a value; see --help")))
        };
        match argument.as_str() {
            "--base" => flags.base = Some(value()?.into()),
            "--planner" => flags.planner = Some(value()?),
            "--json" => flags.json = true,
            "--help" | "-h" => flags.help = true,
            flag if flag.starts_with('-') => {
                return Err(StructureError::new(format!(
                    "unknown option {flag}; see --help"
                )));
            }
            path => flags.checkout = path.into(),
        }
    }
    Ok(flags)
}

fn run_report(flags: &StructureFlags) -> Result<(), StructureError> {
    let text = if flags.help {
        USAGE.to_owned()
    } else {
        let measure = |path: &Path| measure_checkout(path, flags.planner.as_deref(), LAYERS);
        let mut found: Vec<(&'static str, StructureFigures)> = vec![];
        if let Some(base) = &flags.base {
            found.push(("base", measure(base)?));
        }
        found.push(("tree", measure(&flags.checkout)?));
        if flags.json {
            format_json(&found) + "\n"
        } else {
            let named: Vec<_> = found.into_iter().map(|(x, y)| (x.to_owned(), y)).collect();
            format_table(&named)
        }
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|cause| StructureError::new(format!("cannot print: {cause}")))
}
