//! Defines `DbBalancePolicy`: what a user requests, with its defaults, bounds and CEL rules.
//!
//! Every rule that the schema can check is only here, so that an invalid policy is refused at apply. The operator
//! checks the others (cron, time zones, overlapping targets).

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::evidence::{DnsSpec, EvidenceSource, EvidenceSpec, OnTimeout};
pub use super::rules::{
    BudgetSpec, FailoverTrigger, Pacing, ReaderTrigger, RunLimits, Triggers, WindowSpec, WindowType,
};
pub use super::shares::{BalanceSpec, DEFAULT_WEIGHT, InstanceWeight, SharesBy};
use super::status::DbBalancePolicyStatus;
pub use super::steering::{SteeringSpec, SteeringVia};
pub use super::target::{
    Endpoint, Fallback, HeaderSecretRef, HttpSpec, HttpTlsSpec, HttpVerb, Method, PoolSpec,
    RecycleSpec, SignalName, SignalSpec, TargetSpec, WorkloadApiVersion, WorkloadKind, WorkloadRef,
};

/// Recycles the connection pools of pods when the topology of an Aurora cluster changes.
#[allow(clippy::duplicated_attributes)] // the derive repeats `type_` for each column
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "dbbalance.io",
    version = "v1alpha1",
    kind = "DbBalancePolicy",
    plural = "dbbalancepolicies",
    singular = "dbbalancepolicy",
    shortname = "dbp",
    namespaced,
    status = "DbBalancePolicyStatus",
    derive = "PartialEq",
    doc = "Recycles the connection pools of pods when the topology of an Aurora cluster changes, so that existing connections follow added, removed and promoted instances.",
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.cluster.identifier",
        description = "The Aurora cluster"
    ),
    printcolumn(
        name = "Mode",
        type_ = "string",
        json_path = ".spec.mode",
        description = "Enforce acts, Observe only shows"
    ),
    printcolumn(
        name = "Writer",
        type_ = "string",
        json_path = ".status.topology.writer",
        description = "The cluster's writer"
    ),
    printcolumn(
        name = "Readers",
        type_ = "integer",
        json_path = ".status.topology.readerCount",
        description = "The number of readers"
    ),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".status.epoch",
        description = "The last open epoch"
    ),
    printcolumn(
        name = "Stale",
        type_ = "string",
        json_path = ".status.stale",
        description = "Stale pods of all counted pods"
    ),
    printcolumn(
        name = "Balanced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Balanced\")].status",
        description = "Whether measured connections are even"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the policy is valid and its topology read"
    ),
    printcolumn(
        name = "Last-Run",
        type_ = "date",
        json_path = ".status.lastRunTime",
        description = "Time since the last run began"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why Ready is as it is",
        priority = 1
    ),
    printcolumn(
        name = "Prepared",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Prepared\")].status",
        description = "Whether a failover now would be carried through",
        priority = 1
    ),
    printcolumn(
        name = "Waiting-For",
        type_ = "string",
        json_path = ".status.plan[0].waitingFor",
        description = "The first target's first closed gate",
        priority = 1
    )
)]
#[x_kube(validation = Rule::new("self.targets.all(t, t.pools.all(p, has(p.connectionsPerPod)) || (self.evidence.source != 'None' && t.pools.size() == 1))").message("connectionsPerPod is required, unless evidence measures the connections of a target's only pool"))]
#[x_kube(validation = Rule::new("self.targets.all(t, !has(t.workloadRef) || self.targets.exists_one(other, has(other.workloadRef) && other.workloadRef.kind == t.workloadRef.kind && other.workloadRef.name == t.workloadRef.name))").message("two targets name one workload: give its pools in one target"))]
#[x_kube(validation = Rule::new("!has(self.dns.steering) || (self.evidence.source != 'None' && self.targets.exists(t, t.pools.exists(p, p.endpoint == 'Reader')))").message("dns.steering needs measured connections and a reader pool: set evidence.source, and give a target a pool with endpoint Reader"))]
#[x_kube(validation = Rule::new("!has(self.dns.steering) || self.dns.steering.holdSeconds >= 60 || self.targets.all(t, t.recycle.method != 'Evict' && !(has(t.recycle.fallback) && t.recycle.fallback == 'Evict'))").message("dns.steering.holdSeconds must be 60 or more with method or fallback Evict: the name must stay narrowed until the evicted pod's successor has started"))]
#[serde(rename_all = "camelCase")]
pub struct DbBalancePolicySpec {
    /// Enforce acts on pods. Observe plans and shows, and changes nothing.
    #[serde(default)]
    pub mode: Mode,
    /// Stops all effects while true. Topology is still followed, and what became due is done, paced,
    /// when it is false again.
    #[serde(default)]
    pub suspend: bool,
    /// The Aurora cluster to follow. Its identifier and region are immutable.
    #[x_kube(
        validation = Rule::new("self.identifier == oldSelf.identifier").message("identifier is immutable: create another policy for another cluster"),
        validation = Rule::new("has(self.region) == has(oldSelf.region) && (!has(self.region) || self.region == oldSelf.region)").message("region is immutable: create another policy for another cluster"),
        validation = Rule::new("!has(self.externalID) || has(self.roleARN)").message("externalID is used only with roleARN: set roleARN or remove externalID")
    )]
    pub cluster: ClusterSpec,
    /// The workloads whose pods hold connections to the cluster, in the policy's own namespace.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub targets: Vec<TargetSpec>,
    /// Which changes of the topology begin a run.
    #[serde(default)]
    pub triggers: Triggers,
    /// How fast pods are recycled within a run.
    #[serde(default)]
    #[x_kube(validation = Rule::new("self.progressDeadlineSeconds > self.intervalSeconds").message("progressDeadlineSeconds must be greater than intervalSeconds, or every run would halt between two steps"))]
    pub pacing: Pacing,
    /// How often runs may begin.
    #[serde(default)]
    pub limits: RunLimits,
    /// How many connections each instance may get.
    #[serde(default)]
    pub budget: BudgetSpec,
    /// How a change waits for DNS.
    #[serde(default)]
    pub dns: DnsSpec,
    /// Whether connections are measured, so that only those move that must.
    #[serde(default)]
    pub evidence: EvidenceSpec,
    /// How the connections of reader pools are shared among the readers, where they are measured.
    #[serde(default)]
    pub balance: BalanceSpec,
    /// Times at which runs may, or may not, act. A failover and a token skip them. Deny wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub windows: Vec<WindowSpec>,
}

/// Whether a policy acts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Act on pods.
    #[default]
    Enforce,
    /// Plan and show, change nothing.
    Observe,
}

/// Which Aurora cluster.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// The DB cluster identifier, in lower case.
    // AWS: 1 to 63 letters, digits or hyphens, first a letter, no hyphen at the end or doubled.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z]([a-z0-9]|-[a-z0-9])*$")
    )]
    pub identifier: String,
    /// The AWS region. Default: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$")
    )]
    pub region: Option<String>,
    /// A role to assume for reading the topology. Must be on the operator's allow-list.
    #[serde(default, rename = "roleARN", skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 20, max = 512),
        regex(pattern = r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+$")
    )]
    pub role_arn: Option<String>,
    /// The external id that the role's trust policy asks for.
    #[serde(
        default,
        rename = "externalID",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(
        length(min = 2, max = 256),
        regex(pattern = r"^[A-Za-z0-9+=,.@:/_-]+$")
    )]
    pub external_id: Option<String>,
}
