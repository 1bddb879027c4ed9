//! The chart: the new reader's share over time, for nothing, a rolling restart and dbbalance on the same axes; for a
//! narrowed name too, where that was measured.
//!
//! Pure: the same results give the same bytes. Every run is a thin line; the middle one of its case, by the share that it
//! ends with, is bold. Colours are readable on GitHub's light and dark pages, so there is no background.

use std::fmt::Write as _;

use crate::results::{Results, Run};

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 46.0;
/// Seconds shown before and after the zero.
const BEFORE: f64 = 10.0;
const AFTER: f64 = 120.0;
/// The highest share shown.
const MOST: f64 = 0.7;
/// Case, class and words.
const WAYS: [(&str, &str, &str); 4] = [
    ("nothing", "nothing", "nothing"),
    ("restart", "restart", "rolling restart"),
    ("http", "ours", "dbbalance (HTTP, with evidence)"),
    ("narrowed-a-http", "narrowed", "the same, name narrowed"),
];
/// Where the legend has each: the last beside the title, as the line below it is full.
const LEGEND: [(f64, f64); 4] = [(LEFT, 46.0), (261.0, 46.0), (486.0, 46.0), (486.0, 22.0)];
/// The app of the chart.
const APP: &str = "hikaricp";

const STYLE: &str = "text{font:13px -apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#57606a}\
.title{font-size:15px;font-weight:600;fill:#24292f}\
.grid{stroke:#8c959f;stroke-opacity:.3}.zero{stroke:#8c959f;stroke-dasharray:4 4}\
.band{fill:#2da44e;fill-opacity:.13}.fair{stroke:#2da44e;stroke-dasharray:6 4}\
path{fill:none;stroke-linejoin:round}.thin{stroke-width:1;stroke-opacity:.45}.bold{stroke-width:3}.carried{stroke-dasharray:2 4}\
.nothing{stroke:#6e7781}.restart{stroke:#d1570a}.ours{stroke:#0969da}.narrowed{stroke:#8250df}\
@media(prefers-color-scheme:dark){text{fill:#9da7b3}.title{fill:#e6edf3}.nothing{stroke:#9da7b3}.restart{stroke:#f0883e}.ours{stroke:#58a6ff}.narrowed{stroke:#bc8cff}\
.band{fill:#3fb950;fill-opacity:.18}.fair{stroke:#3fb950}}";

fn x(second: f64) -> f64 {
    LEFT + (second + BEFORE) / (BEFORE + AFTER) * (WIDTH - LEFT - RIGHT)
}

fn y(share: f64) -> f64 {
    HEIGHT - BOTTOM - share.min(MOST) / MOST * (HEIGHT - TOP - BOTTOM)
}

/// The chart.
#[must_use]
pub fn render_svg(results: &Results) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Share of the new reader over time\"><style>{STYLE}</style>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"22\">A third reader joins: its share of all connections</text>\n"
    );
    // With three readers: from half of a fair share to 15 % above it.
    let (lo, hi) = (0.5 / 3.0, 1.15 / 3.0);
    let _ = writeln!(
        text,
        "<rect class=\"band\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
        x(-BEFORE),
        y(hi),
        x(AFTER) - x(-BEFORE),
        y(lo) - y(hi)
    );
    line(
        &mut text,
        "fair",
        (x(-BEFORE), y(1.0 / 3.0)),
        (x(AFTER), y(1.0 / 3.0)),
    );
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">even: a third</text>",
        x(AFTER) - 4.0,
        y(1.0 / 3.0) - 5.0
    );
    for tens in 0..=7 {
        let share = f64::from(tens) / 10.0;
        line(
            &mut text,
            "grid",
            (x(-BEFORE), y(share)),
            (x(AFTER), y(share)),
        );
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} %</text>",
            LEFT - 6.0,
            y(share) + 4.0,
            tens * 10
        );
    }
    for twenties in 0..=6 {
        let second = f64::from(twenties) * 20.0;
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second:.0} s</text>",
            x(second),
            HEIGHT - BOTTOM + 18.0
        );
    }
    line(&mut text, "zero", (x(0.0), y(0.0)), (x(0.0), y(MOST)));
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">seconds since DNS names the new reader, or the restart begins; dotted: after the last look</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0
    );
    for ((case, class, words), (at, base)) in WAYS.into_iter().zip(LEGEND) {
        let mut runs: Vec<&Run> = results.of(case, APP).collect();
        if runs.is_empty() {
            continue;
        }
        runs.sort_by(|a, b| end(a).total_cmp(&end(b)));
        let middle = runs.len() / 2;
        for (index, run) in runs.iter().enumerate() {
            if index != middle {
                path(&mut text, &format!("{class} thin"), run);
            }
        }
        if let Some(run) = runs.get(middle) {
            path(&mut text, &format!("{class} bold"), run);
        }
        line(
            &mut text,
            &format!("{class} bold"),
            (at, base - 4.0),
            (at + 24.0, base - 4.0),
        );
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{base:.0}\">{words}, {} {}</text>",
            at + 30.0,
            runs.len(),
            if runs.len() == 1 { "run" } else { "runs" }
        );
    }
    text + "</svg>\n"
}

fn end(run: &Run) -> f64 {
    run.shares.last().copied().unwrap_or_default()
}

fn line(text: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        text,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// A run's line, as far as it was watched; then its last share, dotted, as nothing is known to move it any more.
fn path(text: &mut String, class: &str, run: &Run) {
    let points: Vec<(f64, f64)> = run
        .series
        .iter()
        .filter(|point| (-BEFORE..=AFTER).contains(&point.at))
        .filter_map(|point| Some((point.at, *point.shares.last()?)))
        .collect();
    if let Some((at, share)) = points.last().copied() {
        let class = format!("{class} carried");
        line(text, &class, (x(at), y(share)), (x(AFTER), y(share)));
    }
    let drawn: Vec<String> = points
        .iter()
        .map(|(at, share)| format!("{:.1},{:.1}", x(*at), y(*share)))
        .collect();
    if !drawn.is_empty() {
        let _ = writeln!(
            text,
            "<path class=\"{class}\" d=\"M{}\"/>",
            drawn.join(" L")
        );
    }
}
