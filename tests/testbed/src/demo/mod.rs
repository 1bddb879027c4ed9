//! The demo: shows in a terminal what the operator is for, on a real Kubernetes with real databases.
//!
//! `setup` starts everything, `script` has the chapters and their expected outcomes, `observer` takes snapshots,
//! `render` draws them, `screen` shows them. A chapter whose outcome is late is an error, so the demo is also a
//! test. It measures from the side of databases and pods; of the operator it reads only what any user sees: the policy.

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

/// Runs the demo. In any case, including a signal, everything is deleted at the end; with `keep` only after a signal.
/// A signal is not an error: the caller checks [`interrupt::is_interrupted`].
pub fn run_demo(options: &DemoOptions) -> Result<()> {
    require_root("testbed demo")?;
    let mut screen = Screen::on_stdout();
    let result = play_demo(options, &mut screen);
    screen.reset();
    let stopped = interrupt::is_interrupted();
    if let Err(why) = &result
        && !stopped
    {
        screen.print_error(&format!("The demo failed: {why:#}"));
        if let Ok(testbed) = Testbed::open(&options.testbed) {
            screen.print_error(&setup::describe_failure(&testbed));
        }
    }
    if options.keep && !stopped {
        if result.is_ok() {
            let _ = screen.print_lines(&render::render_next_steps(&options.testbed));
        }
        let _ = screen.print_lines(&[format!(
            "Everything is still running (KEEP=1). Delete it with: make testbed-down TESTBED_NAME={}",
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
        "Everything is deleted ({:.1} s).",
        began.elapsed().as_secs_f64()
    )]);
    // After a signal the demo did not fail.
    if stopped {
        Ok(())
    } else {
        demo_outcome(result)
    }
}

/// The cause was printed before the testbed was deleted.
fn demo_outcome(result: Result<()>) -> Result<()> {
    result.or_else(|_| bail!("the demo has failed; see above"))
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
