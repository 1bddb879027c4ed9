//! The parts of a page for a terminal: tones, bars, tables, wrapped lines, ages.
//!
//! Pure: values in, text out. Whether there are colours, and how wide the terminal is, are values too.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

/// How a page is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Canvas {
    /// Whether colours are used.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

/// What a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Strong,
    Faint,
    Good,
    Warn,
    Bad,
    /// A bar of a reader, and of the writer.
    Reader,
    Writer,
}

impl Canvas {
    /// The text in its tone.
    pub(super) fn tint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.trim().is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Reader => AnsiColor::Cyan.on_default(),
            Tone::Writer => AnsiColor::Magenta.on_default(),
        };
        format!("{style}{text}{style:#}")
    }

    /// A heading.
    pub(super) fn heading(self, text: &str) -> String {
        self.tint(Tone::Strong, text)
    }
}

/// Columns that a text takes. Names in Kubernetes and AWS are ASCII, and our own marks are one wide.
pub(super) fn display_width(text: &str) -> usize {
    text.chars().count()
}

/// A bar: `value` of `most`, in eighths of a column, padded to `columns`. Something is never drawn as nothing.
pub(super) fn render_bar(value: u32, most: u32, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let (value, most) = (u64::from(value), u64::from(most.max(value).max(1)));
    let total = u64::try_from(columns).unwrap_or(0) * 8;
    let filled = (value * total + most / 2) / most;
    let filled = usize::try_from(filled.max(u64::from(value > 0))).unwrap_or(0);
    let mut text = "█".repeat(filled / 8);
    text.push_str(EIGHTHS[filled % 8]);
    pad_right(&text, columns)
}

/// Padded with blanks on the right.
pub(super) fn pad_right(text: &str, columns: usize) -> String {
    format!("{text:<columns$}")
}

/// Cut in its middle, where names differ least: ends tell pods of a workload apart.
pub(super) fn shorten_middle(text: &str, columns: usize) -> String {
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

/// Wrapped at blanks; lines after the first are indented.
pub(super) fn wrap_text(text: &str, first: usize, indent: usize, columns: usize) -> String {
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

/// How long ago, as `kubectl` writes it; two units where one would hide much.
pub(super) fn format_age(then: Timestamp, now: Timestamp) -> String {
    format_span(now.duration_since(then).as_secs())
}

/// A number of seconds as `45s`, `4m10s`, `3h`, `13d`.
pub(super) fn format_span(seconds: i64) -> String {
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

/// A time to the second.
pub(super) fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `1 pod`, `2 pods`.
pub(super) fn format_count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell(pub Tone, pub String);

impl Cell {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self(Tone::Plain, text.into())
    }
}

/// Rows in columns, as wide as their widest cell; the last column is not padded.
pub(super) fn render_table(canvas: Canvas, indent: usize, rows: &[Vec<Cell>]) -> String {
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
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_hides_something() {
        assert_eq!(render_bar(10, 10, 4), "████");
        assert_eq!(render_bar(5, 10, 4), "██  ");
        assert_eq!(render_bar(9, 16, 2), "█▏");
        assert_eq!(render_bar(1, 1000, 4), "▏   ");
        assert_eq!(render_bar(0, 10, 4), "    ");
        assert_eq!(render_bar(0, 0, 2), "  ");
        assert_eq!(render_bar(20, 10, 2), "██", "never longer than its columns");
    }

    #[test]
    fn a_long_name_is_cut_in_its_middle() {
        assert_eq!(shorten_middle("web-7d9c-abcde", 14), "web-7d9c-abcde");
        assert_eq!(shorten_middle("web-7d9c-abcde", 9), "web-…bcde");
    }

    #[test]
    fn a_line_is_wrapped_at_blanks_with_an_indent() {
        let text = wrap_text("the first gate that holds it, in words", 0, 2, 26);
        assert_eq!(text, "the first gate that holds\n  it, in words");
    }

    #[test]
    fn ages_are_short() {
        let ages: Vec<String> = [0, 119, 120, 250, 600, 7260, 90_000, 1_200_000]
            .into_iter()
            .map(format_span)
            .collect();
        assert_eq!(
            ages,
            ["0s", "119s", "2m", "4m10s", "10m", "2h1m", "25h", "13d"]
        );
    }

    #[test]
    fn a_table_is_aligned_by_what_is_seen_not_by_colour_codes() {
        let canvas = Canvas {
            colour: true,
            width: 80,
        };
        let rows = [
            vec![Cell(Tone::Good, "a".into()), Cell::plain("x")],
            vec![Cell::plain("bbb"), Cell::plain("y")],
        ];
        assert_eq!(
            render_table(canvas, 1, &rows),
            " \u{1b}[32ma\u{1b}[0m    x\n bbb  y\n"
        );
    }
}
