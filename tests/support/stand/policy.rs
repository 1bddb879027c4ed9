//! Policies for tests, and waiting for what their status says.

use std::time::Duration;

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_api::status::{RunResult, TargetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::{Value, json};

use super::{Case, until};

pub fn signal() -> Value {
    json!({"method": "Signal", "signal": {"name": "HUP"}})
}

pub fn http(path: &str) -> Value {
    json!({"method": "HTTP", "http": {"port": 8080, "path": path, "timeoutSeconds": 1}})
}

pub fn evict() -> Value {
    json!({"method": "Evict"})
}

pub fn rollout() -> Value {
    json!({"method": "Rollout"})
}

/// A target with a pool to the reader endpoint.
pub fn target(kind: &str, name: &str, recycle: &Value) -> Value {
    json!({
        "name": name,
        "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": name},
        "pools": [{"endpoint": "Reader", "connectionsPerPod": 2}],
        "recycle": recycle,
    })
}

/// A policy for a cluster, quick, and with all pods of a target at once.
pub fn policy(name: &str, cluster: &str, targets: &[Value]) -> Value {
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

pub fn condition(policy: &DbBalancePolicy, type_: ConditionType) -> Option<&Condition> {
    conditions::find_condition(&policy.status.as_ref()?.conditions, type_)
}

/// Whether a condition has this status, and this reason if one is given.
pub fn says(policy: &DbBalancePolicy, type_: ConditionType, status: &str, reason: &str) -> bool {
    condition(policy, type_)
        .is_some_and(|c| c.status == status && (reason.is_empty() || c.reason == reason))
}

pub fn epoch(policy: &DbBalancePolicy) -> i64 {
    policy.status.as_ref().and_then(|s| s.epoch).unwrap_or(0)
}

pub fn targets(policy: &DbBalancePolicy) -> &[TargetStatus] {
    policy.status.as_ref().map_or(&[], |s| &s.targets)
}

pub fn waits_for<'p>(policy: &'p DbBalancePolicy, target: &str) -> Option<&'p str> {
    let plans = policy.status.as_ref().map_or(&[][..], |s| &s.plan);
    let plan = plans.iter().find(|p| p.target == target)?;
    plan.waiting_for.as_deref()
}

impl Case<'_> {
    /// Makes a policy and waits until its baseline is recorded.
    pub async fn baseline(&self, object: Value) -> DbBalancePolicy {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        self.create::<DbBalancePolicy>(object).await;
        self.policy_where(&name, "baseline", |p| {
            epoch(p) >= 1
                && says(p, ConditionType::Ready, "True", "")
                && says(p, ConditionType::Fresh, "True", "")
        })
        .await
    }

    /// Waits for a policy to be as wanted; tells how it is if it does not come to be.
    pub async fn policy_where(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&DbBalancePolicy) -> bool,
    ) -> DbBalancePolicy {
        self.policy_within(name, what, Duration::from_mins(2), wanted)
            .await
    }

    pub async fn policy_within(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&DbBalancePolicy) -> bool,
    ) -> DbBalancePolicy {
        let api = self.api::<DbBalancePolicy>();
        let begun = std::time::Instant::now();
        let what = format!("{what} of {}/{name}", self.name);
        until(&what, limit + Duration::from_secs(10), async || {
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
    pub async fn fresh(&self, name: &str, wanted: i64) -> DbBalancePolicy {
        self.policy_where(name, &format!("all fresh at epoch {wanted}"), |p| {
            epoch(p) >= wanted
                && says(p, ConditionType::Fresh, "True", "AllFresh")
                && targets(p).iter().all(|t| {
                    t.run
                        .as_ref()
                        .is_none_or(|r| r.result != RunResult::Running)
                })
        })
        .await
    }

    /// Asks for a run by token.
    pub async fn token(&self, name: &str, token: &str) {
        let patch = json!({"metadata": {"annotations": {"dbbalance.io/recycle-requested": token}}});
        self.patch::<DbBalancePolicy>(name, patch).await;
    }
}
