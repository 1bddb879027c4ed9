//! Equal weights decide as the formulas without weights did, to the last bit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod oracle;

use self::oracle::{OldStats, old_stats};
use super::super::inputs::Settings;
use super::super::pod_shares::PodShares;
use super::super::reader_set::ReaderSet;
use super::super::selection::{MoveCandidate, is_stuck, select_pods};
use super::super::shares::{OtherSums, compute_share_stats};
use super::super::testing::*;
use super::super::*;
use crate::hash::StableHash;

/// How many fleets are compared.
const SEEDS: u32 = 10_000;

/// Numbers from a seed.
struct Dice(StableHash);

impl Dice {
    fn below(&mut self, bound: u64) -> usize {
        self.0.write("next");
        // The lower bits of this hash are not random enough by themselves.
        usize::try_from((self.0.value() >> 20) % bound.max(1)).unwrap_or(0)
    }
}

/// A fleet of up to 40 pods on up to 15 readers: pods of equal size or not, whole on one reader or split.
fn fleet(dice: &mut Dice) -> Stage {
    let readers = 1 + dice.below(15);
    let pods = 1 + dice.below(40);
    let size = 1 + dice.below(30);
    let (is_mixed, is_split) = (dice.below(3) == 0, dice.below(3) == 0);
    let skew = 1 + dice.below(readers as u64);
    let holds = (0..pods).map(|_| {
        let size = if is_mixed { 1 + dice.below(50) } else { size };
        let size = u32::try_from(size).unwrap_or(1);
        let mut held = Holdings::default();
        let parts = if is_split { 2 } else { 1 };
        for part in 0..parts {
            let to = id(&format!("r{:02}", dice.below(skew as u64)));
            *held.by_instance.entry(to).or_default() +=
                size / parts + u32::from(part == 0) * (size % parts);
        }
        held
    });
    let mut stage = Stage::new(topology(readers), Pools::Reader, holds.collect());
    for pod in &mut stage.pods {
        pod.recycles = u32::try_from(dice.below(3)).unwrap_or(0);
    }
    stage.settings = Settings::new(5 + u32::try_from(dice.below(46)).unwrap_or(0), None);
    stage
}

#[test]
fn ten_thousand_fleets_with_equal_weights_are_judged_and_moved_as_before() {
    let (mut uneven, mut moved) = (0, 0);
    for seed in 0..SEEDS {
        let mut dice = Dice(StableHash::from_texts([seed.to_string().as_str()]));
        let stage = fleet(&mut dice);
        let fleet = PodShares::from_inputs(&stage.inputs()).expect("every pod was read");
        let by = &stage.settings;
        let now = compute_share_stats(&fleet, &OtherSums::default(), by, |band, held| {
            is_stuck(&fleet.rows, band, held)
        });
        let (old, old_band) = old_stats(&fleet, by);
        let first = now.band.places[0];
        let found = OldStats {
            fair: first.fair,
            lo: first.lo,
            hi: first.hi,
            least: now.figures.least,
            deepest: now.band.deepest_deficit(&now.held),
            excess: now.figures.misplaced.excess,
            under: now.figures.under.clone(),
            is_even: now.is_even,
            limited_by: now.limited_by,
            is_far: now.is_far,
        };
        assert_eq!(found, old, "seed {seed}");
        assert!(now.band.places.iter().all(|p| *p == first), "seed {seed}");
        uneven += u32::from(!old.is_even);

        // Pods with what each can expect to land on, and a batch of any size.
        let receivers: Vec<ReaderSet> = fleet
            .rows
            .iter()
            .map(|_| match dice.below(3) {
                0 => now.under,
                _ => (0..fleet.places.len())
                    .filter(|_| dice.below(2) == 0)
                    .collect(),
            })
            .collect();
        let candidates = || -> Vec<MoveCandidate> {
            let rows = fleet.rows.iter().zip(&receivers);
            rows.map(|(row, receivers)| MoveCandidate {
                row,
                receivers: *receivers,
            })
            .collect()
        };
        let most = 1 + dice.below(20);
        let picked = select_pods(&candidates(), &now.band, &now.held, most);
        let before = oracle::select_pods(&candidates(), &old_band, &now.held, most);
        let ids = |pods: &[&PodView]| pods.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&picked.pods), ids(&before.pods), "seed {seed}");
        assert_eq!(picked.connections, before.connections, "seed {seed}");
        assert_eq!(picked.receivers, before.receivers, "seed {seed}");
        moved += picked.pods.len();
    }
    assert!(
        uneven > SEEDS / 4 && moved > 10_000,
        "{uneven} uneven, {moved} moved"
    );
}
