//! The terminal: what it can show, and a page that is redrawn in place.
//!
//! Writes bytes; what is on a page is decided by the commands. However a watch ends, the terminal is left
//! as it was, with the last page on it.

use std::io::{self, IsTerminal, Write};

use super::render::Canvas;

/// Columns where nothing tells: what people expect of a file.
const DEFAULT_WIDTH: usize = 120;
/// A line longer than this is hard to follow; wider terminals get no wider pages.
const MAX_WIDTH: usize = 180;

/// Another screen, no cursor, no wrapping of long lines; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How pages are drawn on the standard output.
pub(super) fn detect_canvas() -> Canvas {
    let tty = io::stdout().is_terminal();
    // https://no-color.org: any value but an empty one.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    let width = detect_size().map_or(DEFAULT_WIDTH, |(columns, _)| columns);
    Canvas {
        colour: tty && !no_color && !dumb,
        width: width.clamp(40, MAX_WIDTH),
    }
}

fn detect_size() -> Option<(usize, usize)> {
    let (columns, rows) = terminal_size::terminal_size_of(io::stdout())?;
    (columns.0 > 0).then_some((columns.0.into(), rows.0.into()))
}

/// Writes a page. A reader that has gone away (`| head`) is no error.
pub(super) fn print_page(page: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(page.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A page that is redrawn in place on a terminal, and written again and again elsewhere.
pub(super) struct LiveScreen {
    in_place: bool,
    last: String,
}

impl LiveScreen {
    /// Takes the terminal, if there is one.
    pub(super) fn open() -> io::Result<Self> {
        let in_place = io::stdout().is_terminal();
        let screen = Self {
            in_place,
            last: String::new(),
        };
        if in_place {
            let mut out = io::stdout().lock();
            out.write_all(ENTER.as_bytes())?;
            out.flush()?;
        }
        Ok(screen)
    }

    /// Shows a page.
    pub(super) fn draw(&mut self, page: &str) -> io::Result<()> {
        page.clone_into(&mut self.last);
        let mut out = io::stdout().lock();
        if self.in_place {
            let rows = detect_size().map_or(24, |(_, rows)| rows);
            out.write_all(render_frame(page, rows).as_bytes())?;
        } else {
            out.write_all(page.as_bytes())?;
        }
        out.flush()
    }
}

impl Drop for LiveScreen {
    fn drop(&mut self) {
        if self.in_place {
            // Nobody is left to be told of an error.
            let _ = print_page(&format!("{LEAVE}{}", self.last));
        }
    }
}

/// A page over the one before: each line's rest and what is below are wiped, so that nothing flickers.
fn render_frame(page: &str, rows: usize) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let mut out = "\x1b[H".to_owned();
    let fits = lines.len() <= rows;
    let shown = if fits {
        lines.len()
    } else {
        rows.saturating_sub(1)
    };
    for (i, line) in lines.iter().take(shown).enumerate() {
        if i > 0 {
            out.push_str("\r\n");
        }
        out.push_str(line);
        out.push_str("\x1b[K");
    }
    if !fits {
        out.push_str("\r\n… the terminal is too low for the rest\x1b[K");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_overwrites_the_last_one_without_clearing_the_screen() {
        assert_eq!(render_frame("a\nb\n", 24), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }

    #[test]
    fn a_page_that_is_too_long_never_scrolls() {
        let frame = render_frame("1\n2\n3\n4\n", 3);
        assert_eq!(frame.matches("\r\n").count(), 2);
        assert!(frame.contains("too low"));
    }
}
