//! The operator as a user has it: its own image, its own Helm chart, its own rights, on a real Kubernetes.
//!
//! One testbed, one installation. Scenarios in namespaces of their own run at once; then come those that move the
//! operator itself, one after the other; at last the API server's audit log tells what it did with its rights.
//! A program of its own, so that figures are always shown and the testbed is taken away whatever happens.
//! An argument chooses scenarios by a part of their name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admission;
mod audit;
mod budgets;
mod fixture;
mod image;
mod leader;
mod methods;
mod metrics;
mod objects;
mod release;
mod rights;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::join_all;

use fixture::{ChartFixture, Own};

/// All run on one thread: what takes long is done by programs or on threads beside it.
type Scenario = Pin<Box<dyn Future<Output = ()>>>;

/// A scenario as it is called.
struct Case {
    name: &'static str,
    run: fn(Arc<ChartFixture>) -> Scenario,
}

/// Names a list of scenarios once.
macro_rules! cases {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        vec![$(Case {
            name: concat!(stringify!($module), "::", stringify!($name)),
            run: |fixture| Box::pin($module::$name(fixture)),
        }),+]
    };
}

fn main() -> ExitCode {
    let together: Vec<Case> = cases![
        methods::signal,
        methods::http,
        methods::evict,
        methods::rollout,
        methods::annotate,
        budgets::a_budget_that_blocks_is_named_and_asked_seldom,
        budgets::two_budgets_on_one_pod_are_told,
        admission::the_account_changes_its_own_annotations_and_nothing_else,
        admission::the_account_runs_its_own_commands_and_no_others,
        rights::nothing_more_is_granted,
        rights::a_signal_outside_its_namespaces_is_refused_and_nobody_evicted,
        rights::a_role_off_the_list_is_never_assumed,
        rights::no_field_leads_out_of_the_namespace,
        rights::a_pod_on_its_nodes_network_is_not_called,
        image::it_is_small_and_runs_restricted,
        metrics::every_alert_asks_for_a_metric_that_is_there,
    ];
    let in_turn: Vec<Case> = cases![
        leader::a_deleted_leader_hands_over,
        leader::a_killed_leader_is_replaced,
        release::an_upgrade_recycles_nothing,
        audit::no_request_was_forbidden_and_no_right_is_idle,
        release::policies_outlive_the_release_and_go_on,
        audit::no_request_was_forbidden_after_the_second_installation,
    ];
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wanted = |case: &Case| chosen.is_empty() || chosen.iter().any(|c| case.name.contains(c));
    if std::env::args().any(|a| a == "--list") {
        for case in together.iter().chain(&in_turn) {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    let together: Vec<Case> = together.into_iter().filter(|c| wanted(c)).collect();
    let in_turn: Vec<Case> = in_turn.into_iter().filter(|c| wanted(c)).collect();
    if together.len() + in_turn.len() == 0 {
        println!("no scenario is chosen");
        return ExitCode::SUCCESS;
    }

    let began = Instant::now();
    let own = Own::up();
    let failed = own.testbed.enter(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(all(&own, together, in_turn))
    });
    drop(own);
    let failed = failed.unwrap();
    println!(
        "{} failed, {:.0} s in all",
        failed.len(),
        began.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}

/// Runs the scenarios; gives the names of those that failed.
async fn all(own: &Own, together: Vec<Case>, in_turn: Vec<Case>) -> Vec<String> {
    let installed = AssertUnwindSafe(ChartFixture::install(own))
        .catch_unwind()
        .await;
    let Ok(fixture) = installed else {
        return vec!["installation".to_owned()];
    };
    let fixture = Arc::new(fixture);
    let running = together
        .into_iter()
        .map(|case| one(case, Arc::clone(&fixture)));
    let mut failed: Vec<String> = join_all(running).await.into_iter().flatten().collect();
    for case in in_turn {
        failed.extend(one(case, Arc::clone(&fixture)).await);
    }
    if !failed.is_empty() {
        fixture.tell_logs().await;
    }
    failed
}

async fn one(case: Case, fixture: Arc<ChartFixture>) -> Option<String> {
    let began = Instant::now();
    let result = AssertUnwindSafe((case.run)(fixture)).catch_unwind().await;
    let word = if result.is_ok() { "ok" } else { "FAILED" };
    println!(
        "{} ... {word} ({:.1} s)",
        case.name,
        began.elapsed().as_secs_f64()
    );
    result.err().map(|_| case.name.to_owned())
}
