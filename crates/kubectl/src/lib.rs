//! `kubectl dbbalance`: the same program, seen by people.
//!
//! Called by the name `kubectl-dbbalance`, as `kubectl` calls its plugins. It shows what the operator wrote,
//! measures by itself, asks of the operator by annotation, and recycles one pod by hand to prove a recipe.
//! It acts with the rights of whoever calls it, holds no state, and decides nothing that the operator decides.
//!
//! Pages are pure (values in, text out); only [`session`], [`screen`] and the effects of `verify` reach
//! out.
#![forbid(unsafe_code)]

pub mod cli;
mod connections;
mod error;
#[cfg(test)]
mod golden;
mod plan;
mod pods;
mod screen;
mod session;
mod status;
mod text;
mod verify;
mod wish;

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use jiff::Timestamp;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use cli::{Cli, Command, ConnectionsArgs, Output};
use connections::book::Book;
use connections::picture::Picture;
use dbbalance_kube::sockets::procnet::ProcNet;
use error::Error;
use screen::Screen;
use session::Session;

/// How often a watch measures.
const WATCH: Duration = Duration::from_secs(2);

/// Parses the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .map_err(Error::from)
        .and_then(|runtime| runtime.block_on(run(&cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be reading any more.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: &Cli) -> Result<(), Error> {
    let session = Session::open(&cli.connect).await?;
    let canvas = screen::canvas();
    let mut say = |line: &str| {
        let _ = screen::print(&format!("{line}\n"));
    };
    match &cli.command {
        Command::Status(args) => match (&args.policy, args.output) {
            (Some(name), output) => {
                let policy = session.policy(name).await?;
                let page = match output {
                    Output::Text => status::page(&policy, canvas, Timestamp::now()),
                    Output::Json => pretty(&policy),
                };
                Ok(screen::print(&page)?)
            }
            (None, output) => {
                let found = session.all_policies().await?;
                let page = match output {
                    Output::Json => pretty(&json!({
                        "apiVersion": "v1", "kind": "List", "items": found
                    })),
                    Output::Text if found.is_empty() => {
                        format!("there are no policies in namespace {}\n", session.namespace)
                    }
                    Output::Text => status::all(&found, canvas, Timestamp::now()),
                };
                Ok(screen::print(&page)?)
            }
        },
        Command::Plan(args) => {
            let policy = session.policy(&args.policy).await?;
            let page = match args.output {
                Output::Text => plan::page(&policy, canvas, Timestamp::now()),
                Output::Json => pretty(&plan::json(&policy)),
            };
            Ok(screen::print(&page)?)
        }
        Command::Connections(args) => connections(&session, args).await,
        Command::Verify(args) => {
            let reader = ProcNet::new(session.effects.clone());
            verify::verify(&session, args, &reader, &mut say, &mut confirm).await
        }
        Command::Recycle(args) => wish::recycle(&session, args, canvas, &mut say).await,
        Command::Pause(args) => wish::pause(&session, args, &mut say).await,
        Command::Resume(args) => wish::resume(&session, &args.policy, &mut say).await,
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    // Our own values: maps with text keys, which always can be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

async fn connections(session: &Session, args: &ConnectionsArgs) -> Result<(), Error> {
    let reader = ProcNet::new(session.effects.clone());
    let mut book = Book::default();
    if !args.watch {
        let pictures = connections::measure(session, args, &reader, &mut book).await?;
        let page = match args.output {
            Output::Text => pages(&pictures, args),
            Output::Json => pretty(&pictures),
        };
        return Ok(screen::print(&page)?);
    }
    // A wrong name or a missing right ends it before the terminal is taken.
    let mut pictures = connections::measure(session, args, &reader, &mut book).await?;
    let mut trouble = String::new();
    let (mut terminate, mut hang_up) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    );
    let mut screen = match args.output {
        Output::Text => Some(Screen::open()?),
        Output::Json => None,
    };
    let mut tick = tokio::time::interval(WATCH);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        let drawn = match &mut screen {
            Some(screen) => screen.draw(&format!("{}{trouble}", pages(&pictures, args))),
            None => writeln!(io::stdout(), "{}", json!(pictures)),
        };
        match drawn {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        let next = async {
            tick.tick().await;
            connections::measure(session, args, &reader, &mut book).await
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            found = next => match found {
                Ok(found) => {
                    pictures = found;
                    trouble.clear();
                }
                // The last picture stays, with its time, until the API server answers again.
                Err(error) => trouble = format!("\nnot measured again: {error}\n"),
            },
        }
    }
}

fn pages(pictures: &[Picture], args: &ConnectionsArgs) -> String {
    let canvas = screen::canvas();
    let pages: Vec<String> = pictures
        .iter()
        .map(|p| connections::page::page(p, args.rows, canvas))
        .collect();
    pages.join("\n")
}

/// Asks on the terminal; without one, nobody has agreed.
fn confirm(question: &str) -> Result<bool, Error> {
    if !io::stdin().is_terminal() {
        return Err(Error::Declined(
            "nobody can be asked, as the input is no terminal: give --yes".to_owned(),
        ));
    }
    let mut err = io::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
