//! Acceptance tests: the operator, as a process, on a real Kubernetes.
//!
//! One testbed serves all tests, each in its own namespace with its own cluster and operator. It is taken away when
//! the last has ended. What a test measures it prints. Crash tests need the feature `failpoints`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod coexistence;
mod crash;
mod evidence;
mod handover;
mod harm;
mod methods;
mod outage;
mod reaction;
mod steered_name;
mod tenants;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use dbbalance_testkit::TestSuite;
use evidence::stray;
use libtest_mimic::{Arguments, Trial};

/// Tests at once, where the command line names no number: they wait more than they work.
const THREADS: usize = 8;

static SUITE: OnceLock<Arc<TestSuite>> = OnceLock::new();

fn suite() -> Arc<TestSuite> {
    Arc::clone(
        SUITE.get_or_init(|| Arc::new(TestSuite::up(env!("CARGO_BIN_EXE_dbbalance").as_ref()))),
    )
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
    // An interrupted run ends its waits, and takes the testbed away like any other.
    if let Err(error) = dbbalance_testbed::interrupt::catch_signals() {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    arguments.test_threads.get_or_insert(THREADS);
    // The longest first.
    let tests = trials![
        crash::signal,
        crash::http,
        crash::evict,
        crash::rollout,
        methods::the_fallback_takes_over_after_the_first_pod,
        methods::a_failing_first_pod_is_no_storm_of_evictions,
        harm::hooks_that_hang_do_not_hold_the_other_pods,
        handover::a_frozen_leader_by_signal,
        handover::a_frozen_leader_by_eviction,
        handover::a_leader_cut_off_by_http,
        coexistence::pods_that_others_made_are_not_recycled,
        outage::nothing_is_recycled_while_rds_fails,
        coexistence::the_older_policy_owns_the_pods,
        coexistence::overlapping_targets_do_nothing,
        tenants::a_policy_that_only_observes_holds_nobody,
        tenants::a_namespace_that_may_not_name_a_cluster_sees_nothing_of_it,
        harm::a_fleet_that_is_not_ready_is_evicted_one_at_a_time,
        harm::successors_that_do_not_become_ready_end_the_evictions,
        harm::a_program_that_dies_of_a_signal_it_catches_ends_once,
        harm::an_unhealthy_pod_holds_no_signals,
        harm::an_unhealthy_pod_holds_no_http_calls,
        methods::signal_reaches_every_pod_once,
        methods::http_reaches_every_pod_once,
        methods::a_redirect_is_not_followed,
        methods::a_signal_that_is_not_caught_stalls,
        methods::evict_replaces_pods_of_every_kind,
        methods::rollout_replaces_pods_of_every_kind,
        methods::annotate_tells_the_topology,
        methods::a_user_holds_and_releases,
        methods::a_reader_leaves_pools_of_the_writer_alone,
        evidence::a_hundred_worlds_are_counted_right,
        evidence::pods_that_cannot_be_read_say_why,
        evidence::a_silent_server_and_a_masqueraded_pod_are_seen_through,
        steered_name::a_name_without_its_policy_is_widened_by_the_next_leader_and_at_any_time,
        steered_name::a_new_leader_widens_what_no_run_explains,
        stray::connections_that_come_back_are_not_recycled_for_ever,
    ];
    let alone = trials![reaction::a_failover_is_acted_on_within_a_poll_and_its_confirmation];
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let together = libtest_mimic::run(&arguments, tests);
        let last = libtest_mimic::run(&arguments, alone);
        !together.has_failed() && !last.has_failed()
    }));
    if SUITE.get().is_some() {
        TestSuite::down();
    }
    if result.unwrap_or(false) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
