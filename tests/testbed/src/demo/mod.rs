//! The demo: what the operator is for, told on a real Kubernetes with real databases, in the terminal.
//!
//! [`stage`] sets it up and takes it away, [`story`] says what happens when and what must come true, [`sight`] is what
//! is seen at a moment, [`picture`] draws it, [`screen`] shows it. A chapter that does not come true in its time is an
//! error, so that the demo is a test as well. It measures from the databases' and the pods' side; of the operator it
//! knows only what any user sees: its policy.

mod picture;
mod screen;
mod sight;
mod stage;
mod story;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::interrupt;
use crate::kubernetes::{Testbed, root};
use screen::Screen;
use stage::Stage;

/// The demo's own testbed.
pub const TESTBED: &str = "dbb-demo";

/// What a demo needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of the testbed.
    pub testbed: String,
    /// The operator, built for release.
    pub operator: PathBuf,
    /// Is all left running at the end?
    pub keep: bool,
}

/// Tells the story. Whatever happens, a signal included, all is taken away at the end; with `keep` only after a signal.
/// A signal is no error: the caller sees it by [`interrupt::pending`].
pub fn run(options: &Options) -> Result<()> {
    root("testbed demo")?;
    let mut screen = Screen::on_stdout();
    let told = tell(options, &mut screen);
    screen.let_go();
    let stopped = interrupt::pending();
    if let Err(why) = &told
        && !stopped
    {
        screen.complain(&format!("The story did not come true: {why:#}"));
        if let Ok(testbed) = Testbed::open(&options.testbed) {
            screen.complain(&stage::explain(&testbed));
        }
    }
    if options.keep && !stopped {
        if told.is_ok() {
            let _ = screen.page(&picture::what_to_try(&options.testbed));
        }
        let _ = screen.page(&[format!(
            "All of it still runs (KEEP=1). Take it away with: make testbed-down TESTBED={}",
            options.testbed
        )]);
        return outcome(told);
    }
    if stopped {
        let _ = screen.page(&["Stopped.".to_owned()]);
    }
    let began = Instant::now();
    take_away(&options.testbed)?;
    let _ = screen.page(&[format!(
        "Everything is taken away again ({:.1} s).",
        began.elapsed().as_secs_f64()
    )]);
    // Who stopped it knows why it has not come true.
    if stopped { Ok(()) } else { outcome(told) }
}

/// The cause has been said, before what was set up was taken away.
fn outcome(told: Result<()>) -> Result<()> {
    told.or_else(|_| bail!("the demo has failed, as said above"))
}

fn tell(options: &Options, screen: &mut Screen) -> Result<()> {
    let began = Instant::now();
    screen.page(&picture::title(options.keep))?;
    let stage = Stage::set(options, screen)?;
    screen.page(&[format!("Set up in {:.0} s.", began.elapsed().as_secs_f64())])?;
    story::play(&stage, screen)
}

/// A second Ctrl-C reaches the programs that take the testbed away too, as they share the terminal. Each attempt goes on
/// where the last one ended.
fn take_away(testbed: &str) -> Result<()> {
    Testbed::down(testbed)
        .or_else(|_| Testbed::down(testbed))
        .or_else(|_| Testbed::down(testbed))
}
