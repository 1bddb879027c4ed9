//! A failover where nothing is measured: on the testbed's `realistic` timeline no pool may end where it does not belong.

use dbbalance_api::spec::Endpoint;
use dbbalance_simulator::blind_failover::{
    BlindFailover, BlindFigures, measure_blind_failovers, simulate_blind_failover,
};

/// Of 20 pods each: 1,000 pods a case.
const RUNS: u64 = 50;

/// The default of `dns.holdSeconds`.
const HOLD: i64 = 5;

fn measure_all(hold: Option<i64>) -> Vec<BlindFigures> {
    let cases = BlindFailover::all(hold).into_iter();
    cases
        .map(|case| measure_blind_failovers(case, RUNS))
        .collect()
}

#[test]
fn with_the_default_hold_none_of_a_thousand_pools_ends_where_it_does_not_belong() {
    for found in measure_all(Some(HOLD)) {
        assert_eq!(found.opened, 1000, "{}", found.name);
        assert_eq!(found.wrong, 0, "{}", found.name);
    }
}

#[test]
fn eight_looks_alone_leave_pools_of_every_kind_behind_so_the_timeline_can_show_the_fault() {
    let wrong = |what: &str| {
        let found = measure_all(None).into_iter();
        let of_kind = found.filter(|f| f.name.contains(what));
        of_kind.map(|f| f.wrong).sum::<usize>()
    };
    for what in [
        "writer pools, 2 members, flicker",
        "node caches",
        "reader pools, 2 members",
        "reader pools, 3 members",
    ] {
        assert!(wrong(what) > 0, "{what}");
    }
}

#[test]
fn the_hold_costs_about_twice_as_long_as_it_is_where_nothing_flickers() {
    let case = |hold| BlindFailover {
        members: 2,
        flickers: false,
        has_node_caches: false,
        pool: Endpoint::Writer,
        is_verified: true,
        hold,
    };
    let opened = |hold| measure_blind_failovers(case(hold), RUNS).epoch_opened.mean;
    let costs = opened(Some(HOLD)) - opened(None);
    assert!((8.0..11.0).contains(&costs), "{costs} s");
}

#[test]
fn the_same_seed_gives_the_same_failover() {
    for case in BlindFailover::all(Some(HOLD)) {
        assert_eq!(
            simulate_blind_failover(case, 7),
            simulate_blind_failover(case, 7)
        );
    }
}
