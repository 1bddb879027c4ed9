//! How many pods at once, and how long between two steps.
//!
//! Small arithmetic of the pacing gate; which pods are taken is decided in `controller::plan`.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::hash::StableHash;
use dbbalance_api::spec::Pacing;

/// Exempt pods (already not Ready) may be recycled beyond `maxUnavailable`, but not faster than
/// this in a second, so that a wrong decision stays small.
pub const STORM_CAP_PER_SECOND: usize = 10;

/// The most runs at once on one cluster, over all policies: every run draws from the same DNS
/// answers and the same budget.
pub const MAX_RUNS_PER_CLUSTER: usize = 3;

/// A number, or a percentage of `total` rounded down; `None` for text that is no percentage.
#[must_use]
pub fn resolve_rounded_down(value: &IntOrString, total: usize) -> Option<usize> {
    match value {
        IntOrString::Int(n) => usize::try_from(*n).ok(),
        IntOrString::String(text) => {
            let percent: usize = text.strip_suffix('%')?.parse().ok()?;
            Some(total.saturating_mul(percent) / 100)
        }
    }
}

/// As [`resolve`], rounded up, as Kubernetes does for surge.
#[must_use]
pub fn resolve_rounded_up(value: &IntOrString, total: usize) -> Option<usize> {
    match value {
        IntOrString::Int(n) => usize::try_from(*n).ok(),
        IntOrString::String(text) => {
            let percent: usize = text.strip_suffix('%')?.parse().ok()?;
            Some(total.saturating_mul(percent).div_ceil(100))
        }
    }
}

/// The most pods of `total` that may be unavailable at once: at least 1, or no run would ever move.
#[must_use]
pub fn max_unavailable_pods(pacing: &Pacing, total: usize) -> usize {
    resolve_rounded_down(&pacing.max_unavailable, total)
        .unwrap_or(1)
        .max(1)
}

/// When the next step may be taken: the interval after the last, shortened or lengthened by up to
/// the jitter. The randomness comes from the key and the last step, so that every pass agrees.
#[must_use]
pub fn next_step_time(pacing: &Pacing, last: Timestamp, key: &str) -> Timestamp {
    let second = last.as_second().to_string();
    let hash = StableHash::from_texts([key, second.as_str()]).value();
    let millis = i64::from(pacing.interval_seconds) * 1000;
    let spread = millis * i64::from(pacing.jitter_percent) / 100;
    // -spread..=spread
    let shift = i64::try_from(hash % 2001).unwrap_or(1000) - 1000;
    let wait = (millis + spread * shift / 1000).max(500);
    last.saturating_add(SignedDuration::from_millis(wait))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> Pacing {
        Pacing {
            max_unavailable: IntOrString::String(text.into()),
            ..Pacing::default()
        }
    }

    #[test]
    fn a_percentage_rounds_down_but_never_to_zero() {
        assert_eq!(max_unavailable_pods(&percent("25%"), 20), 5);
        assert_eq!(max_unavailable_pods(&percent("25%"), 7), 1);
        assert_eq!(max_unavailable_pods(&percent("25%"), 3), 1);
        assert_eq!(max_unavailable_pods(&percent("25%"), 0), 1);
    }

    #[test]
    fn surge_rounds_up_as_kubernetes_does() {
        assert_eq!(
            resolve_rounded_up(&IntOrString::String("25%".into()), 6),
            Some(2)
        );
    }

    #[test]
    fn the_interval_varies_by_the_jitter_and_no_more() {
        let pacing = Pacing::default();
        let mut seen = std::collections::BTreeSet::new();
        for second in 0..500 {
            let last = Timestamp::from_second(second).unwrap_or_default();
            let wait = next_step_time(&pacing, last, "p/web")
                .duration_since(last)
                .as_millis();
            assert!((8_000..=12_000).contains(&wait), "{wait}");
            seen.insert(wait);
        }
        assert!(seen.len() > 100, "the jitter varies");
    }
}
