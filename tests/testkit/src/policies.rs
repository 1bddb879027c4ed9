//! Policies for tests, and waiting for what their status says.

use std::time::Duration;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_api::status::{RunResult, TargetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use crate::suite::TestCase;
use crate::wait::wait_until;

/// Recycles by `HUP`.
pub fn signal_recycle() -> Value {
    json!({"method": "Signal", "signal": {"name": "HUP"}})
}

/// Recycles by an HTTP call of this path.
pub fn http_recycle(path: &str) -> Value {
    json!({"method": "HTTP", "http": {"port": 8080, "path": path, "timeoutSeconds": 1}})
}

/// Recycles by eviction.
pub fn evict_recycle() -> Value {
    json!({"method": "Evict"})
}

/// Recycles by a rollout.
pub fn rollout_recycle() -> Value {
    json!({"method": "Rollout"})
}

/// A target with a pool to the reader endpoint.
pub fn target_object(kind: &str, name: &str, recycle: &Value) -> Value {
    json!({
        "name": name,
        "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
        "pools": [{"endpoint": "Reader", "connectionsPerPod": 2}],
        "recycle": recycle,
    })
}

/// A policy for a cluster, quick, and with all pods of a target at once.
pub fn policy_object(name: &str, cluster: &str, targets: &[Value]) -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy", "metadata": {"name": name},
        "spec": {
            "cluster": {"identifier": cluster},
            // moto's endpoints lead nowhere.
            "dns": {"onTimeout": "Proceed", "timeoutSeconds": 0},
            "targets": targets,
            "triggers": {
                "readerAdded": {"settleSeconds": 1},
                "readerRemoved": {"settleSeconds": 1},
            },
            "pacing": {"maxUnavailable": "100%", "intervalSeconds": 1},
            "limits": {"cooldownSeconds": 0, "maxRunsPerHour": 60},
            "budget": {"maxConnections": 1000},
        },
    })
}

/// Returns a condition of a policy.
pub fn find_condition(policy: &DbBalancePolicy, type_: ConditionType) -> Option<&Condition> {
    conditions::find_condition(&policy.status.as_ref()?.conditions, type_)
}

/// Whether a condition has this status, and this reason if one is given.
pub fn has_condition(
    policy: &DbBalancePolicy,
    type_: ConditionType,
    status: &str,
    reason: &str,
) -> bool {
    find_condition(policy, type_)
        .is_some_and(|c| c.status == status && (reason.is_empty() || c.reason == reason))
}

/// Returns the epoch of a policy, 0 before the first.
pub fn current_epoch(policy: &DbBalancePolicy) -> i64 {
    policy.status.as_ref().and_then(|s| s.epoch).unwrap_or(0)
}

/// Returns the status of each target.
pub fn target_statuses(policy: &DbBalancePolicy) -> &[TargetStatus] {
    policy.status.as_ref().map_or(&[], |s| &s.targets)
}

/// Returns the gate that a target waits for.
pub fn waiting_gate<'p>(policy: &'p DbBalancePolicy, target: &str) -> Option<&'p str> {
    let plans = policy.status.as_ref().map_or(&[][..], |s| &s.plan);
    let plan = plans.iter().find(|p| p.target == target)?;
    plan.waiting_for.as_deref()
}

impl TestCase<'_> {
    /// Makes a policy and waits until its baseline is recorded.
    pub async fn create_with_baseline(&self, object: Value) -> DbBalancePolicy {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.create::<DbBalancePolicy>(object).await;
        self.wait_policy(&name, "baseline", |p| {
            current_epoch(p) >= 1
                && has_condition(p, ConditionType::Ready, "True", "")
                && has_condition(p, ConditionType::Fresh, "True", "")
        })
        .await
    }

    /// Waits for a policy to be as wanted; tells how it is if it does not come to be.
    pub async fn wait_policy(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&DbBalancePolicy) -> bool,
    ) -> DbBalancePolicy {
        self.wait_policy_within(name, what, Duration::from_mins(2), wanted)
            .await
    }

    /// The same within `limit`.
    pub async fn wait_policy_within(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&DbBalancePolicy) -> bool,
    ) -> DbBalancePolicy {
        let api = self.api::<DbBalancePolicy>();
        let begun = std::time::Instant::now();
        let what = format!("{what} of {}/{name}", self.name);
        wait_until(&what, limit + Duration::from_secs(10), async || {
            let policy = api.get(name).await.ok()?;
            if wanted(&policy) {
                return Some(policy);
            }
            let status = || serde_json::to_string(&policy.status).unwrap();
            assert!(begun.elapsed() < limit, "{what} is missing: {}", status());
            None
        })
        .await
    }

    /// Waits until an epoch is open and every pod fresh, and no run in progress.
    pub async fn wait_fresh(&self, name: &str, wanted: i64) -> DbBalancePolicy {
        self.wait_policy(name, &format!("all fresh at epoch {wanted}"), |p| {
            current_epoch(p) >= wanted
                && has_condition(p, ConditionType::Fresh, "True", "AllFresh")
                && target_statuses(p).iter().all(|t| {
                    t.run
                        .as_ref()
                        .is_none_or(|r| r.result != RunResult::Running)
                })
        })
        .await
    }

    /// Asks for a run by token.
    pub async fn request_run(&self, name: &str, token: &str) {
        let patch = json!({"metadata": {"annotations": {"dbbalance.io/recycle-requested": token}}});
        self.patch::<DbBalancePolicy>(name, patch).await;
    }
}
