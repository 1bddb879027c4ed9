//! The demo: what the operator is for, result on a real Kubernetes with real databases, in the terminal.
//!
//! [`setup`] sets it up and takes it away, [`script`] says what happens when and what must come true, [`observer`] is what
//! is seen at a moment, [`render`] draws it, [`screen`] shows it. A chapter that does not come true in its time is an
//! error, so that the demo is a test as well. It measures from the databases' and the pods' side; of the operator it
//! knows only what any user sees: its policy.

mod observer;
mod render;
mod screen;
mod script;
mod setup;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::interrupt;
use crate::kubernetes::{Testbed, require_root};
use screen::Screen;
use setup::DemoSetup;

/// The demo's own testbed.
pub const TESTBED: &str = "dbb-demo";

/// What a demo needs to know.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// Name of the testbed.
    pub testbed: String,
    /// The operator, built for release.
    pub operator: PathBuf,
    /// Is all left running at the end?
    pub keep: bool,
}

/// Tells the story. Whatever happens, a signal included, all is taken away at the end; with `keep` only after a signal.
/// A signal is no error: the caller sees it by [`interrupt::pending`].
pub fn run_demo(options: &DemoOptions) -> Result<()> {
    require_root("testbed demo")?;
    let mut screen = Screen::on_stdout();
    let result = play_demo(options, &mut screen);
    screen.reset();
    let stopped = interrupt::is_interrupted();
    if let Err(why) = &result
        && !stopped
    {
        screen.print_error(&format!("The story did not come true: {why:#}"));
        if let Ok(testbed) = Testbed::open(&options.testbed) {
            screen.print_error(&setup::describe_failure(&testbed));
        }
    }
    if options.keep && !stopped {
        if result.is_ok() {
            let _ = screen.print_lines(&render::render_next_steps(&options.testbed));
        }
        let _ = screen.print_lines(&[format!(
            "All of it still runs (KEEP=1). Take it away with: make testbed-down TESTBED_NAME={}",
            options.testbed
        )]);
        return demo_outcome(result);
    }
    if stopped {
        let _ = screen.print_lines(&["Stopped.".to_owned()]);
    }
    let began = Instant::now();
    take_away(&options.testbed)?;
    let _ = screen.print_lines(&[format!(
        "Everything is taken away again ({:.1} s).",
        began.elapsed().as_secs_f64()
    )]);
    // Who stopped it knows why it has not come true.
    if stopped {
        Ok(())
    } else {
        demo_outcome(result)
    }
}

/// The cause has been said, before what was set up was taken away.
fn demo_outcome(result: Result<()>) -> Result<()> {
    result.or_else(|_| bail!("the demo has failed, as said above"))
}

fn play_demo(options: &DemoOptions, screen: &mut Screen) -> Result<()> {
    let began = Instant::now();
    screen.print_lines(&render::render_title(options.keep))?;
    let setup = DemoSetup::build(options, screen)?;
    screen.print_lines(&[format!("Set up in {:.0} s.", began.elapsed().as_secs_f64())])?;
    script::play_script(&setup, screen)
}

/// A second Ctrl-C reaches the programs that take the testbed away too, as they share the terminal. Each attempt goes on
/// where the last one ended.
fn take_away(testbed: &str) -> Result<()> {
    Testbed::down(testbed)
        .or_else(|_| Testbed::down(testbed))
        .or_else(|_| Testbed::down(testbed))
}
