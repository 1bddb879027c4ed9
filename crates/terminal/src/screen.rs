//! Shows pages on the terminal: finds out what it can show, prints a page, or redraws one in place.
//!
//! However a watch ends, the terminal is left as it was, with the last page on it.

use std::io::{self, IsTerminal, Write};

use crate::Canvas;

/// Columns of a page that is not written to a terminal. Our choice: files are read in wide windows.
const DEFAULT_WIDTH: usize = 120;
/// Columns of a page at most, on however wide a terminal: longer lines are hard to follow.
const MAX_WIDTH: usize = 180;

/// Switches to the alternate screen, without cursor and without wrapping of long lines.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// Switches back.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Returns how pages are drawn on standard output: with colours on a terminal, unless `NO_COLOR` or `TERM=dumb` is set,
/// and 40 to 180 columns wide.
#[must_use]
pub fn detect_canvas() -> Canvas {
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

/// Returns the text as a terminal may get it: without control characters but line feeds and colours. Messages may quote
/// what a container has printed, which must not move the cursor, set a title or fill the clipboard.
#[must_use]
pub fn keep_printable(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let colour = colour_length(rest);
        if colour > 0 {
            kept.push_str(&rest[..colour]);
            rest = &rest[colour..];
            continue;
        }
        match next {
            '\t' | '\r' => kept.push(' '),
            '\n' => kept.push('\n'),
            c if c.is_control() => {}
            c => kept.push(c),
        }
        rest = &rest[next.len_utf8()..];
    }
    kept
}

/// Returns the length of the colour at the beginning of the text, `ESC [ digits ; … m`; 0 if there is none.
fn colour_length(text: &str) -> usize {
    let Some(parameters) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';');
    match end {
        Some(end) if parameters[end..].starts_with('m') => "\x1b[".len() + end + "m".len(),
        _ => 0,
    }
}

/// Writes a page to standard output, with what [`keep_printable`] leaves of it. A reader that has closed the pipe (`| head`) is not an error.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_page(page: &str) -> io::Result<()> {
    write_page(&keep_printable(page))
}

fn write_page(page: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(page.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A page that is redrawn in place on a terminal, and printed each time elsewhere.
pub struct LiveScreen {
    in_place: bool,
    last: String,
}

impl LiveScreen {
    /// Switches the terminal to the alternate screen, if standard output is a terminal.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn open() -> io::Result<Self> {
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
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn draw(&mut self, page: &str) -> io::Result<()> {
        let page = keep_printable(page);
        page.clone_into(&mut self.last);
        let mut out = io::stdout().lock();
        if self.in_place {
            let rows = detect_size().map_or(24, |(_, rows)| rows);
            out.write_all(render_frame(&page, rows).as_bytes())?;
        } else {
            out.write_all(page.as_bytes())?;
        }
        out.flush()
    }
}

impl Drop for LiveScreen {
    fn drop(&mut self) {
        if self.in_place {
            // There is nowhere left to report an error.
            let _ = write_page(&format!("{LEAVE}{}", self.last));
        }
    }
}

/// Returns the bytes that draw a page over the one before. The rest of each line and everything below are erased,
/// instead of the whole screen, so that nothing flickers.
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
        out.push_str("\r\n… the terminal has too few rows for the rest\x1b[K");
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests;
