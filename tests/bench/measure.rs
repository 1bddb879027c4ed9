//! From what was seen at the databases to the figures of one run. Pure: it asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use dbbalance_testbed::aurora::observe::{ConnectionRecord, ConnectionSample, Observation};

use crate::app::App;
use dbbalance_figures::quantile::to_f64;
use dbbalance_figures::results::{Point, Run};

/// How far above its fair share a reader may be, and how far below: the operator's defaults, as in its band.
const TOLERANCE: f64 = 0.15;
const FLOOR: f64 = 0.5;
/// Samples are taken five times a second; of a busy machine one may come late. Milliseconds.
const SAMPLE: i64 = 1000;

/// The connections that readers may have, of these in all: the band that the operator aims for, written a second time so
/// that it is not the judge of itself.
pub fn within(held: &[usize], pods: usize, per_pod: usize) -> bool {
    let (n, w) = (held.len().max(1), to_f64(per_pod));
    let fair = to_f64(held.iter().sum()) / to_f64(n);
    let hi = (fair * (1.0 + TOLERANCE))
        .max(to_f64(pods.div_ceil(n)) * w)
        .max(fair + w / 2.0);
    let lo = (fair * FLOOR).min(to_f64(pods / n) * w);
    held.iter()
        .all(|held| (lo - 0.001..=hi + 0.001).contains(&to_f64(*held)))
}

/// The part of a run's figures that the databases tell. `zero` is what seconds count from, in their time; `readers`
/// in order, the new one last.
pub fn run(app: &App, seen: &Observation, readers: &[String], zero: i64) -> Run {
    let held = |sample: &ConnectionSample| -> Option<Vec<usize>> {
        readers
            .iter()
            .map(|name| sample.connections(name))
            .collect()
    };
    let known: Vec<(&ConnectionSample, Vec<usize>)> = seen
        .samples
        .iter()
        // Before it is there, the new reader holds nothing.
        .map(|sample| {
            (
                sample,
                held(sample).unwrap_or_else(|| {
                    readers
                        .iter()
                        .map(|r| sample.connections(r).unwrap_or(0))
                        .collect()
                }),
            )
        })
        .collect();
    let seconds = |at: i64| seconds(at - zero);
    let inside = |held: &[usize]| within(held, app.pods, app.size);
    let last = known
        .last()
        .map(|(sample, held)| (seconds(sample.at), held.clone()));
    let (end, held_last) = last.unwrap_or_default();
    let outside = known.iter().rposition(|(_, held)| !inside(held));
    let first = outside.map_or(0, |at| at + 1);
    let fair = to_f64(held_last.iter().sum()) / to_f64(readers.len().max(1));
    let peaks = readers.iter().enumerate().map(|(at, name)| {
        (
            name.clone(),
            known
                .iter()
                .map(|(_, held)| held[at])
                .max()
                .unwrap_or_default(),
        )
    });
    Run {
        pods: app.pods,
        per_pod: app.size,
        seconds: tenth(end),
        reached: inside(&held_last),
        seconds_to_band: known
            .get(first)
            .map(|(sample, _)| tenth(seconds(sample.at))),
        pods_touched: touched(app, seen, zero),
        recycles: tenth(to_f64(born(seen, zero).count()) / to_f64(app.size)),
        missed: readers
            .last()
            .map(|new| tenth(missed(app, seen, zero, new))),
        peak_connections: peaks.collect(),
        peak_total: known
            .iter()
            .map(|(_, held)| held.iter().sum())
            .max()
            .unwrap_or_default(),
        peak_pods_busy: seen
            .samples
            .iter()
            .map(|sample| busy(app, sample))
            .max()
            .unwrap_or_default(),
        shares: shares(&held_last),
        misplaced: tenth(
            held_last
                .iter()
                .map(|held| (to_f64(*held) - fair).max(0.0))
                .sum(),
        ),
        series: series(&known, zero),
        ..Run::default()
    }
}

fn shares(held: &[usize]) -> Vec<f64> {
    let total = to_f64(held.iter().sum::<usize>().max(1));
    held.iter()
        .map(|held| (to_f64(*held) / total * 1000.0).round() / 1000.0)
        .collect()
}

/// One point a second.
fn series(known: &[(&ConnectionSample, Vec<usize>)], zero: i64) -> Vec<Point> {
    let mut told = BTreeSet::new();
    let first_of_second = known
        .iter()
        .filter(|(sample, _)| told.insert((sample.at - zero).div_euclid(1000)));
    first_of_second
        .map(|(sample, held)| Point {
            at: tenth(seconds(sample.at - zero)),
            shares: shares(held),
        })
        .collect()
}

/// Clients that lost half of what they had when the run began.
fn touched(app: &App, seen: &Observation, zero: i64) -> usize {
    let end = seen.samples.last().map_or(0, |sample| sample.at);
    let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
    let had = |life: &&ConnectionRecord| life.first <= zero && life.last >= zero - SAMPLE;
    for life in seen.lives.iter().filter(had).filter(|l| l.last < end) {
        *lost.entry(&life.client).or_default() += 1;
    }
    lost.values().filter(|lost| **lost * 2 >= app.size).count()
}

/// Connections that were opened in the run.
fn born(seen: &Observation, zero: i64) -> impl Iterator<Item = &ConnectionRecord> {
    seen.lives.iter().filter(move |life| life.first > zero)
}

/// Those that were opened elsewhere than on the new reader, in pods' worth: whoever moved a pod wanted them there.
fn missed(app: &App, seen: &Observation, zero: i64, new: &str) -> f64 {
    let elsewhere = born(seen, zero).filter(|life| life.instance != new);
    to_f64(elsewhere.count()) / to_f64(app.size)
}

/// Pods that hold fewer or more than they should, and those that hold nothing.
fn busy(app: &App, sample: &ConnectionSample) -> usize {
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for (client, of) in sample
        .instances
        .values()
        .flatten()
        .flat_map(|seen| &seen.clients)
    {
        *held.entry(client).or_default() += of.count;
    }
    let whole = held.values().filter(|count| **count == app.size).count();
    let odd = held.len() - whole;
    odd.max(app.pods.saturating_sub(whole))
}

fn seconds(milliseconds: i64) -> f64 {
    #[allow(clippy::cast_precision_loss)] // minutes
    let real = milliseconds as f64;
    real / 1000.0
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
