//! The metrics of the operator: names, labels and counts.
//!
//! Label values come from enums or their `as_str()` only. No label names a pod, because their number has no bound. Only
//! the gauges of `balance` name policies; they are removed with the policy.

mod balance;
mod labels;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use strum::VariantArray as _;

use crate::aurora::PollResult;
use crate::aurora::dns::LookupResult;
use crate::sockets::ReadStats;
use dbbalance_api::conditions::{ConditionStatus, ConditionType};
use dbbalance_api::prepared::PreparedReason;
use dbbalance_api::spec::{Method, Mode};
use dbbalance_api::status::{RunResult, Trigger};
use dbbalance_core::evidence::UnreadableReason;
use dbbalance_kube::methods::{EffectFault, EffectOutcome};
use dbbalance_planner::Gate;

pub use balance::{BalanceSums, PolicyBalance};
use labels::{METHODS, NAME_RESULTS, OUTCOMES, READ, READ_FAILURES, RESULTS, STATUSES, TRIGGERS};
pub use labels::{NameWriteKind, RecycleResult};

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($label:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($label: &'static str),+ }
    )+};
}
labels! {
    Build { version }
    ByResult { result }
    ByTrigger { trigger }
    ByRun { trigger, result }
    ByMethod { method, result }
    ByFault { method, fault }
    ByGate { gate }
    ByMode { mode }
    ByCondition { r#type, status }
    ByReason { reason }
    ByAction { action, result }
}

/// Seconds, from a fast reconcile (5 ms) to a slow API server (10 s). A pass that claims pods takes at most 5 s and the
/// time of one effect.
const SHORT: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 6.0, 10.0,
];
/// Seconds, from a failover without settling (1 s) to a settled change behind a DNS gate (10 min).
const LONG: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 45.0, 90.0, 180.0, 300.0, 600.0];
/// Seconds, from a run of signals (5 s) to one of evictions at a slow pace (2 h).
const RUN: [f64; 10] = [
    5.0, 15.0, 30.0, 60.0, 180.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
];

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn long_histogram() -> Histogram {
    Histogram::new(LONG)
}
fn run_histogram() -> Histogram {
    Histogram::new(RUN)
}

