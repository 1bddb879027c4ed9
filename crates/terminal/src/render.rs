//! Draws the parts of a page: bars, tables, wrapped lines, ages. Values in, text out.

use jiff::Timestamp;
use unicode_width::UnicodeWidthStr;

use crate::{Canvas, Tone};

/// Returns how many columns a terminal needs for a text without colours.
#[must_use]
pub fn display_width(text: &str) -> usize {
    text.width()
}

/// Draws a bar for `value` of `most`, in eighths of a column, padded to `columns`. A value above 0 has at least an eighth,
/// so that it is never drawn as nothing.
#[must_use]
pub fn render_bar(value: u32, most: u32, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let (value, most) = (u64::from(value), u64::from(most.max(value).max(1)));
    let total = u64::try_from(columns).unwrap_or(0) * 8;
    let filled = (value * total + most / 2) / most;
    let filled = usize::try_from(filled.max(u64::from(value > 0))).unwrap_or(0);
    let mut text = "█".repeat(filled / 8);
    text.push_str(EIGHTHS[filled % 8]);
    pad_right(&text, columns)
}

/// Pads a text with blanks on the right.
#[must_use]
pub fn pad_right(text: &str, columns: usize) -> String {
    let missing = columns.saturating_sub(display_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Cuts a text in its middle, where names differ least: pods of one workload differ at their ends.
#[must_use]
pub fn shorten_middle(text: &str, columns: usize) -> String {
    let length = display_width(text);
    if length <= columns {
        return text.to_owned();
    }
    let keep = columns.saturating_sub(1);
    let tail = keep.div_ceil(2);
    let head: String = text.chars().take(keep - tail).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{head}…{end}")
}

/// Wraps a text at blanks, into lines of at most `columns` but at least 24 columns beside the indent. The first line has
/// `first` columns before the text already; the others are indented.
#[must_use]
pub fn wrap_text(text: &str, first: usize, indent: usize, columns: usize) -> String {
    // A narrow terminal wraps by itself better than a column of single words would read.
    let columns = columns.max(indent + 24);
    let mut out = String::new();
    let mut at = first;
    for (i, word) in text.split_whitespace().enumerate() {
        if i > 0 && at + 1 + display_width(word) > columns {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            at = indent;
        } else if i > 0 {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += display_width(word);
    }
    out
}

/// Formats how long ago `then` was, as `kubectl` does; with two units where one would hide much.
#[must_use]
pub fn format_age(then: Timestamp, now: Timestamp) -> String {
    format_span(now.duration_since(then).as_secs())
}

/// Formats a number of seconds as `45s`, `4m10s`, `3h` or `13d`.
#[must_use]
pub fn format_span(seconds: i64) -> String {
    let s = seconds.max(0);
    let two = |big: i64, unit: &str, small: i64, rest: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{rest}")
        }
    };
    match s {
        0..120 => format!("{s}s"),
        120..600 => two(s / 60, "m", s % 60, "s"),
        600..7200 => format!("{}m", s / 60),
        7200..86_400 => two(s / 3600, "h", s % 3600 / 60, "m"),
        86_400..172_800 => format!("{}h", s / 3600),
        _ => format!("{}d", s / 86_400),
    }
}

/// Formats a time to the second, in UTC.
#[must_use]
pub fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Formats a number with its noun, as in `1 pod` and `2 pods`.
#[must_use]
pub fn format_count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// One cell of a table: its tone and its text.
#[derive(Clone, Debug)]
pub struct Cell(
    /// The tone.
    pub Tone,
    /// The text.
    pub String,
);

impl Cell {
    /// Returns a cell of ordinary text.
    pub fn plain(text: impl Into<String>) -> Self {
        Self(Tone::Plain, text.into())
    }
}

/// Draws rows in columns that are as wide as their widest cell. The last cell of a row is not padded.
#[must_use]
pub fn render_table(canvas: Canvas, indent: usize, rows: &[Vec<Cell>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| {
            let cells = rows.iter().filter_map(|r| r.get(c));
            cells.map(|cell| display_width(&cell.1)).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (c, Cell(tone, text)) in row.iter().enumerate() {
            if c + 1 == row.len() {
                line.push_str(&canvas.tint(*tone, text));
            } else {
                line.push_str(&canvas.tint(*tone, text));
                line.push_str(&" ".repeat(widths[c] - display_width(text) + 2));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests;
