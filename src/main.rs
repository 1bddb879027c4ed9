//! The `dbbalance` program: parse, initialise, dispatch.

use std::process::ExitCode;

use clap::Parser;
use dbbalance::cli::{Cli, Command};
use dbbalance::{run, telemetry};

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbbalance: {}", telemetry::with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    match cli.command {
        Command::Crd => {
            print!("{}", dbbalance_api::crd::render_crd()?);
            Ok(())
        }
        Command::Run(args) => {
            args.check()?;
            telemetry::init(args.log_format, &args.log_filter)?;
            #[cfg(feature = "failpoints")]
            dbbalance::failpoint::set_up()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(run::run(*args))?)
        }
    }
}
