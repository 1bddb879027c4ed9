//! The snapshot of a target as a page: its instances, then pods by instances.
//!
//! A snapshot and a canvas in, text out.

use std::fmt::Write as _;

use super::snapshot::{BandLevel, ConnectionPlace, ConnectionSnapshot, PlaceKind, PodRow};
use dbbalance_terminal::render::{
    Cell, display_width, format_count, pad_right, render_bar, render_table, shorten_middle,
    wrap_text,
};
use dbbalance_terminal::{Canvas, Tone};

/// Columns of an instance's bar, from the best to the least; the first that fits is taken.
const SHARE_BARS: [usize; 3] = [28, 16, 8];
/// Columns of a pod's bars, from the best to none; the first that fits is taken.
const POD_BARS: [usize; 4] = [10, 6, 3, 0];
/// The longest name of a pod: a Deployment's of 47 characters has 63 with both hashes.
const POD_NAME: usize = 44;
/// Both hashes of a Deployment's pod (`-7c9d8f6b5d-x2k4q`).
const LEAST_POD_NAME: usize = 17;

/// The page of one target. `rows`: the most pods that are listed, 0: all.
pub(crate) fn render_page(snapshot: &ConnectionSnapshot, rows: usize, canvas: Canvas) -> String {
    let mut out = render_head(snapshot, canvas);
    for note in &snapshot.notes {
        let text = wrap_text(note, 2, 4, canvas.width);
        let _ = writeln!(out, "  {}", canvas.tint(Tone::Warn, &text));
    }
    out.push('\n');
    out.push_str(&render_instances(snapshot, canvas));
    if let Some(band) = snapshot.band {
        out.push_str(&canvas.tint(
            Tone::Faint,
            &format!(
                "  band: {} to {} connections a reader",
                band.lowest, band.highest
            ),
        ));
        out.push('\n');
    }
    if !snapshot.pods.is_empty() {
        out.push('\n');
        out.push_str(&render_matrix(snapshot, rows, canvas));
    }
    out
}

fn render_head(snapshot: &ConnectionSnapshot, canvas: Canvas) -> String {
    let pods = snapshot.pods.len();
    let read = match pods {
        0 => "no pods are counted".to_owned(),
        _ => format!(
            "{} of {} read, {}",
            snapshot.pods_read(),
            format_count(pods, "pod"),
            format_count(
                usize::try_from(snapshot.total_connections()).unwrap_or(0),
                "connection"
            )
        ),
    };
    format!(
        "{}/{} target {}: cluster {}, port {}, {}\n{read}\n",
        snapshot.namespace,
        canvas.heading(&snapshot.policy),
        canvas.heading(&snapshot.target),
        snapshot.cluster,
        snapshot.port,
        snapshot.time.strftime("%H:%M:%SZ"),
    )
}

const fn place_tone(kind: PlaceKind) -> Tone {
    match kind {
        PlaceKind::Writer => Tone::Writer,
        PlaceKind::Reader => Tone::Reader,
        PlaceKind::Former => Tone::Bad,
        PlaceKind::Unknown => Tone::Warn,
    }
}

const fn role_name(kind: PlaceKind) -> &'static str {
    match kind {
        PlaceKind::Writer => "writer",
        PlaceKind::Reader => "reader",
        PlaceKind::Former => "former",
        PlaceKind::Unknown => "unknown",
    }
}

/// A short name for each place, as in `w`, `r1`, `r2`, `x1`.
fn place_labels(places: &[ConnectionPlace]) -> Vec<String> {
    let mut seen = [0_u32; 4];
    places
        .iter()
        .map(|place| {
            let (slot, letter) = match place.kind {
                PlaceKind::Writer => return "w".to_owned(),
                PlaceKind::Reader => (1, 'r'),
                PlaceKind::Former => (2, 'x'),
                PlaceKind::Unknown => (3, 'u'),
            };
            seen[slot] += 1;
            format!("{letter}{}", seen[slot])
        })
        .collect()
}

