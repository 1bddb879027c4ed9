//! `DbBalancePolicy`: what a user asks for, with its defaults, bounds and CEL rules.
//!
//! A rule that the schema can judge is here and only here, so that a bad policy is refused at
//! apply. What it cannot judge (cron, time zones, overlapping targets) is in `controller::validate`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::DbBalancePolicyStatus;

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
        name = "Waiting-For",
        type_ = "string",
        json_path = ".status.plan[0].waitingFor",
        description = "The first target's first closed gate",
        priority = 1
    )
)]
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
    pub limits: Limits,
    /// How many connections each instance may get.
    #[serde(default)]
    pub budget: BudgetSpec,
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
        regex(pattern = r"^[a-z]{2}(-[a-z]+)+-[0-9]+$")
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

/// One workload, or the pods of a selector, with the pools that each pod holds.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.workloadRef) != has(self.selector)").message("give exactly one of workloadRef and selector"),
    validation = Rule::new("self.recycle.method != 'Rollout' || has(self.workloadRef)").message("method Rollout needs workloadRef: a selector names no pod template")
)]
#[serde(rename_all = "camelCase")]
pub struct TargetSpec {
    /// A name for the target, unique in the policy.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The workload whose pods are meant, in the policy's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_ref: Option<WorkloadRef>,
    /// The pods that are meant, in the policy's namespace, if they belong to a ReplicaSet,
    /// StatefulSet or DaemonSet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// The pools that each pod holds, one for each endpoint that it connects to.
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["endpoint".to_owned()]))]
    pub pools: Vec<PoolSpec>,
    /// How a pod's pools are made to close their connections and open new ones.
    #[x_kube(
        validation = Rule::new("(self.method == 'Signal') == has(self.signal)").message("signal is required for method Signal and refused for others"),
        validation = Rule::new("(self.method == 'HTTP') == has(self.http)").message("http is required for method HTTP and refused for others"),
        validation = Rule::new("!has(self.fallback) || self.method in ['Signal', 'HTTP']").message("fallback is for methods that can fail on one pod: Signal and HTTP"),
        validation = Rule::new("!has(self.allowSingleReplica) || self.method == 'Evict' || has(self.fallback)").message("allowSingleReplica is for evictions: method Evict, or fallback Evict")
    )]
    pub recycle: RecycleSpec,
}

/// A workload of the policy's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// The API version of the workload.
    pub api_version: WorkloadApiVersion,
    /// The kind of the workload.
    pub kind: WorkloadKind,
    /// The name of the workload.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// API versions of workloads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadApiVersion {
    /// The only one served today.
    #[serde(rename = "apps/v1")]
    AppsV1,
}

/// Kinds of workloads.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub enum WorkloadKind {
    /// A Deployment.
    Deployment,
    /// A StatefulSet.
    StatefulSet,
    /// A DaemonSet.
    DaemonSet,
}

/// One pool of a pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// The cluster endpoint that the pool connects to.
    pub endpoint: Endpoint,
    /// The most connections that one pod's pool opens; the budget counts with it.
    #[schemars(range(min = 1, max = 10000))]
    pub connections_per_pod: i32,
}

/// The endpoint that a pool connects to.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
pub enum Endpoint {
    /// The reader endpoint (cluster-ro).
    Reader,
    /// The writer (cluster) endpoint.
    Writer,
}

/// How to recycle.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RecycleSpec {
    /// Signal sends a signal to a process. HTTP calls a path of the pod. Evict uses the Eviction
    /// API. Rollout stamps the pod template. Annotate stamps the pods, for apps that watch their
    /// annotations.
    pub method: Method,
    /// For method Signal: what to send to which process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<SignalSpec>,
    /// For method HTTP: what to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// What to do when the method fails on one pod, once the canary has passed. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Allows the eviction of a workload's only pod. Default: it is not evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_single_replica: Option<bool>,
}

/// The way in which a pod's pools are renewed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Send a signal to a process in the container.
    Signal,
    /// Make one HTTP request to the pod.
    #[serde(rename = "HTTP")]
    Http,
    /// Evict the pod, so that PodDisruptionBudgets hold.
    Evict,
    /// Roll the workload by a stamp on its pod template.
    Rollout,
    /// Stamp the pods and leave the rest to the app.
    Annotate,
}

/// The signal to send.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SignalSpec {
    /// The signal's name, without SIG. Only signals that a process can catch.
    pub name: SignalName,
    /// The container. Default: the pod's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub container: Option<String>,
    /// The process, by its id inside the container.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub process: i32,
}

// One variant list, without docs: a documented variant would split the enum in the schema.
/// Signals that a process can catch.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum SignalName {
    Hup,
    Int,
    Quit,
    Usr1,
    Usr2,
    Term,
    Cont,
    Ttin,
    Ttou,
    Winch,
}

/// The HTTP request to make.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpSpec {
    /// The port, which a container of the pod must declare.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The path, with its query, beginning with a slash.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$")
    )]
    pub path: String,
    /// The HTTP verb.
    #[serde(default)]
    pub verb: HttpVerb,
    /// How long to wait for the answer.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
}

