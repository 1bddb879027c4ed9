//! Defines when and how fast runs act: triggers, pacing, limits, budget, windows.
//!
//! Part of the policy's spec, with the rules that the schema can check.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Measured connections are misplaced or uneven without a change of the topology.
    #[serde(default)]
    pub drift: DriftTrigger,
}

/// The trigger of measured connections alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DriftTrigger {
    /// Whether misplaced or uneven connections begin a run without a change of the topology.
    #[serde(default = "default_enabled")]
    pub enabled: bool,
}

impl Default for DriftTrigger {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// The failover trigger.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FailoverTrigger {
    /// Whether a failover begins a run.
    #[serde(default = "default_enabled")]
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
    #[serde(default = "default_enabled")]
    pub enabled: bool,
    /// How long the change must hold before it counts.
    #[serde(default = "default_settle_seconds")]
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
    /// percentage rounded down, at least 1. After a failover it is rounded up for Signal, HTTP and
    /// Annotate, which take no pod away.
    #[serde(default = "default_max_unavailable")]
    #[schemars(schema_with = "super::schema::int_or_percent")]
    pub max_unavailable: IntOrString,
    /// The time between two steps.
    #[serde(default = "default_interval_seconds")]
    #[schemars(range(min = 1, max = 3600))]
    pub interval_seconds: i32,
    /// How much of the interval is random, so that policies do not move in step.
    #[serde(default = "default_jitter_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub jitter_percent: i32,
    /// A run without progress for so long, while nothing else holds it, halts.
    #[serde(default = "default_progress_deadline_seconds")]
    #[schemars(range(min = 10, max = 86400))]
    pub progress_deadline_seconds: i32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            max_unavailable: default_max_unavailable(),
            interval_seconds: default_interval_seconds(),
            jitter_percent: default_jitter_percent(),
            progress_deadline_seconds: default_progress_deadline_seconds(),
        }
    }
}

/// How often runs may begin. A failover and a token skip both.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RunLimits {
    /// The time between the end of a target's run and the start of its next.
    #[serde(default = "default_cooldown_seconds")]
    #[schemars(range(min = 0, max = 86400))]
    pub cooldown_seconds: i32,
    /// The most runs of a target that may begin within an hour.
    #[serde(default = "default_max_runs_per_hour")]
    #[schemars(range(min = 1, max = 60))]
    pub max_runs_per_hour: i32,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            cooldown_seconds: default_cooldown_seconds(),
            max_runs_per_hour: default_max_runs_per_hour(),
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
    #[serde(default = "default_headroom_percent")]
    #[schemars(range(min = 0, max = 90))]
    pub headroom_percent: i32,
}

impl Default for BudgetSpec {
    fn default() -> Self {
        Self {
            max_connections: None,
            headroom_percent: default_headroom_percent(),
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
    #[serde(default = "default_time_zone")]
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

fn default_enabled() -> bool {
    true
}
fn default_max_runs_per_hour() -> i32 {
    6
}
fn default_interval_seconds() -> i32 {
    10
}
fn default_headroom_percent() -> i32 {
    15
}
fn default_jitter_percent() -> i32 {
    20
}
fn default_settle_seconds() -> i32 {
    30
}
fn default_cooldown_seconds() -> i32 {
    300
}
fn default_progress_deadline_seconds() -> i32 {
    900
}
fn default_max_unavailable() -> IntOrString {
    IntOrString::String("25%".to_owned())
}
fn default_time_zone() -> String {
    "UTC".to_owned()
}
