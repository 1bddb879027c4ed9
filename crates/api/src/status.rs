//! Defines `DbBalancePolicyStatus`: what the operator found and did, for users and for itself.
//!
//! It holds what must outlive the operator (epochs, due epochs, open times, runs). It does not hold values that
//! change with time alone, such as poll times and countdowns, nor lists of pods.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rebalance_state::RebalanceState;

pub use super::steering::DnsStatus;

pub use super::balance::{
    BalanceState, BalanceStatus, LimitedBy, MisplacedStatus, REWRITE_POINTS, ShareStatus,
};

/// What the operator found and did.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DbBalancePolicyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, TopologyObserved, Prepared, Fresh, Balanced, Recycling; Steered with spec.dns.steering;
    /// Drained while a drain is asked for; Reconciling and Stalled while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
    /// The settled topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<TopologyStatus>,
    /// The last open epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// An epoch that has settled and is not open yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_epoch: Option<PendingEpochStatus>,
    /// Which readers came and went in the last hours, newest last; for the flapping gate, which
    /// counts readers that did both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reader_changes: Vec<ReaderChangeStatus>,
    /// The last value of the annotation `dbbalance.io/recycle-requested` that was taken up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycle_requested: Option<String>,
    /// Stale pods of all counted pods, over all targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
    /// The readers that are drained.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["instance".to_owned()]))]
    pub drain: Vec<DrainStatus>,
    /// When the last run began, over all targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run_time: Option<Time>,
    /// One entry a target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub targets: Vec<TargetStatus>,
    /// What was last measured of each target's connections.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["target".to_owned()]))]
    pub balance: Vec<BalanceStatus>,
    /// Where the name of spec.dns.steering leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
    /// What would be done next for each target, and the first gate that it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["target".to_owned()]))]
    pub plan: Vec<PlanStatus>,
    /// The last ten runs, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub history: Vec<RunStatus>,
}

/// A reader that is drained.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// The DB instance identifier.
    pub instance: String,
    /// When the drain began.
    pub since: Time,
    /// The connections of the policy's pods to it then.
    pub connections: i32,
}

/// A reader that came or went.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReaderChangeStatus {
    /// The DB instance identifier.
    pub instance: String,
    /// Added or Removed.
    pub direction: ReaderDirection,
    /// When the change settled.
    pub time: Time,
}

/// Whether a reader came or went.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderDirection {
    /// It came.
    Added,
    /// It went.
    Removed,
}

/// A settled topology.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopologyStatus {
    /// The short hash of members and roles.
    pub fingerprint: String,
    /// The cluster's ARN.
    #[serde(rename = "clusterARN")]
    pub cluster_arn: String,
    /// The cluster's resource id, which a blue/green switch changes.
    #[serde(rename = "clusterResourceID")]
    pub cluster_resource_id: String,
    /// The writer's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<String>,
    /// The writer before, since the last change of writers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_writer: Option<String>,
    /// The number of readers.
    pub reader_count: i32,
    /// The port of the cluster's endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// Addresses of instances that the last change replaced under their names (a blue/green
    /// switchover, or an instance that was deleted and created again). For some minutes an answer
    /// of DNS with one of them is not taken for the instance that has the name now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub former_addresses: Vec<String>,
    /// All members.
    // Aurora: at most 15 readers and one writer.
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["instance".to_owned()]))]
    pub members: Vec<MemberStatus>,
}

/// A member of the cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The DB instance identifier.
    pub instance: String,
    /// The immutable resource id.
    #[serde(rename = "resourceID")]
    pub resource_id: String,
    /// Writer or Reader.
    pub role: RoleStatus,
    /// The address that its endpoint was last seen to lead to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its instance class, where shares follow the capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// A member's role.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleStatus {
    /// The cluster's one writer.
    Writer,
    /// A reader.
    Reader,
}

/// What raised an epoch or began a run.
#[derive(
    Serialize,
    Deserialize,
    JsonSchema,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::IntoStaticStr,
)]
pub enum Trigger {
    /// A reader came.
    ReaderAdded,
    /// A reader left.
    ReaderRemoved,
    /// Another member is the writer.
    Failover,
    /// The cluster was replaced under the same name.
    Replaced,
    /// A user asked, by annotation.
    Manual,
    /// Measured connections were not where they should be.
    Imbalance,
    /// A user asked, by annotation, to empty a reader.
    Drain,
}

impl Trigger {
    /// Returns the word that the status shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns whether the trigger is a failover or a replacement: pools are broken now, so the run does not wait for
    /// windows and limits.
    #[must_use]
    pub const fn is_urgent(self) -> bool {
        matches!(self, Self::Failover | Self::Replaced)
    }
}

/// An epoch that is recorded and not open yet.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PendingEpochStatus {
    /// Its number.
    pub epoch: i64,
    /// The fingerprint of its topology.
    pub fingerprint: String,
    /// What raised it.
    #[schemars(length(max = 8))]
    pub triggers: Vec<Trigger>,
    /// The names of the targets that it concerns, as decided when it rose.
    #[schemars(length(max = 16))]
    pub targets: Vec<String>,
    /// The change in words, before and after.
    pub message: String,
    /// The readers that it added; each must have been named by the reader endpoint before it opens.
    // Aurora: at most 15 readers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub added: Vec<String>,
    /// When its last change settled. DNS has spec.dns.timeoutSeconds from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_time: Option<Time>,
    /// What DNS must say before it opens, and what it has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// DNS has taken longer than spec.dns.timeoutSeconds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
}

