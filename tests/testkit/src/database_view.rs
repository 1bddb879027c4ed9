//! The databases' own view, and what is judged of it. It knows nothing of the operator.

use std::collections::BTreeMap;
use std::time::Duration;

use dbbalance_testbed::aurora::control::AuroraControl;
use dbbalance_testbed::aurora::observe::{ConnectionRecord, Observation};

use crate::wait::wait_until;

/// Samples are 200 ms apart; a sample of a busy machine may come late.
const FRESH_MS: i64 = 1500;
/// The tolerance that a policy has where it says nothing, in percent.
const TOLERANCE: usize = 15;

/// What stands on the wrong side: a writer pool's connection on an instance that reads only, or a reader pool's on
/// the writer.
pub fn is_wrong(life: &ConnectionRecord) -> bool {
    let writes = life.application.ends_with("/writer");
    let reads = life.application.ends_with("/reader");
    (writes && life.standby_last) || (reads && !life.standby_last)
}

/// Connections that are there now.
pub fn present(seen: &Observation) -> impl Iterator<Item = &ConnectionRecord> {
    let last = seen.samples.last().map_or(0, |s| s.at);
    // Not asked that long: gone with its instance.
    seen.lives.iter().filter(move |l| l.last >= last)
}

/// Connections now, by instance that reads only.
pub fn readers(seen: &Observation) -> BTreeMap<String, usize> {
    let Some(last) = seen.samples.last() else {
        return BTreeMap::new();
    };
    let mut held = BTreeMap::new();
    for (name, instance) in &last.instances {
        if instance.as_ref().is_some_and(|i| i.standby) {
            held.insert(name.clone(), last.connections(name).unwrap_or(0));
        }
    }
    held
}

/// Within the operator's band, written a second time so that it is not the judge of itself: at most the tolerance, or a whole
/// pod's share, above the fair share; at least half of it, or of what whole pods allow. Or, as a pool that opens while
/// DNS changes is split: no reader could take one pod more and not be further above the fair share than it was below.
pub fn is_even(held: &[usize], per_pod: usize) -> bool {
    let (n, total) = (held.len(), held.iter().sum::<usize>());
    if n == 0 || total == 0 {
        return false;
    }
    let pods = total / per_pod;
    let most = (total * (100 + TOLERANCE))
        .max(pods.div_ceil(n) * per_pod * n * 100)
        .max(total * 100 + per_pod * n * 50);
    let least = (total * 50).min(pods / n * per_pod * n * 100);
    let full = (total * 2).saturating_sub(per_pod * n);
    let inside = held
        .iter()
        .map(|held| held * n * 100)
        .all(|held| (least..=most).contains(&held));
    inside || held.iter().all(|held| held * n * 2 >= full)
}

/// When connections came to be even and stayed so: milliseconds since 1970.
pub fn even_since(seen: &Observation, readers: usize, per_pod: usize, all: usize) -> Option<i64> {
    let mut since = None;
    for sample in &seen.samples {
        let serving = sample.instances.iter().filter_map(|(name, instance)| {
            instance.as_ref().filter(|i| i.standby)?;
            sample.connections(name)
        });
        let held: Vec<usize> = serving.collect();
        // Pods that open their pools anew are not there for a moment.
        let whole = held.iter().sum::<usize>() * 10 >= all * 9;
        if held.len() == readers && is_even(&held, per_pod) {
            since = since.or(Some(sample.at));
        } else if whole {
            since = None;
        }
    }
    since
}

/// The fewest pods that must move until every reader has its share.
pub fn least_moves(held: &[usize], readers: usize, per_pod: usize) -> usize {
    let share = held.iter().sum::<usize>() / readers / per_pod * per_pod;
    let missing = |n: &usize| share.saturating_sub(*n).div_ceil(per_pod);
    let absent = (readers - held.len()) * share.div_ceil(per_pod);
    held.iter().map(missing).sum::<usize>() + absent
}

/// Waits for the databases to see it so.
pub async fn sees(
    control: &AuroraControl,
    cluster: &str,
    what: &str,
    limit: Duration,
    wanted: impl Fn(&Observation) -> bool,
) -> Observation {
    wait_until(what, limit, async || {
        let seen = control.observation(cluster).ok()?;
        let now = jiff::Timestamp::now().as_millisecond();
        let fresh = seen.samples.last().is_some_and(|s| now - s.at < FRESH_MS);
        (fresh && wanted(&seen)).then_some(seen)
    })
    .await
}
