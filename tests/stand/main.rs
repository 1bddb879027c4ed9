//! Acceptance tests: the operator, as a process, on a real Kubernetes.
//!
//! One stand serves all tests, each in its own namespace with its own cluster and operator. It is taken away when
//! the last has ended. What a test measures it prints. Crash tests need the feature `failpoints`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs
)]

#[path = "../support/stand/mod.rs"]
mod support;

mod crash;
mod methods;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Trial};
use support::Suite;

/// Tests at once, where the command line names no number: they wait more than they work.
const THREADS: usize = 8;

static SUITE: OnceLock<Arc<Suite>> = OnceLock::new();

fn suite() -> Arc<Suite> {
    Arc::clone(SUITE.get_or_init(|| Arc::new(Suite::up())))
}

/// Lists async functions as tests.
macro_rules! trials {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$(Trial::test(concat!(stringify!($module), "::", stringify!($name)), || {
            let suite = suite();
            suite.run(|| $module::$name(&suite)).map_err(Into::into)
        })),*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let tests = trials![
        crash::signal,
        crash::http,
        crash::evict,
        crash::rollout,
        methods::signal_reaches_every_pod_once,
    ];
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        libtest_mimic::run(&arguments, tests)
    }));
    if SUITE.get().is_some() {
        Suite::down();
    }
    result.map_or(ExitCode::FAILURE, |conclusion| conclusion.exit_code())
}
