//! Readers of different weights, with the rule's defaults, over seeded runs.

use dbbalance_core::balance::{Reach, Settings};
use dbbalance_simulator::case::{LookUps, RecycleStrategy, SimulationCase};
use dbbalance_simulator::steered::{End, recycle_steered};
use dbbalance_simulator::world::SimulatedWorld;

const RUNS: u64 = 200;

/// Runs a case and returns what each run left on its readers, and how it ended.
fn run(case: &SimulationCase) -> Vec<(Vec<u32>, End)> {
    let runs = (0..RUNS).map(|seed| {
        let mut world = SimulatedWorld::new(case, seed);
        let settings = Settings::default();
        let end = recycle_steered(case, &mut world, Reach::Prompt, &settings, LookUps::Own);
        (world.held(), end)
    });
    runs.collect()
}

#[test]
fn a_4xlarge_beside_a_large_ends_with_shares_by_their_vcpus() {
    let case = SimulationCase {
        after: 2,
        weights: vec![800, 100],
        ..SimulationCase::key("capacity", RecycleStrategy::recommended())
    };
    let runs = run(&case);
    // 178 and 22 of 200 connections are fair: 17 or 18 pods on the larger one are within 15 %, and half of the smaller.
    let inside = |(held, end): &&(Vec<u32>, End)| {
        *end == End::Balanced && matches!(held[..], [170 | 180, 30 | 20])
    };
    let even = runs.iter().filter(inside).count();
    assert!(even * 100 >= runs.len() * 97, "{even} of {RUNS}: {runs:?}");
}

#[test]
fn a_reader_without_weight_is_emptied() {
    let case = SimulationCase {
        before: 3,
        weights: vec![0],
        ..SimulationCase::key("drain", RecycleStrategy::recommended())
    };
    let runs = run(&case);
    let empty = |(held, end): &&(Vec<u32>, End)| *end == End::Balanced && held[0] == 0;
    let emptied = runs.iter().filter(empty).count();
    assert!(
        emptied * 100 >= runs.len() * 95,
        "{emptied} of {RUNS}: {runs:?}"
    );
}
