use super::*;

fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

fn blind(pods: usize, readers: usize) -> BlindRecycling {
    BlindRecycling {
        pods,
        readers,
        caches: 2,
        window: seconds(5),
    }
}

#[test]
fn twenty_independent_draws_over_three_readers_are_even_in_one_run_of_nine() {
    // 3 · 20! / (7!·7!·6!) / 3^20
    let exact = compute_even_chance(20, 3, 20, &Settings::default());
    assert!((exact - 0.1144).abs() < 0.0001, "{exact}");
}

#[test]
fn one_reader_is_always_even() {
    let odds = blind(20, 1).odds(seconds(0), &Settings::default());
    assert!((odds.percent - 100.0).abs() < 1e-6);
}

#[test]
fn pods_recycled_together_are_one_draw_a_cache() {
    let odds = blind(20, 3).odds(seconds(0), &Settings::default());
    assert!(odds.draws < 2.0, "{}", odds.draws);
    assert!(odds.percent < 0.001, "two draws leave one of three idle");
}

#[test]
fn the_draws_needed_for_even_odds_grow_with_the_readers() {
    // Large fleets, so that whole pods do not widen the band.
    let needed = |readers, percent: f64| {
        (1..MOST_DRAWS).find(|n| {
            compute_even_chance(10_000, readers, *n, &Settings::default()) * 100.0 >= percent
        })
    };
    let half: Vec<_> = [2, 3, 4].map(|n| needed(n, 50.0)).into_iter().collect();
    assert!(half.iter().all(Option::is_some), "{half:?}");
    assert!(half.is_sorted(), "{half:?}");
}

#[test]
fn an_ordinary_fleet_has_no_pace_that_is_worth_it_and_a_large_one_has() {
    assert_eq!(blind(20, 3).pace(&Settings::default()), None);
    let pace = blind(200, 2).pace(&Settings::default());
    let pace = pace.unwrap_or(BlindPace {
        duration: seconds(0),
        batch: 0,
        gap: seconds(0),
    });
    assert!(pace.gap >= LEAST_GAP && pace.batch >= 1, "{pace:?}");
    let odds = blind(200, 2).odds(pace.duration, &Settings::default());
    assert!(odds.percent >= 48.0, "{odds:?}");
}

#[test]
fn odds_have_an_answer_for_nothing_and_for_very_much() {
    for pods in [0, 1, 100_000] {
        for readers in [0, 1, 15] {
            let odds = blind(pods, readers).odds(seconds(600), &Settings::default());
            assert!((0.0..=100.0).contains(&odds.percent), "{odds:?}");
        }
    }
}
