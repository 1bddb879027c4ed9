//! What policies want of a cluster's endpoints, and what a cluster wants to be looked up for them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::question::DnsQuestion;
use dbbalance_api::spec::Endpoint;

/// Who wants a cluster's endpoints to be looked up: a policy. Each namespace has its share of the look-ups.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookRequester {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's name.
    pub policy: String,
}

/// How soon looks are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookUrgency {
    /// A step may want them soon: they are made with what is left of the rate.
    Expected,
    /// An epoch or a step is held until they are made.
    Awaited,
}

/// Looks that a policy wants of its cluster's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookRequest {
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// How soon.
    pub urgency: LookUrgency,
    /// When they are wanted no more, unless the policy asks again.
    pub until: Timestamp,
}

/// What a cluster wants to be looked up now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedBatch {
    /// Whether something is held until then.
    pub(super) urgency: LookUrgency,
    /// The endpoints; at least one.
    pub(super) questions: Vec<DnsQuestion>,
    /// The namespaces whose policies want it; `None`: the sampler itself.
    pub(super) namespaces: BTreeSet<Option<String>>,
}
