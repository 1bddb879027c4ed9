//! Defines how a name that pods look up is led to one reader for the seconds of a move, and what the status says of it.
//!
//! The operator narrows the name to the reader that lacks connections, moves pods, and widens it to Aurora's own answer
//! again (docs/adr/0020).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name that the operator narrows to one reader while connections move.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SteeringSpec {
    /// Service changes the host name that an ExternalName Service leads to. Slice fills an EndpointSlice of a headless
    /// Service that the cluster's DNS asks before it asks Aurora. Immutable.
    pub via: SteeringVia,
    /// The Service that is narrowed: in the policy's namespace with Service, in the operator's with Slice. Immutable.
    // RFC 1035: the names that Kubernetes takes for a Service.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub reader: String,
    /// The longest time that the name is narrowed at a stretch. Evict needs 60 or more, as a pod has to start meanwhile.
    #[serde(default = "default_steering_hold_seconds")]
    #[schemars(range(min = 15, max = 300))]
    pub hold_seconds: i32,
    /// How long all caches take to follow a change of the name. 0 learns it from the TTLs of the answers.
    #[serde(default)]
    #[schemars(range(min = 0, max = 120))]
    pub settle_seconds: i32,
    /// Narrows even if the operator runs with one replica. If that one dies meanwhile, the name leads to one reader
    /// until it is back.
    #[serde(default)]
    pub allow_single_operator: bool,
}

// The schema shows this text instead of the field's.
/// By which object a name is narrowed.
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
pub enum SteeringVia {
    /// The host name of an ExternalName Service.
    Service,
    /// An EndpointSlice of a headless Service.
    Slice,
}

impl SteeringVia {
    /// Returns the word that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Where the name of spec.dns.steering leads.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DnsStatus {
    /// The Service.
    pub service: String,
    /// By which object it is narrowed.
    pub via: SteeringVia,
    /// Where it leads: Aurora, the instance that it is narrowed to, or Unknown.
    #[schemars(length(max = 63))]
    pub led: String,
    /// Since when it is narrowed; absent while it leads to Aurora.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrowed_since: Option<Time>,
    /// How long caches may keep an answer, as learnt from its TTLs or given by settleSeconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub cache_seconds: Option<i32>,
    /// Aurora's reader endpoint, as last read: the name is widened to it even when the RDS API cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub reader_endpoint: Option<String>,
    /// How often in a row the name was narrowed and look-ups did not follow.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 1000))]
    pub not_led: i32,
    /// Until when the name is not narrowed again, after it was widened before its receiver had what it lacked. An hour
    /// when look-ups did not follow it twice in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_until: Option<Time>,
    /// Why the name is widened, or was the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub widen_reason: Option<String>,
}

impl DnsStatus {
    /// The value of `led` of a name that leads to Aurora's own answer.
    pub const AURORA: &'static str = "Aurora";
    /// The value of `led` of a name whose object is not there, or leads to neither Aurora nor a member.
    pub const UNKNOWN: &'static str = "Unknown";
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
const fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn default_steering_hold_seconds() -> i32 {
    60
}
