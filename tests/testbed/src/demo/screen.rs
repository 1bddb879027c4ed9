//! Output of the demo: on a terminal the picture is drawn in place, elsewhere lines follow one another.
//!
//! A closed output ends the demo by an error, never by a panic: what was set up must be deleted.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use dbbalance_terminal::{Canvas, Tone};

/// Without a terminal a change is printed at most this often.
const CHANGES: Duration = Duration::from_secs(2);
/// And without a change, as a sign of life.
const NOTHING_NEW: Duration = Duration::from_secs(15);

/// Standard output.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    canvas: Canvas,
    /// Lines of the picture that the next one replaces.
    drawn: usize,
    /// Without a terminal: the last line's key, and when it was written.
    told: Option<(String, Instant)>,
}

impl Screen {
    /// As standard output is; `NO_COLOR` and `TERM=dumb` are respected.
    #[must_use]
    pub fn on_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let terminal =
            io::stdout().is_terminal() && std::env::var("TERM").is_ok_and(|term| term != "dumb");
        Self {
            terminal,
            canvas: Canvas {
                colour: terminal && !set("NO_COLOR"),
                width: super::render::WIDTH,
            },
            drawn: 0,
            told: None,
        }
    }

    /// The colours to draw with.
    #[must_use]
    pub fn canvas(&self) -> Canvas {
        self.canvas
    }

    fn write(text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .context("the output of the demo is closed")
    }

    /// Prints lines that stay.
    pub fn print_lines(&mut self, lines: &[String]) -> Result<()> {
        self.drawn = 0;
        Self::write(&format!("{}\n", lines.join("\n")))
    }

    /// Announces a step that takes a while; only on a terminal.
    pub fn begin_step(&mut self, what: &str) -> Result<()> {
        if self.terminal {
            // At the line's start again, where output of the testbed on standard error replaces it.
            Self::write(&format!(
                "  {}\r",
                self.canvas.tint(Tone::Faint, &format!("{what} …"))
            ))?;
        }
        Ok(())
    }

    /// Prints the duration of a completed step.
    pub fn finish_step(&mut self, what: &str, took: Duration) -> Result<()> {
        let start = if self.terminal { "\x1b[K" } else { "" };
        let took = self
            .canvas
            .tint(Tone::Faint, &format!("{:>5.1} s", took.as_secs_f64()));
        Self::write(&format!("{start}  {what:<52} {took}\n"))
    }

    /// A heading.
    pub fn print_heading(&mut self, text: &str) -> Result<()> {
        self.told = None;
        self.print_lines(&[String::new(), self.canvas.tint(Tone::Strong, text)])
    }

    /// Draws the picture over the last one; without a terminal `line` is written, when `key` is another or time passed.
    pub fn draw(&mut self, picture: &[String], key: &str, line: &str) -> Result<()> {
        if self.terminal {
            // Up to the old one's first line; lines are cut at the edge, as a wrapped one would be counted wrongly.
            let mut text = String::from("\x1b[?7l");
            if self.drawn > 0 {
                // Writing to a String does not fail.
                let _ = write!(text, "\x1b[{}F", self.drawn);
            }
            for line in picture {
                text.push_str(line);
                text.push_str("\x1b[K\n");
            }
            text.push_str("\x1b[J\x1b[?7h");
            self.drawn = picture.len();
            return Self::write(&text);
        }
        let due = self.told.as_ref().is_none_or(|(last, at)| {
            at.elapsed() >= if last == key { NOTHING_NEW } else { CHANGES }
        });
        if due {
            self.told = Some((key.to_owned(), Instant::now()));
            Self::write(&format!("{line}\n"))?;
        }
        Ok(())
    }

    /// Keeps the picture, and continues below it. Without a terminal, prints its last state: the lines `told`.
    pub fn keep_picture(&mut self, told: &[String]) -> Result<()> {
        self.drawn = 0;
        if self.terminal {
            return Ok(());
        }
        Self::write(&format!("{}\n", told.join("\n")))
    }

    /// Resets the terminal, even if a drawing was interrupted.
    pub fn reset(&mut self) {
        self.drawn = 0;
        if self.terminal {
            let _ = Self::write("\x1b[0m\x1b[?7h");
        }
    }

    /// Prints an error on standard error.
    pub fn print_error(&self, text: &str) {
        let _ = writeln!(io::stderr(), "\n{}", self.canvas.tint(Tone::Bad, text));
    }
}
