//! Computes how many pods may be recycled at once, and the time between two steps.
//!
//! Which pods are taken is decided in the planner.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::hash::StableHash;
use dbbalance_api::spec::Pacing;

/// The most exempt pods (already not Ready) that are recycled in a second. They may exceed `maxUnavailable`, but the
/// cap keeps the damage of a wrong decision small.
pub const STORM_CAP_PER_SECOND: usize = 10;

/// The most concurrent runs on one cluster, over all policies: all runs draw from the same DNS answers and the same
/// connection budget.
pub const MAX_RUNS_PER_CLUSTER: usize = 3;

/// Parses a number, or a percentage of `total` rounded down; returns `None` for other text.
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

/// Does the same as [`resolve_rounded_down`], but rounds up, as Kubernetes does for surge.
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

/// Returns the most pods of `total` that may be unavailable at once: at least 1, or no run would ever progress.
#[must_use]
pub fn max_unavailable_pods(pacing: &Pacing, total: usize) -> usize {
    resolve_rounded_down(&pacing.max_unavailable, total)
        .unwrap_or(1)
        .max(1)
}

/// Returns how many pods of `total` a failover's run may renew at once by a method that takes none of them away: as
/// [`max_unavailable_pods`], but a percentage rounds up, as that of a `PodDisruptionBudget` does. Rounded down, all fleets of
/// up to seven pods would go one by one while their connections are broken.
#[must_use]
pub fn max_renewed_pods(pacing: &Pacing, total: usize) -> usize {
    resolve_rounded_up(&pacing.max_unavailable, total)
        .unwrap_or(1)
        .max(1)
}

/// Returns when the next step may be taken: one interval after the last, varied by up to the jitter. The randomness
/// is derived from the key and the last step, so that every reconcile computes the same time.
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
    fn a_percentage_rounds_up_where_no_pod_is_taken_away_after_a_failover() {
        for (pods, at_once) in [(0, 1), (3, 1), (4, 1), (5, 2), (7, 2), (8, 2), (9, 3)] {
            assert_eq!(max_renewed_pods(&percent("25%"), pods), at_once, "{pods}");
        }
        let number = Pacing {
            max_unavailable: IntOrString::Int(3),
            ..Pacing::default()
        };
        assert_eq!(max_renewed_pods(&number, 7), 3);
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
