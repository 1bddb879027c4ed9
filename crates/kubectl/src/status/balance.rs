//! Balance: what was measured of each target, as bars with the figures.
//!
//! The texts are those of `status.balance`.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::role_label;
use dbbalance_api::status::{BalanceState, BalanceStatus, DbBalancePolicyStatus};
use dbbalance_terminal::render::{Cell, format_age, render_bar, render_table, wrap_text};
use dbbalance_terminal::{Canvas, Tone};

/// Columns of a bar.
const BAR: usize = 24;

/// What was measured, target by target.
pub(super) fn render_balance(
    status: &DbBalancePolicyStatus,
    canvas: Canvas,
    now: Timestamp,
) -> String {
    let parts = status
        .balance
        .iter()
        .map(|b| render_target_balance(b, canvas, now));
    parts.collect()
}

fn render_target_balance(balance: &BalanceStatus, canvas: Canvas, now: Timestamp) -> String {
    let tone = match balance.state {
        BalanceState::Balanced => Tone::Good,
        BalanceState::Unbalanced => Tone::Bad,
        BalanceState::Unknown => Tone::Warn,
    };
    let measured = balance.measured_time.as_ref();
    let measured = measured.map(|t| format!(" (measured {} ago)", format_age(t.0, now)));
    let text = format!("{}{}", balance.message, measured.unwrap_or_default());
    let state = format!("{:?}", balance.state);
    let first = 2 + balance.target.len() + 2 + state.len() + 2;
    let mut out = format!(
        "  {}  {}: {}\n",
        canvas.heading(&balance.target),
        canvas.tint(tone, &state),
        wrap_text(&text, first, 4, canvas.width)
    );
    let most = balance.shares.iter().map(|s| s.connections).max();
    let most = u32::try_from(most.unwrap_or(0)).unwrap_or(0);
    let rows: Vec<Vec<Cell>> = balance
        .shares
        .iter()
        .map(|share| {
            let n = u32::try_from(share.connections).unwrap_or(0);
            let (tone, word) = role_label(share.role);
            vec![
                Cell(tone, word.to_owned()),
                Cell::plain(&share.instance),
                Cell(tone, render_bar(n, most, BAR)),
                Cell::plain(format!("{n:>5} {:>3} %", share.percent)),
            ]
        })
        .collect();
    out.push_str(&render_table(canvas, 4, &rows));
    if let (Some(lowest), Some(highest)) = (balance.lowest, balance.highest) {
        let _ = writeln!(out, "    band: {lowest} to {highest} connections a reader");
    }
    let misplaced: Vec<String> = [
        (balance.misplaced.wrong_role, "on the wrong role"),
        (balance.misplaced.no_member, "to no member"),
        (balance.misplaced.excess, "above the fair share"),
    ]
    .iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what}"))
    .collect();
    if !misplaced.is_empty() {
        let text = format!("misplaced: {}", misplaced.join(", "));
        let _ = writeln!(out, "    {}", canvas.tint(Tone::Bad, &text));
    }
    out
}
