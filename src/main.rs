//! The `dbbalance` program: parse, initialise, dispatch.

use std::process::ExitCode;

use clap::Parser;
use dbbalance::cli::{OperatorCli, OperatorCommand};
use dbbalance::{run, telemetry};
use dbbalance_core::error_chain::format_error_chain;

fn main() -> ExitCode {
    match run_command(OperatorCli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dbbalance: {}", format_error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run_command(cli: OperatorCli) -> Result<(), Box<dyn std::error::Error>> {
    match cli.command {
        OperatorCommand::Crd => {
            print!("{}", dbbalance_api::crd::render_crd()?);
            Ok(())
        }
        OperatorCommand::Run(args) => {
            args.check()?;
            telemetry::init_logging(args.log_format, &args.log_filter)?;
            #[cfg(feature = "failpoints")]
            dbbalance::failpoint::set_up()?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            Ok(runtime.block_on(run::run_operator(*args))?)
        }
    }
}
