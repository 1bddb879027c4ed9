//! Computes the odds of blind recycling: without evidence, how likely it ends within the band, and how slow it would
//! have to be.
//!
//! Exact for readers drawn at random: what matters is the number of independent draws. Pods that ask while a cache
//! keeps one answer share a draw.

use jiff::SignedDuration;

use super::inputs::Settings;
use super::shares::{ToleranceBand, to_f64};

/// The most draws that are computed. With more, shares are even for any number of readers.
const MOST_DRAWS: usize = 1000;

/// The chance in percent below which a slower pace is not worth its time.
const WORTH_PERCENT: f64 = 50.0;

/// The least time between two steps. Closer steps share an answer: a cache keeps one for 5 s (Aurora's reader
/// endpoint has a TTL of 1 s; the `CoreDNS` cache plugin keeps every answer for at least 5 s).
const LEAST_GAP: SignedDuration = SignedDuration::from_secs(6);

/// A blind recycle of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlindRecycling {
    /// Number of pods that are recycled.
    pub pods: usize,
    /// Number of readers that DNS draws from.
    pub readers: usize,
    /// Number of DNS caches that the pods ask.
    pub caches: usize,
    /// How long a cache keeps an answer.
    pub window: SignedDuration,
}

/// The likely outcome of a blind recycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Odds {
    /// The number of independent draws that the recycles amount to.
    pub draws: f64,
    /// The chance to end within the band, in percent.
    pub percent: f64,
}

/// A pace at which the odds make recycling worthwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlindPace {
    /// How long all steps take together.
    pub duration: SignedDuration,
    /// Pods per step.
    pub batch: usize,
    /// Time between two steps.
    pub gap: SignedDuration,
}

impl BlindRecycling {
    /// Returns the odds if the recycles are spread evenly over `duration`: 1 / (1/P + W/(R·T)) draws.
    #[must_use]
    pub fn odds(&self, duration: SignedDuration, by: &Settings) -> Odds {
        let pods = to_f64(self.pods.max(1));
        let windows =
            to_f64(self.caches.max(1)) * duration.as_secs_f64().max(0.0) / self.window_seconds();
        // All at once is still one draw per cache.
        let draws = (1.0 / (1.0 / pods + 1.0 / windows.max(to_f64(self.caches.max(1))))).max(1.0);
        let percent =
            compute_even_chance(self.pods, self.readers, round_to_usize(draws), by) * 100.0;
        Odds { draws, percent }
    }

    /// Returns the fastest pace that is more likely than not to end within the band. `None` if there is none; the
    /// pods are then better paced for capacity alone.
    ///
    /// T ≥ (W/R) / (1/N − 1/P), batches of max(1, floor(P·gap/T)).
    #[must_use]
    pub fn pace(&self, by: &Settings) -> Option<BlindPace> {
        let draws = (1..self.pods.min(MOST_DRAWS)).find(|n| {
            compute_even_chance(self.pods, self.readers, *n, by) * 100.0 >= WORTH_PERCENT
        })?;
        let spare = 1.0 / to_f64(draws) - 1.0 / to_f64(self.pods);
        let seconds = self.window_seconds() / to_f64(self.caches.max(1)) / spare;
        let gap = LEAST_GAP.as_secs_f64();
        let batch = truncate_to_usize((to_f64(self.pods) * gap / seconds).floor()).max(1);
        let gap = (seconds * to_f64(batch) / to_f64(self.pods)).max(gap);
        Some(BlindPace {
            duration: SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX),
            batch,
            gap: SignedDuration::try_from_secs_f64(gap).unwrap_or(SignedDuration::MAX),
        })
    }

    fn window_seconds(&self) -> f64 {
        self.window.as_secs_f64().max(0.001)
    }
}

/// Returns the chance that `draws` readers drawn at random leave every reader within the band, for this many pods.
#[must_use]
pub fn compute_even_chance(pods: usize, readers: usize, draws: usize, by: &Settings) -> f64 {
    let readers = readers.max(1);
    let draws = draws.clamp(1, MOST_DRAWS);
    // In units of a pod: how many of the draws one reader may get.
    let total = u32::try_from(pods.max(1)).unwrap_or(u32::MAX);
    let band = ToleranceBand::new(total, &vec![1; readers], pods.max(1), 1, by);
    let (lo, hi) = band.places.first().map_or((0.0, 0.0), |p| (p.lo, p.hi));
    let scale = to_f64(draws) / f64::from(total);
    let least = truncate_to_usize((lo * scale - 1e-6).ceil());
    let most = truncate_to_usize((hi * scale + 1e-6).floor()).min(draws);
    // chances[m]: the chance that the readers so far got m of the draws, each within bounds. The last of n readers
    // gets each of the remaining draws with chance 1/n.
    let logs = log_factorials(draws);
    let mut chances = vec![0.0; draws + 1];
    chances[0] = 1.0;
    for reader in 1..=readers {
        let mut next = vec![0.0; draws + 1];
        let p = 1.0 / to_f64(reader);
        for (m, sum) in next.iter_mut().enumerate() {
            for k in least..=most.min(m) {
                let before = chances[m - k];
                if before > 0.0 {
                    *sum += before * binomial_probability(&logs, m, k, p);
                }
            }
        }
        chances = next;
    }
    chances[draws].clamp(0.0, 1.0)
}

fn binomial_probability(logs: &[f64], n: usize, k: usize, p: f64) -> f64 {
    let misses = n - k;
    let miss = if misses == 0 {
        0.0
    } else {
        to_f64(misses) * (1.0 - p).ln()
    };
    (logs[n] - logs[k] - logs[misses] + to_f64(k) * p.ln() + miss).exp()
}

fn log_factorials(n: usize) -> Vec<f64> {
    let mut logs = vec![0.0; n + 1];
    for i in 1..=n {
        logs[i] = logs[i - 1] + to_f64(i).ln();
    }
    logs
}

fn round_to_usize(x: f64) -> usize {
    truncate_to_usize(x.round())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturating, and never negative
fn truncate_to_usize(x: f64) -> usize {
    x.max(0.0) as usize
}

#[cfg(test)]
mod tests;