fn render_instances(snapshot: &ConnectionSnapshot, canvas: Canvas) -> String {
    let plain = Canvas {
        colour: false,
        ..canvas
    };
    let fits = |bars: &usize| {
        let drawn = render_instance_rows(snapshot, plain, *bars);
        drawn
            .lines()
            .all(|line| display_width(line) <= canvas.width)
    };
    let bars = SHARE_BARS.into_iter().find(fits);
    render_instance_rows(snapshot, canvas, bars.unwrap_or(SHARE_BARS[2]))
}

fn render_instance_rows(snapshot: &ConnectionSnapshot, canvas: Canvas, bars: usize) -> String {
    let most = snapshot.places.iter().map(|p| p.connections).max();
    let header = ["", "INSTANCE", "ROLE", "ADDRESS", "CONNECTIONS"];
    let mut rows = vec![header.map(|h| Cell(Tone::Faint, h.to_owned())).to_vec()];
    for (place, label) in snapshot.places.iter().zip(place_labels(&snapshot.places)) {
        let tone = place_tone(place.kind);
        let addresses: Vec<String> = place.addresses.iter().map(ToString::to_string).collect();
        let percent = place.percent.map_or(String::new(), |p| format!("{p:>3} %"));
        let level = match place.level {
            Some(BandLevel::Above) => Cell(Tone::Bad, "above the band".to_owned()),
            Some(BandLevel::Below) => Cell(Tone::Bad, "below the band".to_owned()),
            Some(BandLevel::Within) | None => Cell::plain(""),
        };
        rows.push(vec![
            Cell(Tone::Strong, label),
            Cell::plain(shorten_middle(&place.name, 40)),
            Cell(tone, role_name(place.kind).to_owned()),
            Cell(Tone::Faint, addresses.join(" ")),
            Cell(tone, render_bar(place.connections, most.unwrap_or(0), bars)),
            Cell::plain(format!("{:>5}", place.connections)),
            Cell::plain(percent),
            level,
        ]);
    }
    render_table(canvas, 2, &rows)
}

/// How the matrix is laid out.
struct MatrixLayout {
    pod: usize,
    bar: usize,
    digits: usize,
    columns: Vec<(String, usize)>,
}

impl MatrixLayout {
    /// The first layout that fits: full names and long bars, then short names, then shorter bars.
    fn fit(snapshot: &ConnectionSnapshot, shown: &[&PodRow], canvas: Canvas) -> Self {
        let names = shown
            .iter()
            .map(|p| display_width(&p.name))
            .max()
            .unwrap_or(0);
        let pod = names.max(5).min(POD_NAME.min(canvas.width / 2).max(12));
        let most = snapshot.places.iter().map(|p| p.connections).max();
        let digits = most.unwrap_or(0).to_string().len().max(3);
        let full: Vec<String> = snapshot.places.iter().map(|p| p.name.clone()).collect();
        let short = place_labels(&snapshot.places);
        let layouts = [(&full, &POD_BARS[..2]), (&short, &POD_BARS[..])]
            .into_iter()
            .flat_map(|(names, bars)| bars.iter().map(move |bar| (names, *bar)))
            .map(|(names, bar)| Self::new(pod, bar, digits, names));
        let notes = shown
            .iter()
            .filter(|p| p.read)
            .map(|p| display_width(&join_notes(p)));
        let notes = notes.max().filter(|n| *n > 0).map_or(0, |n| n + 2);
        let fits = |beside: usize| move |layout: &Self| layout.width() + beside <= canvas.width;
        // With every note beside its pod, if that can be.
        let found = layouts
            .clone()
            .find(fits(notes))
            .or_else(|| layouts.clone().find(fits(0)));
        let mut layout = found.unwrap_or_else(|| Self::new(pod, 0, digits, &short));
        // Sixteen instances: names are cut, down to the part in which pods of a workload differ.
        let over = layout.width().saturating_sub(canvas.width);
        layout.pod = layout.pod.saturating_sub(over).max(LEAST_POD_NAME.min(pod));
        layout
    }