/// What is counted over all policies of the leader.
#[derive(Clone, Debug, Default)]
pub struct PolicyTotals {
    /// The mode of each policy.
    pub modes: Vec<Mode>,
    /// The number of enforcing policies that are paused or suspended.
    pub paused: usize,
    /// Each condition of each policy.
    pub conditions: Vec<(ConditionType, ConditionStatus)>,
    /// Why each policy that is not prepared for a failover is not.
    pub unprepared: Vec<PreparedReason>,
    /// The gate that holds each target, if one does.
    pub holding: Vec<&'static str>,
    /// Stale pods of all policies.
    pub stale: usize,
    /// The open time of the oldest due epoch that has stale pods, of targets whose users do not let them wait.
    pub stale_since: Option<Timestamp>,
    /// The balance of each policy.
    pub balances: Vec<PolicyBalance>,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    leader: Gauge,
    polls: Family<ByResult, Counter>,
    lookups: Family<ByResult, Counter>,
    reads: Family<ByResult, Counter>,
    last_success: Gauge<f64, AtomicU64>,
    epochs: Family<ByTrigger, Counter>,
    runs: Family<ByRun, Counter>,
    run_duration: Histograms<ByResult>,
    recycled: Family<ByMethod, Counter>,
    effects: Family<ByMethod, Counter>,
    faults: Family<ByFault, Counter>,
    blocked: Family<ByGate, Counter>,
    reverts: Counter,
    policies: Family<ByMode, Gauge>,
    paused: Gauge,
    conditions: Family<ByCondition, Gauge>,
    unprepared: Family<ByReason, Gauge>,
    unread: Gauge,
    held: Family<ByGate, Gauge>,
    stale: Gauge,
    stale_since: Gauge<f64, AtomicU64>,
    reconciles: Histogram,
    errors: Family<ByReason, Counter>,
    reaction: Histograms<ByTrigger>,
    narrowed: Gauge,
    name_writes: Family<ByAction, Counter>,
    balance: balance::BalanceGauges,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Returns all metrics at zero. Series with known labels exist from the start, so that the first increase is visible
    /// to `rate()`.
    #[must_use]
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("dbbalance"),
            leader: Gauge::default(),
            polls: Family::default(),
            lookups: Family::default(),
            reads: Family::default(),
            last_success: Gauge::default(),
            epochs: Family::default(),
            runs: Family::default(),
            run_duration: Family::new_with_constructor(run_histogram),
            recycled: Family::default(),
            effects: Family::default(),
            faults: Family::default(),
            blocked: Family::default(),
            reverts: Counter::default(),
            policies: Family::default(),
            paused: Gauge::default(),
            conditions: Family::default(),
            unprepared: Family::default(),
            unread: Gauge::default(),
            held: Family::default(),
            stale: Gauge::default(),
            stale_since: Gauge::default(),
            reconciles: Histogram::new(SHORT),
            errors: Family::default(),
            reaction: Family::new_with_constructor(long_histogram),
            narrowed: Gauge::default(),
            name_writes: Family::default(),
            balance: balance::BalanceGauges::default(),
        };
        metrics.register_all();
        metrics.create_known_rows();
        metrics
    }

    #[rustfmt::skip] // one line each reads as the table it is
    fn register_all(&mut self) {
        let r = &mut self.registry;
        r.register("build", "Version of the operator", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
        r.register("leader", "1 if this replica is the leader, else 0", self.leader.clone());
        r.register("topology_polls", "Polls of the RDS API, by result", self.polls.clone());
        r.register("dns_lookups", "DNS lookups of the clusters' endpoints, by result", self.lookups.clone());
        r.register("topology_last_success_timestamp_seconds", "Unix time of the last complete reading of the topology; the oldest of several pollers, 0 on a standby", self.last_success.clone());
        r.register("evidence_reads", "Reads of pods' sockets, by result or reason of the failure", self.reads.clone());
        r.register("epochs", "Raised epochs, by each of their triggers", self.epochs.clone());
        r.register("runs", "Ended runs, by each of their triggers and result", self.runs.clone());
        r.register("run_duration_seconds", "Duration of ended runs, by result", self.run_duration.clone());
        r.register("pods_recycled", "Recycled pods, by what was then observed on the pod", self.recycled.clone());
        r.register("effects", "Requested effects, by method and result", self.effects.clone());
        r.register("effect_faults", "Failed effects, by method and fault", self.faults.clone());
        r.register("effects_blocked", "Temporarily refused effects, by what refused them", self.blocked.clone());
        r.register("reverts_detected", "Stamps that another client removed from a pod template", self.reverts.clone());
        r.register("policies", "Policies, by mode", self.policies.clone());
        r.register("policies_paused", "Paused or suspended policies", self.paused.clone());
        r.register("policy_conditions", "Policies, by type and status of a condition", self.conditions.clone());
        r.register("policies_unprepared", "Policies whose failover would be held, by the reason of their condition Prepared", self.unprepared.clone());
        r.register("namespaces_unread", "Watched namespaces that are not served, because a list of theirs is forbidden or late", self.unread.clone());
        r.register("targets_held", "Targets whose next step a gate holds, by gate", self.held.clone());
        r.register("pods_stale", "Stale pods of all policies", self.stale.clone());
        r.register("pods_stale_since_timestamp_seconds", "Unix time at which the oldest due epoch with stale pods opened, without targets that a window, a pause or the like holds; 0 if no pod is stale", self.stale_since.clone());
        r.register("reconcile_duration_seconds", "Duration of successful reconciles of one policy", self.reconciles.clone());
        r.register("reconcile_errors", "Failed reconciles, by reason", self.errors.clone());
        r.register("open_to_start_seconds", "Time from the opening of an epoch to the first effect of its run, by trigger", self.reaction.clone());
        r.register("narrowed_seconds", "Seconds for which the name that was narrowed first is narrowed; 0 if none is", self.narrowed.clone());
        r.register("name_writes", "Writes of where a steered name leads, by action and result", self.name_writes.clone());
        self.balance.register_in(r);
    }

    fn create_known_rows(&self) {
        for result in PollResult::VARIANTS {
            let _ = self.polls.get_or_create(&ByResult {
                result: result.as_str(),
            });
        }
        for result in LookupResult::all() {
            let _ = self.lookups.get_or_create(&ByResult {
                result: result.as_str(),
            });
        }
        let failures = READ_FAILURES.map(UnreadableReason::as_str);
        for result in failures.into_iter().chain([READ]) {
            let _ = self.reads.get_or_create(&ByResult { result });
        }
        for trigger in TRIGGERS.map(Trigger::as_str) {
            let _ = self.epochs.get_or_create(&ByTrigger { trigger });
            for result in RESULTS.map(RunResult::as_str) {
                let _ = self.runs.get_or_create(&ByRun { trigger, result });
            }
        }
        for method in METHODS.map(Method::as_str) {
            for result in RecycleResult::VARIANTS.iter().map(|r| r.as_str()) {
                let _ = self.recycled.get_or_create(&ByMethod { method, result });
            }
            for result in OUTCOMES {
                let _ = self.effects.get_or_create(&ByMethod { method, result });
            }
        }
        for kind in NameWriteKind::VARIANTS {
            for result in NAME_RESULTS {
                let _ = self.name_writes.get_or_create(&ByAction {
                    action: kind.as_str(),
                    result,
                });
            }
        }
        self.set_fleet(&PolicyTotals::default());
    }

    /// Counts a poll of the RDS API.
    pub fn count_poll(&self, result: PollResult) {
        let result = result.as_str();
        self.polls.get_or_create(&ByResult { result }).inc();
    }

    /// Counts a DNS lookup.
    pub fn count_lookup(&self, result: LookupResult) {
        let result = result.as_str();
        self.lookups.get_or_create(&ByResult { result }).inc();
    }

    /// Counts a read of a pod's sockets.
    pub fn count_pod_read(&self, result: Result<(), UnreadableReason>) {
        let result = result.err().map_or(READ, UnreadableReason::as_str);
        self.reads.get_or_create(&ByResult { result }).inc();
    }

    /// Sets the time of the last complete reading; with several pollers, of the oldest one. `None`: nothing is polled,
    /// or nothing was read yet.
    pub fn set_last_success(&self, at: Option<Timestamp>) {
        self.last_success.set(at.map_or(0.0, to_epoch_seconds));
    }

    /// Counts a raised epoch, once for each trigger.
    pub fn count_epoch(&self, triggers: &[Trigger]) {
        for trigger in triggers {
            let trigger = trigger.as_str();
            self.epochs.get_or_create(&ByTrigger { trigger }).inc();
        }
    }

    /// Counts an ended run and its duration.
    pub fn count_run(&self, trigger: Trigger, result: RunResult, took: Duration) {
        let (trigger, result) = (trigger.as_str(), result.as_str());
        self.runs.get_or_create(&ByRun { trigger, result }).inc();
        self.run_duration
            .get_or_create(&ByResult { result })
            .observe(took.as_secs_f64());
    }

    /// Observes the time from the opening of an epoch to the first effect of its run.
    pub fn observe_reaction(&self, trigger: Trigger, after: Duration) {
        let trigger = trigger.as_str();
        self.reaction
            .get_or_create(&ByTrigger { trigger })
            .observe(after.as_secs_f64());
    }

    /// Counts the recycle of a pod by what was observed on the pod.
    pub fn count_recycle(&self, method: Method, result: RecycleResult) {
        let (method, result) = (method.as_str(), result.as_str());
        self.recycled
            .get_or_create(&ByMethod { method, result })
            .inc();
    }

    /// Counts a requested effect, and its fault or what blocked it.
    pub fn count_effect(&self, method: Method, outcome: &EffectOutcome) {
        let result = match outcome {
            EffectOutcome::Done => "Done",
            EffectOutcome::Blocked { by, .. } => {
                self.count_blocked(by.as_str());
                "Blocked"
            }
            EffectOutcome::Gone => "Gone",
            EffectOutcome::Failed { fault, .. } => {
                self.count_fault(method, *fault);
                "Failed"
            }
        };
        let method = method.as_str();
        self.effects
            .get_or_create(&ByMethod { method, result })
            .inc();
    }

    fn count_fault(&self, method: Method, fault: EffectFault) {
        let (method, fault) = (method.as_str(), fault.as_str());
        self.faults.get_or_create(&ByFault { method, fault }).inc();
    }

    /// Counts a gate that holds a due step; `gate` is its enum's `as_str()`. Call it when the gate closes.
    pub fn count_blocked(&self, gate: &'static str) {
        self.blocked.get_or_create(&ByGate { gate }).inc();
    }

    /// Counts a stamp that another client removed from a pod template.
    pub fn count_revert(&self) {
        self.reverts.inc();
    }

    /// Counts a write of where a name leads.
    pub fn count_name_write(&self, kind: NameWriteKind, is_done: bool) {
        let [done, failed] = NAME_RESULTS;
        self.name_writes
            .get_or_create(&ByAction {
                action: kind.as_str(),
                result: if is_done { done } else { failed },
            })
            .inc();
    }

    /// Sets for how many seconds the name that was narrowed first is narrowed; 0 if none is.
    pub fn set_narrowed_seconds(&self, seconds: i64) {
        self.narrowed.set(seconds);
    }

    /// Observes the duration of a successful reconcile.
    pub fn observe_reconcile(&self, took: Duration) {
        self.reconciles.observe(took.as_secs_f64());
    }

    /// Counts a failed reconcile; `reason` is the error's static `reason()`.
    pub fn count_reconcile_error(&self, reason: &'static str) {
        self.errors.get_or_create(&ByReason { reason }).inc();
    }

    /// Sets the number of watched namespaces that are not served, on leader and standby.
    pub fn set_unread_namespaces(&self, count: usize) {
        self.unread.set(to_gauge_value(count));
    }

    /// Sets the gauges of all policies. A standby sets them to zero.
    pub fn set_fleet(&self, fleet: &PolicyTotals) {
        for (mode, label) in [(Mode::Enforce, "Enforce"), (Mode::Observe, "Observe")] {
            let count = fleet.modes.iter().filter(|m| **m == mode).count();
            self.policies
                .get_or_create(&ByMode { mode: label })
                .set(to_gauge_value(count));
        }
        for &kind in ConditionType::ALL {
            for status in STATUSES {
                let count = fleet.conditions.iter().filter(|c| **c == (kind, status));
                self.conditions
                    .get_or_create(&ByCondition {
                        r#type: kind.as_str(),
                        status: status.as_str(),
                    })
                    .set(to_gauge_value(count.count()));
            }
        }
        for &reason in PreparedReason::VARIANTS {
            let count = fleet.unprepared.iter().filter(|r| **r == reason).count();
            let row = ByReason {
                reason: reason.as_str(),
            };
            self.unprepared
                .get_or_create(&row)
                .set(to_gauge_value(count));
        }
        for gate in Gate::ALL.iter().map(|gate| gate.as_str()) {
            let count = fleet.holding.iter().filter(|held| **held == gate).count();
            self.held
                .get_or_create(&ByGate { gate })
                .set(to_gauge_value(count));
        }
        self.balance.set_policies(&fleet.balances);
        self.paused.set(to_gauge_value(fleet.paused));
        self.stale.set(to_gauge_value(fleet.stale));
        self.stale_since
            .set(fleet.stale_since.map_or(0.0, to_epoch_seconds));
    }

    /// Returns all metrics as `OpenMetrics` text; `leads` is whether this replica leads at this moment.
    ///
    /// # Errors
    /// When a metric cannot be encoded, which is a bug.
    pub fn encode(&self, leads: bool) -> Result<String, std::fmt::Error> {
        self.leader.set(i64::from(leads));
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

fn to_gauge_value(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss)] // a millisecond's share of an epoch second fits into f64
fn to_epoch_seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

impl ReadStats for Metrics {
    fn count_read(&self, result: Result<(), UnreadableReason>) {
        self.count_pod_read(result);
    }
}

#[cfg(test)]
mod tests;
