//! Defines targets: which pods, which pools, and how they are recycled.
//!
//! Part of the policy's spec, with the rules that the schema can check.

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// The pods that are meant, in the policy's namespace, whoever owns them. Evict takes only those
    /// of a ReplicaSet, ReplicationController, StatefulSet or DaemonSet, which recreate them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// The port that the pools connect to. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The container in which connections are read. Default: the first that has a shell or cat. All
    /// containers of a pod share their connections' table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub evidence_container: Option<String>,
    /// The pools that each pod holds, one for each endpoint that it connects to.
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["endpoint".to_owned()]))]
    pub pools: Vec<PoolSpec>,
    /// How a pod's pools are made to close their connections and open new ones.
    #[x_kube(
        validation = Rule::new("(self.method == 'Signal') == has(self.signal)").message("signal is required for method Signal and refused for others"),
        validation = Rule::new("(self.method == 'HTTP') == has(self.http)").message("http is required for method HTTP and refused for others"),
        validation = Rule::new("!has(self.fallback) || self.method in ['Signal', 'HTTP', 'Rollout']").message("fallback is for methods that can fail on one pod, Signal and HTTP, and to even out connections after a Rollout"),
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
    /// The most connections that one pod's pool opens; the budget counts with it. May be left out
    /// where evidence measures a target's only pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub connections_per_pod: Option<i32>,
    /// How many connections to the other role each pod may hold besides: a driver's monitor, a lock, a migration check. They
    /// are not misplaced.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10_000))]
    pub stray_connections: i32,
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
    /// What to do when the method fails on one pod, once the canary has passed; for method Rollout,
    /// how single pods are moved after it where connections are measured. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Allows the eviction of a workload's only pod. Default: it is not evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_single_replica: Option<bool>,
}

/// The way in which a pod's pools are renewed.
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
pub enum Method {
    /// Send a signal to a process in the container.
    Signal,
    /// Make one HTTP request to the pod.
    #[serde(rename = "HTTP")]
    #[strum(serialize = "HTTP")]
    Http,
    /// Evict the pod, so that PodDisruptionBudgets hold.
    Evict,
    /// Roll the workload by a stamp on its pod template.
    Rollout,
    /// Stamp the pods and leave the rest to the app.
    Annotate,
}

impl Method {
    /// Returns the word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The signal to send.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SignalSpec {
    /// The signal's name, without SIG. Only signals that a process can catch.
    pub name: SignalName,
    /// The container, which may be a native sidecar. Default: the one that the pod's annotation
    /// kubectl.kubernetes.io/default-container names, else the pod's only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub container: Option<String>,
    /// The process, by its id inside the container.
    #[serde(default = "default_process")]
    #[schemars(range(min = 1, max = 4_194_304))]
    pub process: i32,
    /// Signals the only child of the process instead. For containers whose first process is an init
    /// such as tini or dumb-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<bool>,
}

// One variant list without docs: a documented variant would split the enum in the schema.
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
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
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
    #[serde(default = "default_timeout_seconds")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: i32,
    /// Calls by HTTPS. Default: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("has(self.serverName) || (has(self.insecureSkipVerify) && self.insecureSkipVerify)").message("serverName is required: pods are called by their address, which certificates do not name"),
        validation = Rule::new("!has(self.serverName) || !self.serverName.matches('(^|[.])(0x[0-9a-f]*|[0-9]+)$')").message("serverName must be a name, not an address"),
        validation = Rule::new("!has(self.caBundle) || !has(self.insecureSkipVerify) || !self.insecureSkipVerify").message("caBundle is of no use with insecureSkipVerify")
    )]
    pub tls: Option<HttpTlsSpec>,
    /// A header whose value is a key of a Secret in the policy's namespace, for example a token. The
    /// chart's value http.headerSecrets must list the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_secret_ref: Option<HeaderSecretRef>,
}

/// How the certificate of an HTTPS hook is verified.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HttpTlsSpec {
    /// The name that the certificate must have. It is sent as SNI and as the host as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub server_name: Option<String>,
    /// The certificates of the authorities that may have signed it, as PEM in base64. Default: those
    /// of the operator's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::ca_bundle")]
    pub ca_bundle: Option<ByteString>,
    /// Takes any certificate, as the kubelet's probes do. Whoever can answer in the pod's place then
    /// gets the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insecure_skip_verify: Option<bool>,
}

/// A header of the request, with its value in a Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("!(self.header.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'te', 'trailer', 'transfer-encoding', 'upgrade'])").message("this header is set by HTTP itself"))]
#[serde(rename_all = "camelCase")]
pub struct HeaderSecretRef {
    /// The name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The key in the Secret whose value is the header's whole value, for example Bearer and a token.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// The header's name.
    #[serde(default = "default_header")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub header: String,
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

// The schema shows this text instead of the field's.
/// What to do when the method fails on one pod, once the canary has passed. Default: nothing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Evict the pod.
    Evict,
}

fn default_process() -> i32 {
    1
}
fn default_header() -> String {
    "Authorization".to_owned()
}
fn default_timeout_seconds() -> i32 {
    5
}
