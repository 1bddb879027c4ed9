//! Defines what the operator observes before and after it acts: DNS and measured connections.
//!
//! Part of the policy's spec, with the rules that the schema can check.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::steering::SteeringSpec;

/// How a settled change waits for DNS before anything is done about it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DnsSpec {
    /// What to do when DNS has not followed the change in time. Hold waits on and says so. Proceed
    /// goes on as if it had.
    #[serde(default)]
    pub on_timeout: OnTimeout,
    /// How long DNS may take, from the moment the change has settled. With Proceed, 0 never waits.
    #[serde(default = "default_dns_timeout_seconds")]
    #[schemars(range(min = 0, max = 3600))]
    pub timeout_seconds: i32,
    /// How long caches may keep an answer. Without evidence, nothing is recycled until the last
    /// answer that disagreed is this old, or as old as its TTL if that is longer, and right answers
    /// have followed for as long again. As long as the longest cache before your pods' resolvers
    /// keeps an answer: 5 s is the least of CoreDNS and of NodeLocal DNSCache, and the JVM's own
    /// cache keeps 30 s.
    #[serde(default = "default_dns_hold_seconds")]
    #[schemars(range(min = 0, max = 300))]
    pub hold_seconds: i32,
    /// The name that pods look up, narrowed to the reader that lacks connections while they move. Default: none; pods
    /// get what Aurora's own reader endpoint answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(
        validation = Rule::new("self.via == oldSelf.via && self.reader == oldSelf.reader").message("via and reader are immutable: remove steering, which widens the name, and then give the other one")
    )]
    pub steering: Option<SteeringSpec>,
}

impl Default for DnsSpec {
    fn default() -> Self {
        Self {
            on_timeout: OnTimeout::Hold,
            timeout_seconds: default_dns_timeout_seconds(),
            hold_seconds: default_dns_hold_seconds(),
            steering: None,
        }
    }
}

// The schema shows this text instead of the field's.
/// What to do when DNS has not followed a change in time.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// Wait on, and say so.
    #[default]
    Hold,
    /// Go on as if DNS had followed.
    Proceed,
}

/// Whether and how the connections of pods are measured.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceSpec {
    /// None measures nothing. ProcNet reads each pod's established connections from /proc/net in
    /// one of its containers, for which the operator needs pods/exec.
    #[serde(default)]
    pub source: EvidenceSource,
    /// How far above its fair share a reader may be.
    #[serde(default = "default_tolerance_percent")]
    #[schemars(range(min = 5, max = 50))]
    pub tolerance_percent: i32,
}

impl Default for EvidenceSpec {
    fn default() -> Self {
        Self {
            source: EvidenceSource::None,
            tolerance_percent: default_tolerance_percent(),
        }
    }
}

// The schema shows this text instead of the field's.
/// Where measured connections come from.
#[derive(
    Serialize,
    Deserialize,
    JsonSchema,
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    strum::IntoStaticStr,
)]
pub enum EvidenceSource {
    /// Nothing is measured.
    #[default]
    None,
    /// Each pod's /proc/net/tcp and tcp6, read by exec.
    ProcNet,
}

impl EvidenceSource {
    /// Returns the word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

fn default_tolerance_percent() -> i32 {
    15
}
fn default_dns_timeout_seconds() -> i32 {
    300
}
fn default_dns_hold_seconds() -> i32 {
    5
}
