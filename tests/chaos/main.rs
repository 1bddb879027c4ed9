//! A bad night, by `make chaos`, and failovers with the defaults, by `make failovers`: real databases, real DNS caches,
//! real pools in real pods, and the operator as a process.
//!
//! `DBBALANCE_CHAOS_SECONDS` (1800) and `DBBALANCE_CHAOS_SEED` (of the clock, printed) set how long the night is and what
//! happens in it: the kinds of disturbances and the pauses between them; which pod or reader is met depends on those that
//! are there. `DBBALANCE_FAILOVERS` (10), `DBBALANCE_FAILOVERS_POOL` (all), `DBBALANCE_FAILOVERS_PROFILE`
//! (`realistic`) set the failovers. `DBBALANCE_CHAOS_BINARY` is another build of the operator.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod availability;
mod dice;
mod disturbance;
mod failovers;
mod fixture;
mod night;
mod rules;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// Returns a number that the user may set.
fn read_number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok().filter(|text| !text.is_empty());
    set.map_or(default, |text| text.parse().expect("a number"))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Err(error) = dbbalance_testbed::interrupt::catch_signals() {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    // Both take the whole machine.
    arguments.test_threads = Some(1);
    let trials = vec![
        Trial::test("a_bad_night_is_repeated_by_its_seed", || {
            night::a_seed_repeats_its_rounds();
            Ok(())
        }),
        Trial::test("a_bad_night_has_judges_that_see_a_broken_rule", || {
            rules::recycles_beyond_the_epochs_are_violations();
            availability::an_eviction_beside_a_missing_pod_is_told();
            Ok(())
        }),
        Trial::test("a_bad_night_breaks_no_rule", || {
            night::run().map_err(Into::into)
        }),
        Trial::test("failovers_leave_nothing_on_the_wrong_role", || {
            failovers::run().map_err(Into::into)
        }),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}
