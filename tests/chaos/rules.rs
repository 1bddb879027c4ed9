//! The safety rules, judged by the API server's audit log and by what the pods themselves have counted.

use std::collections::{BTreeMap, BTreeSet};

use dbbalance_api::DbBalancePolicy;
use dbbalance_api::conditions::ConditionType::{Fresh, Recycling, Stalled};
use dbbalance_testkit::TestCase;
use dbbalance_testkit::audit::AuditedChange;
use dbbalance_testkit::policies::{current_epoch, has_condition};
use dbbalance_testkit::workloads::{is_ready, pod_uid};
use jiff::Timestamp;
use serde_json::Value;

use crate::availability::AvailabilityLog;

/// With evidence, a pod that landed wrong is recycled again, twice at most.
const MEASURED: u64 = 3;
/// Pods of the app that is evicted which may be unavailable at a time.
pub const MAX_UNAVAILABLE: usize = 1;

/// What the pods of an app have counted and what its policy has opened, at a quiet moment.
#[derive(Clone, Debug, Default)]
pub struct RecycleLedger {
    pub epoch: i64,
    pub recycles: BTreeMap<String, u64>,
}

impl RecycleLedger {
    /// Reads it; pods that do not answer are left out.
    pub async fn read(case: &TestCase<'_>, app: &str) -> Self {
        let policy = case.api::<DbBalancePolicy>().get(app).await;
        let mut recycles = BTreeMap::new();
        for pod in case.pods(app).await.iter().filter(|pod| is_ready(pod)) {
            let Some(ip) = pod.status.as_ref().and_then(|s| s.pod_ip.clone()) else {
                continue;
            };
            let answer = case
                .http
                .get(format!("http://{ip}:8080/stats"))
                .send()
                .await;
            let Ok(answer) = answer else { continue };
            let bytes = answer.bytes().await.unwrap_or_default();
            let stats: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if let Some(count) = stats["recycles"].as_u64() {
                recycles.insert(pod_uid(pod), count);
            }
        }
        Self {
            epoch: policy.map_or(0, |p| current_epoch(&p)),
            recycles,
        }
    }

    /// Recycles since an earlier reading.
    pub fn since(&self, before: &Self) -> u64 {
        let of = |(pod, count): (&String, &u64)| count.saturating_sub(before.count(pod));
        self.recycles.iter().map(of).sum()
    }

    fn count(&self, pod: &str) -> u64 {
        self.recycles.get(pod).copied().unwrap_or(0)
    }

    /// Pods that were recycled more often than the topology changed, plus a repetition where an effect's outcome was unknown.
    pub fn violations(
        &self,
        app: &str,
        before: &Self,
        is_measured: bool,
        redo: bool,
    ) -> Vec<String> {
        let epochs = u64::try_from(self.epoch - before.epoch).unwrap_or(0);
        let each = if is_measured { MEASURED } else { 1 };
        let most = match epochs {
            0 => 0,
            _ => epochs * each + u64::from(redo),
        };
        let over = self.recycles.iter().filter_map(|(pod, count)| {
            let recycled = count.saturating_sub(before.count(pod));
            (recycled > most).then(|| {
                format!("{app}: pod {pod} was recycled {recycled} times in {epochs} epochs, at most {most} are allowed")
            })
        });
        over.collect()
    }
}

/// Judges evictions since the changes that are known.
pub fn eviction_violations(
    changes: &[AuditedChange],
    from: Timestamp,
    availability: &AvailabilityLog,
    epochs: i64,
) -> (usize, Vec<String>) {
    let evictions: Vec<_> = changes.iter().filter(|c| c.is_eviction()).collect();
    let mut names = BTreeSet::new();
    let mut problems = Vec::new();
    let mut count = 0;
    for eviction in evictions {
        let is_first = names.insert(&eviction.name);
        if eviction.at < from {
            continue;
        }
        count += 1;
        if !is_first {
            problems.push(format!("{} was evicted twice", eviction.name));
        }
        let missing = availability.missing_without(&eviction.name, eviction.at);
        if missing > MAX_UNAVAILABLE {
            problems.push(format!(
                "{} was evicted at {} by {}, which left {missing} pods missing, at most {MAX_UNAVAILABLE} may be",
                eviction.name, eviction.at, eviction.user
            ));
        }
        if epochs == 0 {
            problems.push(format!("{} was evicted in no new epoch", eviction.name));
        }
    }
    (count, problems)
}

/// Why a policy is not at rest; none if it is.
pub fn why_not_at_rest(policy: &DbBalancePolicy) -> Option<String> {
    if has_condition(policy, Fresh, "True", "") && !has_condition(policy, Recycling, "True", "") {
        return None;
    }
    let status = policy.status.as_ref()?;
    let words = status.conditions.iter().filter(|c| {
        [
            "Fresh",
            "Recycling",
            "Stalled",
            "Prepared",
            "TopologyObserved",
        ]
        .contains(&c.type_.as_str())
    });
    let words: Vec<String> = words
        .map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message))
        .collect();
    let plans = status.plan.iter().filter_map(|p| p.waiting_for.clone());
    let plans: Vec<String> = plans.collect();
    Some(format!(
        "{}; waits for: {}",
        words.join("; "),
        plans.join("; ")
    ))
}

/// Whether a policy that is not at rest says so: it is stalled, or each target names the gate that it waits for.
pub fn says_why(policy: &DbBalancePolicy) -> bool {
    let Some(status) = &policy.status else {
        return false;
    };
    let is_pending = status.pending_epoch.as_ref();
    has_condition(policy, Stalled, "True", "")
        || is_pending.is_some_and(|p| p.waiting_for.is_some())
        || status.plan.iter().any(|p| p.waiting_for.is_some())
}

pub fn recycles_beyond_the_epochs_are_violations() {
    let read = |epoch, count| RecycleLedger {
        epoch,
        recycles: BTreeMap::from([("pod".to_owned(), count)]),
    };
    let judge = |before, after: RecycleLedger, measured, redo| {
        after.violations("app", &before, measured, redo).len()
    };
    assert_eq!(judge(read(1, 4), read(2, 5), false, false), 0);
    assert_eq!(judge(read(1, 4), read(2, 6), false, false), 1, "twice");
    assert_eq!(judge(read(1, 4), read(2, 6), false, true), 0, "a redo");
    assert_eq!(judge(read(1, 4), read(2, 7), true, false), 0, "measured");
    assert_eq!(judge(read(1, 4), read(1, 5), false, true), 1, "no epoch");
    let new_pod = RecycleLedger::default();
    assert_eq!(judge(new_pod, read(0, 1), false, false), 1, "a new pod");
}
