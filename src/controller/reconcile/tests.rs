#![allow(clippy::unwrap_used)]
use std::io::Write;

use kube::core::DeserializeGuard;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::controller::testing::context;
use crate::k8s::watch::testing::FilledStores;
use crate::telemetry::build_subscriber;

/// A leader's context whose API server answers every request with 500.
fn failing_context() -> Arc<Context> {
    Arc::new(context(FilledStores::new().stores, false))
}

fn policy() -> Arc<WatchedPolicy> {
    let policy = json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"namespace": "shop", "name": "orders", "uid": "u", "resourceVersion": "7"},
        "spec": {"cluster": {"identifier": "orders-db"}, "targets": []},
        "status": {"epoch": 4}
    });
    Arc::new(DeserializeGuard(
        Ok(serde_json::from_value(policy).unwrap()),
    ))
}

/// Collects log lines.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Returns the log lines of one failed reconcile, and what a line inside of it looks like.
async fn log_failed_reconcile(json: bool) -> Vec<String> {
    let lines = LogLines::default();
    let subscriber = build_subscriber(json, false, "warn", lines.clone()).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let ctx = failing_context();
    let error = reconcile_policy(policy(), Arc::clone(&ctx))
        .await
        .unwrap_err();
    assert_eq!(error.reason(), "KubernetesAPI");
    on_error(policy(), &error, ctx);
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_failed_reconcile_is_found_by_its_namespace_and_policy_in_json() {
    let lines = log_failed_reconcile(true).await;
    let line = lines
        .iter()
        .find(|l| l.contains("Reconcile failed"))
        .unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["namespace"], "shop");
    assert_eq!(line["policy"], "orders");
    assert_eq!(line["reason"], "KubernetesAPI");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("shop/orders") && error.contains("etcd is down"),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_reconcile_is_found_by_its_namespace_and_policy_in_text() {
    let lines = log_failed_reconcile(false).await;
    let line = lines
        .iter()
        .find(|l| l.contains("Reconcile failed"))
        .unwrap();
    assert!(
        line.contains("namespace=\"shop\"") && line.contains("policy=\"orders\""),
        "{line}"
    );
}

#[tokio::test]
async fn a_line_inside_of_a_reconcile_carries_the_policy_cluster_and_epoch() {
    let lines = LogLines::default();
    let subscriber = build_subscriber(true, false, "debug", lines.clone()).unwrap();
    let _guard = tracing::subscriber::set_default(subscriber);
    let _ = reconcile_policy(policy(), failing_context()).await;
    let text = String::from_utf8(lines.0.lock().clone()).unwrap();
    let of_policy = text
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .find(|l| l["message"] == "Reconciling policy")
        .unwrap();
    let span = &of_policy["span"];
    assert_eq!(span["name"], "reconcile");
    assert_eq!(span["namespace"], "shop");
    assert_eq!(span["policy"], "orders");
    assert_eq!(span["cluster"], "orders-db");
    assert_eq!(span["epoch"], 4);
}

#[tokio::test]
async fn a_lost_race_is_repeated_at_once_and_an_answer_that_never_ends_is_not() {
    let ctx = failing_context();
    let mut retries = Vec::new();
    for _ in 0..CONFLICTS_AT_ONCE + 2 {
        retries.push(on_error(
            policy(),
            &ReconcileError::Conflict,
            Arc::clone(&ctx),
        ));
    }
    let (first, rest) = retries.split_at(CONFLICTS_AT_ONCE as usize);
    assert!(first.iter().all(|r| *r == Action::requeue(SOON)));
    let backoff = Action::requeue(backoff_after(CONFLICTS_AT_ONCE + 1));
    assert_eq!(rest[0], backoff);
    assert!(backoff_after(CONFLICTS_AT_ONCE + 1) > Duration::from_secs(10));
    ctx.reset_backoff("u");
    let again = on_error(policy(), &ReconcileError::Conflict, ctx);
    assert_eq!(again, Action::requeue(SOON));
}

#[tokio::test]
async fn the_failures_of_a_deleted_policy_are_forgotten() {
    let ctx = failing_context();
    ctx.count_failure("kept");
    ctx.count_failure("deleted");
    ctx.retain_failures(&["kept"].into());
    assert_eq!(ctx.count_failure("kept"), 2);
    assert_eq!(ctx.count_failure("deleted"), 1);
}

/// An API server that takes every request and answers none.
fn silent_client() -> kube::Client {
    use http::{Request, Response};
    use kube::client::Body;
    let (client, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(request) = handle.next_request().await {
            unanswered.push(request);
        }
    });
    kube::Client::new(client, "default")
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_whose_request_is_never_answered_ends_and_gives_its_place_back() {
    let mut ctx = context(FilledStores::new().stores, false);
    ctx.clients.normal = silent_client();
    let pass = reconcile_policy(policy(), Arc::new(ctx));
    let ended = tokio::time::timeout(Duration::from_mins(15), pass).await;
    assert!(
        ended.is_ok(),
        "after 15 minutes the reconcile still holds one of 16 places, and the lease is renewed meanwhile"
    );
}
