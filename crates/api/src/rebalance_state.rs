//! Defines the state that a decision about the balance leaves for the next one, small enough for the policy's status.
//!
//! It does not change with time alone: only when an episode, a batch or a wait starts or ends. It does not list pods.
//! Readers are listed by name, in the order of the topology.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the balance of one target remembers.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct RebalanceState {
    /// The topology that seenInDNS and batch speak of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// The short hash of the readers' weights, if they are not equal. Other weights open an episode.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub weights: String,
    /// The last event that opened an episode.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub event: Option<Timestamp>,
    /// The episode in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode: Option<Episode>,
    /// The last batch, until it has settled and was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How well looks have predicted where pods land.
    #[serde(skip_serializing_if = "GateRecord::is_empty")]
    pub record: GateRecord,
    /// The readers that the reader endpoint has answered with since the topology changed.
    // Aurora: at most 15 readers. Older versions kept a number here, in the field `named`, which is ignored.
    #[serde(rename = "seenInDNS", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub seen_in_dns: Vec<String>,
    /// Since when a reader is far from its fair share without an episode.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub drift_since: Option<Timestamp>,
    /// The last episode ended without success; drift opens none before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub rest_until: Option<Timestamp>,
    /// The last episode ended without success, and why; until the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gave_up: Option<GaveUp>,
    /// What the fields below belong to: the topology, the due epoch and the generation of the spec. They start again when
    /// one of these changes.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub scope: String,
    /// The recycles of pods whose misplaced connections no change of the topology explains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Pods that were moved since a reader with too few connections last got one.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub missed: u32,
    /// Episodes that ended without success; the rest after each is twice as long.
    #[serde(skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub failures: u32,
    /// What recycles have shown that they cannot cure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incurable: Option<Incurable>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The recycles of pods with misplaced connections that no change of the topology explains, counted on the target: an evicted pod's
/// successor is no new pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// The most such pods that there were at once.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub broken: u32,
    /// The recycles that were taken.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub recycled: u32,
    /// The target's pods when the last was taken.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub fleet: u32,
    /// When the last was taken.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
}

/// What recycles have shown that they cannot cure.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Incurable {
    /// The cause.
    pub cause: IncurableCause,
    /// The recycles that have shown it.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub recycled: u32,
}

/// The cause that recycles do not cure.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncurableCause {
    /// Connections to the wrong role or to no member come back.
    Misplaced,
    /// No recycled pod connects to a reader that has too few connections.
    NeverReceives,
}

/// An episode: from an event or a drift to even connections.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// When it began.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub since: Timestamp,
    /// The recycles that it may take; none before the first measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub budget: Option<u32>,
    /// The recycles that it has taken, of pods that were not broken.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub moved: u32,
    /// Since when it waits for the gate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub waiting_since: Option<Timestamp>,
}

impl Episode {
    /// Creates an episode that starts now.
    #[must_use]
    pub const fn new(since: Timestamp) -> Self {
        Self {
            since,
            budget: None,
            moved: 0,
            waiting_since: None,
        }
    }
}

/// Pods that were taken together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// When they were taken.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    /// When it was seen settled; evidence must be newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub settled: Option<Timestamp>,
    /// The target's pods at that time; another number afterwards, and the batch is not scored.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub fleet: u32,
    /// The pods that it takes.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub pods: u32,
    /// The connections that it moves.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub connections: u32,
    /// The readers that are expected to receive the connections.
    // Older versions kept a number here, in the field `receivers`, which is ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub receiver_names: Vec<String>,
    /// What those held before.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub held: u32,
    /// Whether the gate was asked.
    pub gated: bool,
}

/// How well looks have predicted where pods land.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct GateRecord {
    /// Gated batches that were measured.
    #[schemars(range(min = 0, max = 1000))]
    pub batches: u32,
    /// Of a thousand moved connections, those that landed as foreseen, summed over the batches.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub landed: u32,
    /// What chance alone would have landed, likewise.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub chance: u32,
    /// The gate is not asked before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    pub dropped_until: Option<Timestamp>,
}

impl GateRecord {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why an episode ended without success.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GaveUp {
    /// The reason.
    pub reason: GaveUpReason,
    /// The recycles that it took.
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub moved: u32,
}

/// Why an episode ended without success.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUpReason {
    /// Its recycles were spent.
    BudgetSpent,
    /// Every pod that could help was recycled as often as a pod may be, or may not be recycled.
    PodsExhausted,
    /// DNS named none of the readers that have too few connections any more.
    ReaderUnnamed,
}
