//! Medians and percentiles.

/// Returns the value below which this part (0 to 1) of the sorted values lies, interpolated between its two
/// neighbours (method 7 of Hyndman and Fan, the default of R and `NumPy`). `None` without values.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = part * to_f64(last);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within the slice
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (place - to_f64(below)))
}

/// Sorts the values, and returns their [`quantile`].
#[must_use]
pub fn quantile_of(mut values: Vec<f64>, part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, part)
}

/// Converts a count. Counts of runs, pods and connections are far below 2^53.
#[allow(clippy::cast_precision_loss)]
#[must_use]
pub fn to_f64(count: usize) -> f64 {
    count as f64
}
