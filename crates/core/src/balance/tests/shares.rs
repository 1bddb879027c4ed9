//! Tests of the band, the quantum of one pod and the messages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use dbbalance_api::status::LimitedBy;

use super::super::testing::*;
use super::super::*;

fn verdict(pods: &[usize]) -> BalanceVerdict {
    Stage::readers(pods).decide().verdict
}

fn figures(pods: &[usize]) -> BalanceFigures {
    verdict(pods).figures().cloned().expect("there is evidence")
}

/// Returns the most even spread of this many pods.
fn most_even(pods: usize, readers: usize) -> Vec<usize> {
    (0..readers)
        .map(|i| pods / readers + usize::from(i < pods % readers))
        .collect()
}

#[test]
fn twenty_pods_on_three_readers_are_balanced_at_seven_seven_six() {
    let BalanceVerdict::Balanced { limited_by, .. } = verdict(&[7, 7, 6]) else {
        panic!("7/7/6 is balanced")
    };
    assert_eq!(limited_by, None);
    assert!(!verdict(&[8, 6, 6]).is_balanced());
    assert!(!verdict(&[10, 10, 0]).is_balanced());
}

#[test]
fn the_least_number_of_pods_that_must_move_is_known() {
    for (pods, least) in [(5, 1), (20, 6), (60, 14), (200, 48)] {
        let half = pods / 2;
        assert_eq!(figures(&[pods - half, half, 0]).least, least, "{pods} pods");
    }
}

#[test]
fn a_new_reader_that_is_idle_is_seen_among_many() {
    // Each of the old nine is within 15 % of the fair share of ten.
    let pods = [20, 20, 20, 20, 20, 20, 20, 20, 20, 0];
    let figures = figures(&pods);
    assert!(f64::from(figures.shares[0].connections) <= 1.15 * figures.shares[0].fair);
    assert_eq!(figures.under, [id("r09")]);
    assert!(!verdict(&pods).is_balanced());
}

#[test]
fn what_whole_pods_cannot_reach_is_balanced_and_limited_by_them() {
    // Fleets whose most even spread has a reader above 1.15 or below 0.5 of the fair share.
    let limited = |readers: usize| -> Vec<usize> {
        (1..=20)
            .filter(|pods| match verdict(&most_even(*pods, readers)) {
                BalanceVerdict::Balanced { limited_by, .. } => limited_by.is_some(),
                other => panic!("{pods} pods, {readers} readers: {other:?}"),
            })
            .collect()
    };
    assert_eq!(limited(1), [0; 0]);
    assert_eq!(limited(2), [1, 3, 5]);
    assert_eq!(limited(3), [1, 2, 4, 5, 7, 10, 13]);
    assert_eq!(limited(4), [1, 2, 3, 5, 6, 9, 10, 13, 17]);
}

#[test]
fn a_pod_larger_than_all_others_is_where_it_can_be() {
    let holds = vec![
        holdings([("r00", 50)]),
        holdings([("r01", 1)]),
        holdings([("r01", 1)]),
    ];
    let stage = Stage::new(topology(2), Pools::Reader, holds);
    let BalanceVerdict::Balanced { limited_by, .. } = stage.decide().verdict else {
        panic!("no move would help")
    };
    assert_eq!(limited_by, Some(LimitedBy::PodQuantum));
}

#[test]
fn the_verdict_is_said_with_its_figures() {
    assert_eq!(
        figures(&[7, 7, 6]).to_string(),
        "shares 35/35/30 %, within 15 %, 20 of 20 pods read"
    );
    assert_eq!(
        figures(&[10, 10, 0]).to_string(),
        "shares 50/50/0 %, not within 15 %, 20 of 20 pods read"
    );
}

#[test]
fn without_readers_the_writer_is_where_reader_pools_belong() {
    let stage = Stage::new(topology(0), Pools::Reader, vec![holdings([("w", 10)]); 4]);
    assert!(stage.decide().verdict.is_balanced());
}

#[test]
fn one_reader_has_it_all() {
    assert!(verdict(&[6]).is_balanced());
}

#[test]
fn more_readers_than_pods_is_balanced_with_one_pod_a_reader() {
    assert!(verdict(&[1, 1, 1, 0, 0]).is_balanced());
    assert!(!verdict(&[2, 1, 0, 0, 0]).is_balanced());
}

#[test]
fn pools_of_one_connection_are_moved_one_by_one() {
    let holds = (0..9).map(|i| holdings([(if i < 6 { "r00" } else { "r01" }, 1)]));
    let figures = Stage::new(topology(2), Pools::Reader, holds.collect())
        .decide()
        .verdict;
    let figures = figures.figures().expect("there is evidence").clone();
    assert_eq!((figures.unit, figures.least), (1, 1));
}