    fn new(pod: usize, bar: usize, digits: usize, names: &[String]) -> Self {
        let cell = if bar == 0 { digits } else { bar + 1 + digits };
        let columns = names
            .iter()
            .map(|name| (name.clone(), cell.max(display_width(name))))
            .collect();
        Self {
            pod,
            bar,
            digits,
            columns,
        }
    }

    fn width(&self) -> usize {
        let columns: usize = self.columns.iter().map(|(_, w)| w + 2).sum();
        2 + self.pod + columns
    }

    fn cell(&self, canvas: Canvas, tone: Tone, value: u32, most: u32, columns: usize) -> String {
        let number = if value == 0 {
            canvas.tint(Tone::Faint, &format!("{:>1$}", "·", self.digits))
        } else {
            format!("{value:>0$}", self.digits)
        };
        if self.bar == 0 {
            return format!("{}{number}", " ".repeat(columns - self.digits));
        }
        let rest = " ".repeat(columns - self.bar - 1 - self.digits);
        let bar = canvas.tint(tone, &render_bar(value, most, self.bar));
        format!("{bar} {number}{rest}")
    }
}

fn render_matrix(snapshot: &ConnectionSnapshot, rows: usize, canvas: Canvas) -> String {
    let limit = if rows == 0 { usize::MAX } else { rows };
    let shown: Vec<&PodRow> = snapshot.pods.iter().take(limit).collect();
    let layout = MatrixLayout::fit(snapshot, &shown, canvas);
    let most = snapshot.pods.iter().flat_map(|p| &p.held).max();
    let most = most.copied().unwrap_or(0);
    let mut header = format!("  {}", pad_right("POD", layout.pod));
    for (name, columns) in &layout.columns {
        let name = if layout.bar == 0 {
            format!("{name:>columns$}")
        } else {
            pad_right(name, *columns)
        };
        header.push_str("  ");
        header.push_str(&name);
    }
    let mut out = canvas.tint(Tone::Faint, header.trim_end());
    out.push('\n');
    for row in shown {
        out.push_str(&render_pod_line(snapshot, row, &layout, most, canvas));
    }
    let more = snapshot.pods.len().saturating_sub(limit);
    if more > 0 {
        let text = format!("  … and {more} more (--rows 0 lists all)");
        out.push_str(&canvas.tint(Tone::Faint, &text));
        out.push('\n');
    }
    out
}

fn render_pod_line(
    snapshot: &ConnectionSnapshot,
    row: &PodRow,
    layout: &MatrixLayout,
    most: u32,
    canvas: Canvas,
) -> String {
    let name = pad_right(&shorten_middle(&row.name, layout.pod), layout.pod);
    let mut line = format!("  {}", canvas.tint(row_tone(row), &name));
    let mut at = 2 + layout.pod;
    if row.read {
        let cells = snapshot.places.iter().zip(&row.held).zip(&layout.columns);
        for ((place, held), (_, columns)) in cells {
            line.push_str("  ");
            line.push_str(&layout.cell(canvas, place_tone(place.kind), *held, most, *columns));
        }
        at = layout.width();
    }
    let notes = join_notes(row);
    if notes.is_empty() {
        return format!("{}\n", line.trim_end());
    }
    let (before, start, indent) = if at + 2 + display_width(&notes) <= canvas.width || !row.read {
        ("  ".to_owned(), at + 2, at + 2)
    } else {
        (format!("\n{}", " ".repeat(6)), 6, 6)
    };
    let notes = canvas.tint(
        row_tone(row),
        &wrap_text(&notes, start, indent, canvas.width),
    );
    format!("{}{before}{notes}\n", line.trim_end())
}

fn join_notes(row: &PodRow) -> String {
    row.notes.join("; ")
}

const fn row_tone(row: &PodRow) -> Tone {
    if row.misplaced > 0 {
        Tone::Bad
    } else if !row.read {
        Tone::Warn
    } else {
        Tone::Plain
    }
}

#[cfg(test)]
mod tests;