/// What is known of one target.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct TargetStatus {
    /// The target's name.
    pub name: String,
    /// The workload or selector that the baseline was taken of.
    pub reference: String,
    /// Whether this policy owns the target's pods; an older policy may own them instead.
    pub owned: bool,
    /// Pods that are not stamped count as of this epoch.
    pub baseline_epoch: i64,
    /// The last open epoch that concerns this target.
    pub due_epoch: i64,
    /// When the due epoch opened. Pods created at or after it are fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_time: Option<Time>,
    /// What raised the due epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub triggers: Vec<Trigger>,
    /// The fingerprint of the due epoch's topology, as stamps carry it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// The last failover or replacement that concerns this target. Pods older than it keep a
    /// failover's privileges, whatever came after.
    pub urgent_epoch: i64,
    /// When the urgent epoch opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent_open_time: Option<Time>,
    /// Counted pods.
    pub pods: i32,
    /// Stale pods among them.
    pub stale: i32,
    /// The method and template for which the method was seen to work; a canary precedes others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_verified: Option<String>,
    /// The current run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// When the last run ended; the cool-down counts from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_end_time: Option<Time>,
    /// When the runs of the last hour began, newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub run_times: Vec<Time>,
    /// The templates of the target's pods when no rollout was in progress; another one later is a rollout
    /// that has ended, after which connections are evened out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// When such a rollout was seen to have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_time: Option<Time>,
    /// What evening out the connections remembers, where they are measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<RebalanceState>,
    /// The epoch whose template stamp somebody took away; it is not put back before the next epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverted_epoch: Option<i64>,
}

/// One run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The target's name.
    pub target: String,
    /// The epoch that the run works towards.
    pub epoch: i64,
    /// What raised it.
    #[schemars(length(max = 8))]
    pub triggers: Vec<Trigger>,
    /// When it began.
    pub start_time: Time,
    /// When it last came forward.
    pub last_progress_time: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
    /// When the last step was taken; the interval counts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_step_time: Option<Time>,
    /// Counted pods when it began.
    pub pods: i32,
    /// Ready pods when it began; a canary has come back when as many are Ready again.
    #[serde(default)]
    pub ready: i32,
    /// Stale pods when it began.
    #[serde(default)]
    pub stale: i32,
    /// The workload's generation after its template was stamped, for method Rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_generation: Option<i64>,
    /// Pods found fresh since it began: recycled, or born anew.
    pub recycled: i32,
    /// Pods on which the method failed twice.
    pub failed: i32,
    /// Running, Succeeded, Halted, Superseded or Uneven.
    pub result: RunResult,
    /// Why it halted; while it runs, the last failure on a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When an edit let a halted run go on; older claims do not count any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_time: Option<Time>,
    /// The spec's generation when it halted; an edit lets it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_generation: Option<i64>,
    /// Why it halted, in one word; the message has the figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_reason: Option<HaltReason>,
    /// When a halted run goes on by itself, as its cause may have passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
    /// How often a halted run has gone on by itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 1000))]
    pub retries: i32,
}

impl RunStatus {
    /// Returns whether the run counts among those that a cluster may have at once: it is in progress, and not a failover's,
    /// which waits for no others.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.result == RunResult::Running && !self.triggers.iter().any(|t| t.is_urgent())
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
const fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// Why a run has halted.
#[derive(
    Serialize,
    Deserialize,
    JsonSchema,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::IntoStaticStr,
)]
pub enum HaltReason {
    /// The method failed on too many pods.
    MethodFailed,
    /// The method cannot work on any pod: a right, a container or a signal handler is missing.
    MethodRefused,
    /// The method ended the app's containers instead of renewing their connections.
    AppEnded,
    /// It made no progress within spec.pacing.progressDeadlineSeconds.
    NoProgress,
    /// Recycles have shown that they do not cure the misplaced connections.
    Incurable,
    /// The stamp was removed from the pod template.
    StampReverted,
    /// An older policy has taken over the pods.
    TargetLost,
}

impl HaltReason {
    /// Returns the word that the status shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns whether the cause can pass by itself, so that another try makes sense.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(self, Self::MethodFailed | Self::NoProgress)
    }
}

/// How a run stands.
#[derive(
    Serialize,
    Deserialize,
    JsonSchema,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::IntoStaticStr,
)]
pub enum RunResult {
    /// In progress.
    Running,
    /// Nothing is stale any more.
    Succeeded,
    /// It ended without reaching its end, until a new epoch, an edit or a token.
    Halted,
    /// A newer epoch took over.
    Superseded,
    /// It ended with measured connections still uneven: its recycles were spent.
    Uneven,
}

impl RunResult {
    /// Returns the word that the status shows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What would be done next for one target.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// The target's name.
    pub target: String,
    /// The next step in words.
    pub action: String,
    /// The first gate that holds it, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Why that gate holds, with the arithmetic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The absolute time at which the gate opens, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
}
