//! Figures over many runs of a case.

use dbbalance_figures::quantile::{quantile_of, to_f64};
use serde::Serialize;

use crate::case::{RecycleStrategy, SimulationCase};
use crate::dns::Millis;
use crate::world::SimulatedWorld;
use crate::{blind, steered};

/// What became of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunOutcome {
    /// Every reader is within the band at the end.
    pub is_even: bool,
    /// Until the last pod was back.
    pub seconds: f64,
    /// Recycles.
    pub pods: usize,
    /// Most recycles of one pod.
    pub each: u32,
    /// Most pods away at once.
    pub busy: usize,
    /// The largest share of any reader at any time.
    pub share: f64,
    /// How the rule ended, where it was followed.
    pub end: Option<steered::End>,
}

/// One run.
#[must_use]
pub fn simulate_run(case: &SimulationCase, seed: u64) -> RunOutcome {
    let mut world = SimulatedWorld::new(case, seed);
    let end = if let RecycleStrategy::Steered {
        reach,
        settings,
        look_ups,
        landing,
    } = &case.strategy
    {
        let end = steered::recycle_steered(case, &mut world, *reach, settings, *look_ups, *landing);
        Some(end)
    } else {
        blind::recycle_blindly(case, &mut world);
        None
    };
    RunOutcome {
        is_even: world.is_even(),
        seconds: millis_to_seconds(world.tally.last_back.saturating_sub(world.began)),
        each: world.pods.iter().map(|p| p.recycles).max().unwrap_or(0),
        pods: world.tally.recycles,
        busy: world.tally.busy,
        share: world.tally.share,
        end,
    }
}

#[allow(clippy::cast_precision_loss)] // below an hour
fn millis_to_seconds(ms: Millis) -> f64 {
    ms as f64 / 1000.0
}

/// Mean and 95th percentile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// 95th percentile.
    pub p95: f64,
}

impl Spread {
    pub(crate) fn of(values: Vec<f64>) -> Self {
        let mean = values.iter().sum::<f64>() / to_f64(values.len().max(1));
        let p95 = quantile_of(values, 0.95).unwrap_or(0.0);
        Self { mean, p95 }
    }
}

/// The figures of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunFigures {
    /// The case.
    pub name: String,
    /// Runs.
    pub runs: u64,
    /// Runs in percent that ended within the band.
    pub even_percent: f64,
    /// Seconds until the last pod was back.
    pub seconds: Spread,
    /// Recycles.
    pub pods: Spread,
    /// Most recycles of one pod, over all runs.
    pub each: u32,
    /// Most pods away at once, over all runs.
    pub busy: usize,
    /// The largest share of a reader in a run.
    pub share: Spread,
    /// Runs in which the rule gave up or came to no end.
    pub unended: u64,
    /// Runs in which the rule said `Balanced` and it was not so.
    pub told_wrong: u64,
}

/// Runs a case with the seeds `0..runs`, on all processors.
#[must_use]
#[allow(clippy::cast_precision_loss)] // counts of runs
pub fn measure_runs(case: &SimulationCase, runs: u64) -> RunFigures {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let outcomes: Vec<RunOutcome> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let seeds = (0..runs).filter(move |seed| seed % threads == part);
                scope.spawn(move || {
                    seeds
                        .map(|seed| simulate_run(case, seed))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_default())
            .collect()
    });
    let spread = |of: fn(&RunOutcome) -> f64| Spread::of(outcomes.iter().map(of).collect());
    let even = outcomes.iter().filter(|o| o.is_even).count();
    let unended = |o: &&RunOutcome| o.end.is_some_and(|end| end != steered::End::Balanced);
    let told_wrong = |o: &&RunOutcome| o.end == Some(steered::End::Balanced) && !o.is_even;
    RunFigures {
        name: case.name.clone(),
        runs: outcomes.len() as u64,
        even_percent: 100.0 * even as f64 / outcomes.len().max(1) as f64,
        seconds: spread(|o| o.seconds),
        pods: spread(|o| o.pods as f64),
        each: outcomes.iter().map(|o| o.each).max().unwrap_or(0),
        busy: outcomes.iter().map(|o| o.busy).max().unwrap_or(0),
        share: spread(|o| o.share),
        unended: outcomes.iter().filter(unended).count() as u64,
        told_wrong: outcomes.iter().filter(told_wrong).count() as u64,
    }
}
