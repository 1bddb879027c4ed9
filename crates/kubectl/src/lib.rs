//! `kubectl dbbalance`: shows and controls policies from a terminal.
//!
//! `kubectl` calls it by the name `kubectl-dbbalance`. It shows what the operator wrote, measures connections, makes
//! requests to the operator by annotations, and recycles one pod to prove that its recipe works. It acts with the rights
//! of its user and keeps no state.
//!
//! Pages are pure (values in, text out); only [`session`], `dbbalance_terminal::screen` and the effects of `verify` reach
//! out.
#![forbid(unsafe_code)]

pub mod cli;
mod connections;
mod drain;
mod error;
mod plan;
mod pods;
mod requests;
mod session;
mod status;
mod verify;
mod widen;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use cli::{ConnectionsArgs, Output, PluginCli, PluginCommand};
use connections::address_map::AddressMap;
use connections::snapshot::ConnectionSnapshot;
use dbbalance_kube::sockets::procnet::ProcNet;
use dbbalance_terminal::screen::{self, LiveScreen};
use error::PluginError;
use session::Session;

/// Interval of a watch. Our choice: each measurement is an exec in each pod.
const WATCH: Duration = Duration::from_secs(2);

/// Parses the command line, runs the command, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = PluginCli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .map_err(PluginError::from)
        .and_then(|runtime| runtime.block_on(run_command(&cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed.
            let text = screen::keep_printable(&error.to_string());
            let _ = writeln!(io::stderr(), "error: {text}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run_command(cli: &PluginCli) -> Result<(), PluginError> {
    let session = Session::open(&cli.connect).await?;
    let canvas = screen::detect_canvas();
    let mut say = |line: &str| {
        let _ = screen::print_page(&format!("{line}\n"));
    };
    match &cli.command {
        PluginCommand::Status(args) => match (&args.policy, args.output) {
            (Some(name), output) => {
                let policy = session.get_policy(name).await?;
                let page = match output {
                    Output::Text => status::render_page(&policy, canvas, Timestamp::now()),
                    Output::Json => to_pretty_json(&policy),
                };
                Ok(screen::print_page(&page)?)
            }
            (None, output) => {
                let found = session.list_policies().await?;
                let page = match output {
                    Output::Json => to_pretty_json(&json!({
                        "apiVersion": "v1", "kind": "List", "items": found
                    })),
                    Output::Text if found.is_empty() => {
                        format!("there are no policies in namespace {}\n", session.namespace)
                    }
                    Output::Text => status::render_list(&found, canvas, Timestamp::now()),
                };
                Ok(screen::print_page(&page)?)
            }
        },
        PluginCommand::Plan(args) => {
            let policy = session.get_policy(&args.policy).await?;
            let page = match args.output {
                Output::Text => plan::render_page(&policy, canvas, Timestamp::now()),
                Output::Json => to_pretty_json(&plan::plan_json(&policy)),
            };
            Ok(screen::print_page(&page)?)
        }
        PluginCommand::Connections(args) => show_connections(&session, args).await,
        PluginCommand::Verify(args) => {
            let reader = ProcNet::new(session.effects.clone());
            verify::verify_pod(&session, args, &reader, &mut say, &mut confirm_on_terminal).await
        }
        PluginCommand::Recycle(args) => {
            requests::request_run(&session, args, canvas, &mut say).await
        }
        PluginCommand::Widen(args) => widen::widen_name(&session, args, &mut say).await,
        PluginCommand::Drain(args) => drain::drain_instance(&session, args, &mut say).await,
        PluginCommand::Undrain(args) => drain::undrain_instance(&session, args, &mut say).await,
        PluginCommand::Pause(args) => requests::pause_policy(&session, args, &mut say).await,
        PluginCommand::Resume(args) => {
            requests::resume_policy(&session, &args.policy, &mut say).await
        }
    }
}

fn to_pretty_json(value: &impl serde::Serialize) -> String {
    // Our own values: maps with text keys, which always can be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

async fn show_connections(session: &Session, args: &ConnectionsArgs) -> Result<(), PluginError> {
    let reader = ProcNet::new(session.effects.clone());
    let mut address_map = AddressMap::default();
    if !args.watch {
        let snapshots =
            connections::measure_connections(session, args, &reader, &mut address_map).await?;
        let page = match args.output {
            Output::Text => render_pages(&snapshots, args),
            Output::Json => to_pretty_json(&snapshots),
        };
        return Ok(screen::print_page(&page)?);
    }
    // A wrong name or a missing right ends it before the terminal is taken.
    let mut snapshots =
        connections::measure_connections(session, args, &reader, &mut address_map).await?;
    let mut trouble = String::new();
    let (mut terminate, mut hang_up) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    let mut screen = match args.output {
        Output::Text => Some(LiveScreen::open()?),
        Output::Json => None,
    };
    let mut tick = tokio::time::interval(WATCH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        let drawn = match &mut screen {
            Some(screen) => screen.draw(&format!("{}{trouble}", render_pages(&snapshots, args))),
            None => writeln!(io::stdout(), "{}", json!(snapshots)),
        };
        match drawn {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        let next = async {
            tick.tick().await;
            connections::measure_connections(session, args, &reader, &mut address_map).await
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            found = next => match found {
                Ok(found) => {
                    snapshots = found;
                    trouble.clear();
                }
                // The last snapshot stays, with its time, until the API server answers again.
                Err(error) => trouble = format!("\ncannot measure again: {error}\n"),
            },
        }
    }
}

fn render_pages(snapshots: &[ConnectionSnapshot], args: &ConnectionsArgs) -> String {
    let canvas = screen::detect_canvas();
    let pages: Vec<String> = snapshots
        .iter()
        .map(|p| connections::page::render_page(p, args.rows, canvas))
        .collect();
    pages.join("\n")
}

/// Asks a question on the terminal and returns whether the answer is yes.
///
/// # Errors
/// When standard input is not a terminal, or cannot be read.
fn confirm_on_terminal(question: &str) -> Result<bool, PluginError> {
    if !io::stdin().is_terminal() {
        return Err(PluginError::Declined(
            "stdin is not a terminal; pass --yes".to_owned(),
        ));
    }
    let mut err = io::stderr();
    write!(err, "{} [y/N] ", screen::keep_printable(question))?;
    err.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