/// HTTP verbs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum HttpVerb {
    #[default]
    Post,
    Put,
    Get,
}

// The schema shows this text, not the field's.
/// What to do when the method fails on one pod, once the canary has passed. Default: nothing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Evict the pod.
    Evict,
}

/// Which changes begin a run, and how long they must hold.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Triggers {
    /// The writer is another instance than before, or the cluster was replaced.
    #[serde(default)]
    pub failover: FailoverTrigger,
    /// A reader came.
    #[serde(default)]
    pub reader_added: ReaderTrigger,
    /// A reader left.
    #[serde(default)]
    pub reader_removed: ReaderTrigger,
}

/// The failover trigger.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailoverTrigger {
    /// Whether a failover begins a run.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How long the new writer must hold before it counts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: i32,
}

impl Default for FailoverTrigger {
    fn default() -> Self {
        Self {
            enabled: true,
            settle_seconds: 0,
        }
    }
}

/// A trigger of readers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReaderTrigger {
    /// Whether the change begins a run.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How long the change must hold before it counts.
    #[serde(default = "thirty")]
    #[schemars(range(min = 0, max = 3600))]
    pub settle_seconds: i32,
}

impl Default for ReaderTrigger {
    fn default() -> Self {
        Self {
            enabled: true,
            settle_seconds: 30,
        }
    }
}

/// The pace within a run.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Pacing {
    /// The most pods of a target that are not Ready or being recycled at once: a number, or a
    /// percentage rounded down, at least 1.
    #[serde(default = "quarter")]
    #[schemars(schema_with = "super::schema::int_or_percent")]
    pub max_unavailable: IntOrString,
    /// The time between two steps.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// How much of the interval is random, so that policies do not move in step.
    #[serde(default = "twenty")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: i32,
    /// A run without progress for so long, while nothing else holds it, halts.
    #[serde(default = "quarter_hour")]
    #[schemars(range(min = 10, max = 86400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            max_unavailable: quarter(),
            interval_seconds: ten(),
            jitter_percent: twenty(),
            progress_deadline_seconds: quarter_hour(),
        }
    }
}

/// How often runs may begin. A failover and a token skip both.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The time between the end of a target's run and the start of its next.
    #[serde(default = "five_minutes")]
    #[schemars(range(min = 0, max = 86400))]
    pub cooldown_seconds: i32,
    /// The most runs of a target that may begin within an hour.
    #[serde(default = "six")]
    #[schemars(range(min = 1, max = 60))]
    pub max_runs_per_hour: i32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cooldown_seconds: five_minutes(),
            max_runs_per_hour: six(),
        }
    }
}

/// How many connections an instance may get.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BudgetSpec {
    /// The instances' max_connections. Default: derived from instance class and engine; an unknown
    /// class holds the methods that surge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 262_143))]
    pub max_connections: Option<i32>,
    /// The part of max_connections that is left to others.
    #[serde(default = "fifteen")]
    #[schemars(range(min = 0, max = 90))]
    pub headroom_percent: i32,
}

impl Default for BudgetSpec {
    fn default() -> Self {
        Self {
            max_connections: None,
            headroom_percent: fifteen(),
        }
    }
}

/// A recurring time span.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("self.type == 'Deny' || self.spreadSeconds < self.durationSeconds").message("spreadSeconds must be less than durationSeconds, or the window could close before a policy's turn"))]
#[serde(rename_all = "camelCase")]
pub struct WindowSpec {
    /// A name for the window, unique in the policy.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Allow: act only inside. Deny: never act inside.
    #[serde(rename = "type")]
    pub kind: WindowType,
    /// When the window opens, as a cron expression of five fields.
    #[schemars(length(min = 9, max = 128), regex(pattern = r"^\S+( +\S+){4}$"))]
    pub schedule: String,
    /// How long the window stays open.
    #[schemars(range(min = 60, max = 604_800))]
    pub duration_seconds: i32,
    /// The IANA time zone of the schedule.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9+_/-]+$"))]
    pub time_zone: String,
    /// Policies that waited begin spread over so many seconds once they may act again.
    #[serde(default)]
    #[schemars(range(min = 0, max = 86400))]
    pub spread_seconds: i32,
}

/// What a window means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowType {
    /// Act only inside.
    Allow,
    /// Never act inside.
    Deny,
}

fn yes() -> bool {
    true
}
fn one() -> i32 {
    1
}
fn five() -> i32 {
    5
}
fn six() -> i32 {
    6
}
fn ten() -> i32 {
    10
}
fn fifteen() -> i32 {
    15
}
fn twenty() -> i32 {
    20
}
fn thirty() -> i32 {
    30
}
fn five_minutes() -> i32 {
    300
}
fn quarter_hour() -> i32 {
    900
}
fn quarter() -> IntOrString {
    IntOrString::String("25%".to_owned())
}
fn utc() -> String {
    "UTC".to_owned()
}
