//! Convergence, end to end: real databases, real DNS caches, real pools in real pods, and the operator as a process.
//!
//! Two apps, each with a cluster of its own, share one testbed. The cases of an app come one after the other, as each
//! goes on with the pods of the one before; the two apps' cases run side by side. What is asserted of connections is
//! what the databases themselves have seen. What a case measures it prints.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod fixture;
mod pooler;
mod reader_changes;
mod writer_failover;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::OnceLock;

use fixture::ConvergenceFixture;
use libtest_mimic::{Arguments, Trial};

static FIXTURE: OnceLock<ConvergenceFixture> = OnceLock::new();

fn fixture() -> &'static ConvergenceFixture {
    FIXTURE.get_or_init(ConvergenceFixture::up)
}

/// Lists async functions as tests.
macro_rules! trials {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$(Trial::test(concat!(stringify!($module), "::", stringify!($name)), || {
            let fixture = fixture();
            fixture.suite.run(|| $module::$name(fixture)).map_err(Into::into)
        })),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if let Err(error) = dbbalance_testbed::interrupt::catch_signals() {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    // Each goes on where the one before has ended.
    arguments.test_threads = Some(1);
    let shop = trials![
        reader_changes::a_third_reader_gets_its_share,
        reader_changes::evidence_that_is_turned_on_is_quiet,
        reader_changes::a_restart_in_the_middle_goes_on,
        reader_changes::masqueraded_pods_are_evened_out,
    ];
    let bank = trials![
        writer_failover::a_flickering_failover_leaves_nothing_behind,
        writer_failover::zombies_of_a_half_open_writer_are_swept,
        pooler::connections_through_a_pooler_are_left_alone,
    ];
    let passed = std::panic::catch_unwind(AssertUnwindSafe(|| {
        std::thread::scope(|scope| {
            let arguments = &arguments;
            let run = move |trials| !libtest_mimic::run(arguments, trials).has_failed();
            let other = scope.spawn(move || run(bank));
            let passed = run(shop);
            other.join().is_ok_and(|other| other) && passed
        })
    }));
    if FIXTURE.get().is_some() {
        ConvergenceFixture::down();
    }
    if passed.unwrap_or(false) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
