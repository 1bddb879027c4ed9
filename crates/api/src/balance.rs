//! Defines `status.balance`: the last measurement of each target's connections.
//!
//! The figures are for users and for the `Balanced` condition. They are rewritten only when the state changes or a
//! share has moved by [`REWRITE_POINTS`], so that the status of an idle policy is never written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evidence::EvidenceSource;
use super::status::RoleStatus;

/// How far a share may drift, in percentage points, before it is written again.
pub const REWRITE_POINTS: i32 = 5;

/// What was last measured of one target.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BalanceStatus {
    /// The target's name.
    pub target: String,
    /// Balanced, Unbalanced or Unknown.
    pub state: BalanceState,
    /// One word for why.
    pub reason: String,
    /// The same with figures.
    pub message: String,
    /// What holds it from being more even: PodQuantum, when no single pod's move would help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited_by: Option<LimitedBy>,
    /// Where the figures come from.
    pub source: EvidenceSource,
    /// Pods read of all counted pods, as in 20/20.
    pub measured_pods: String,
    /// The fewest connections that a reader may have and be within the band.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<i32>,
    /// The most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<i32>,
    /// The connections of each instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["instance".to_owned()]))]
    pub shares: Vec<ShareStatus>,
    /// Connections that are not where they should be.
    #[serde(default)]
    pub misplaced: MisplacedStatus,
    /// When the figures were measured that stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured_time: Option<Time>,
}

/// Whether measured connections are even.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BalanceState {
    /// All within the band, or as near as single pods allow.
    Balanced,
    /// Some instance has too many, too few, or connections that belong elsewhere.
    Unbalanced,
    /// It could not be measured, or not be told.
    Unknown,
}

// The schema shows this text instead of the field's.
/// What holds connections from being more even.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitedBy {
    /// The connections of one pod move together, and no pod's move would make them more even.
    PodQuantum,
}

/// The connections of one instance.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ShareStatus {
    /// The instance.
    pub instance: String,
    /// Its role.
    pub role: RoleStatus,
    /// Measured connections.
    pub connections: i32,
    /// Of all the target's connections to members, in whole percent.
    pub percent: i32,
    /// The percentage of the readers' connections that it should have, where shares are not equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_percent: Option<i32>,
    /// The percentage of the readers' connections, over all targets and policies that are measured, where there
    /// are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_percent: Option<i32>,
}

/// Connections that are not where they should be, by cause.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct MisplacedStatus {
    /// On an instance of the wrong role.
    pub wrong_role: i32,
    /// To an instance that is no member any more; on pods older than a failover also sockets that
    /// the server has closed, or does not answer.
    pub no_member: i32,
    /// Above a reader's fair share.
    pub excess: i32,
}
