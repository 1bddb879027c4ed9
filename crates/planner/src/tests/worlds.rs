//! A hundred thousand random worlds: no plan panics, none breaks a safety rule, each is recorded
//! in a few passes and then stays as it is.

use std::time::Instant;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::plan;
use crate::testing::parse_policy;
use crate::testing::random::{NOW, world};
use crate::testing::{at, rules, seconds};
use crate::world::World;

/// Passes after which a world without effects must have come to rest: baseline or raise, supersede,
/// begin or resume, canary, halt.
const PASSES: i64 = 6;
/// Any number would do.
const SEED: u64 = 20_260_528;

/// The same cases each time, so that a test that fails blames the change before it. Others are looked for by
/// `make hunt`, which asks for a number of them.
pub(super) fn config(cases: u32) -> Config {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let asked: Option<u32> = asked.and_then(|c| c.parse().ok());
    Config {
        cases: asked.unwrap_or(cases),
        failure_persistence: None,
        rng_seed: asked.map_or(RngSeed::Fixed(SEED), |_| RngSeed::Random),
        ..Config::default()
    }
}

fn holds(mut world: World) {
    let now = at(NOW);
    let valid = parse_policy(&world);
    let first = plan(&world, &valid, now);
    assert_eq!(first, plan(&world, &valid, now), "two plans of one world");
    rules::check(&world, &first, now);
    // The world stands still: the time too, but for what a pass takes.
    let mut last = first;
    for pass in 1..=PASSES {
        world.status = last.status;
        world.settling = last.settling;
        let now = now.saturating_add(seconds(0)).unwrap();
        let next = plan(&world, &valid, now);
        rules::check(&world, &next, now);
        if next.status == world.status && next.open.is_none() == last.open.is_none() {
            return;
        }
        assert!(pass < PASSES, "the status is written again and again");
        last = next;
    }
}

#[test]
fn no_world_panics_the_plan_or_breaks_a_rule_and_each_comes_to_rest() {
    let began = Instant::now();
    let config = config(100_000);
    let cases = config.cases;
    let bytes = prop::collection::vec(any::<u8>(), 0..160);
    TestRunner::new(config)
        .run(&bytes, |bytes| {
            std::panic::catch_unwind(|| holds(world(&bytes))).map_err(|cause| {
                let text = cause.downcast_ref::<String>().cloned();
                TestCaseError::fail(text.unwrap_or_else(|| "a rule is broken".into()))
            })
        })
        .unwrap();
    println!("{cases} worlds in {:?}", began.elapsed());
}

/// Prints the world of a tape, for finding out why it failed: `TAPE=1,2,3 cargo test tape -- --nocapture`.
#[test]
fn a_tape_of_bytes_can_be_looked_at() {
    let Ok(tape) = std::env::var("TAPE") else {
        return;
    };
    let bytes: Vec<u8> = tape.split(',').map(|b| b.trim().parse().unwrap()).collect();
    let world = world(&bytes);
    println!("{world:#?}");
    let first = plan(&world, &parse_policy(&world), at(NOW));
    println!("{:#?}", first.targets);
    holds(world);
}
