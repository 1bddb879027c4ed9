//! Defines the inputs of a decision.
//!
//! Values only; the caller measures, looks up and counts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::others::OtherConnections;
use crate::topology::{InstanceId, Topology};
use crate::weights::ReaderWeights;
use dbbalance_api::rebalance_state::RebalanceState;

/// The connections of one pod to the target's port, grouped by where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// To members, by instance.
    pub by_instance: BTreeMap<InstanceId, u32>,
    /// To an instance that is not a member any more, or to a former address of a member.
    pub no_member: u32,
    /// To addresses that were never a member's: a proxy, a mesh, another database.
    pub unknown: u32,
    /// Sockets to a member, or to a former one, that the server has closed or does not answer any more.
    pub dead: u32,
    /// Whether every connection to the writer, and to the writer before it, was opened after DNS had followed the failover and
    /// caches had ended: each pool then asked anew, and counts that are right are so in their roles.
    pub reopened: bool,
}

impl Holdings {
    /// Returns the number of connections to one instance.
    #[must_use]
    pub fn connections_to(&self, instance: &InstanceId) -> u32 {
        self.by_instance.get(instance).copied().unwrap_or(0)
    }

    /// Returns whether at least one connection leads to a present or former member.
    #[must_use]
    pub fn is_attributable(&self) -> bool {
        self.no_member > 0 || self.by_instance.values().any(|n| *n > 0)
    }
}

/// A counted pod as the balance sees it.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, not a state
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// UID.
    pub id: String,
    /// The node that it runs on, to match lookups made through that node's cache.
    pub node: Option<String>,
    /// The connections that it holds; `None` if it could not be read: unknown, never zero.
    pub holds: Option<Holdings>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// Its Ready condition.
    pub ready: bool,
    /// Whether it is being recycled and has not come back.
    pub in_flight: bool,
    /// When its containers started, if that is known. Used with a narrowed name only: its process may keep what it
    /// looked up then.
    pub started: Option<Timestamp>,
    /// When its last recycle was completed.
    pub last_recycled: Option<Timestamp>,
    /// How often it was recycled in this episode.
    pub recycles: u32,
    /// Whether it may be recycled: it is not ignored, has not failed, and belongs to this policy.
    pub movable: bool,
    /// Whether its connections are older than the last failover, by its stamp. With both pools, where counts alone
    /// cannot distinguish the roles, such connections are not trusted unless they are [`Holdings::reopened`].
    pub before_failover: bool,
    /// Whether the pod is stale: a change of the topology since explains misplaced connections.
    pub stale: bool,
}

impl PodView {
    /// Whether a change of the topology explains that the pod's connections are misplaced.
    #[must_use]
    pub const fn is_explained(&self) -> bool {
        self.before_failover || self.stale
    }
}

/// One answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAnswer {
    /// When it was answered.
    pub at: Timestamp,
    /// The instance whose address was answered, including a former member; `None` if the lookup failed or the address
    /// is unknown.
    pub instance: Option<InstanceId>,
    /// The node through whose own cache the lookup was made; `None` if through the caches that all pods share.
    pub via: Option<String>,
}

/// The pools that each pod of the target holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pools {
    /// Only to the reader endpoint.
    Reader,
    /// Only to the cluster endpoint.
    Writer,
    /// Both, with the most connections of each in a pod. Roles are inferred from counts.
    Both {
        /// Connections of a pod's reader pools.
        reader: u32,
        /// Connections of a pod's writer pools.
        writer: u32,
    },
}

impl Pools {
    pub(super) const fn has_reader_pools(self) -> bool {
        !matches!(self, Self::Writer)
    }

    pub(super) const fn has_writer_pools(self) -> bool {
        !matches!(self, Self::Reader)
    }
}

/// How soon after the decision a recycled pod asks DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Within 10 s (Signal, HTTP, Annotate): the pod gets what DNS answers now. Gated.
    Prompt,
    /// Later, each pod at its own time (Evict): current answers do not predict what it gets. Not gated. Because the
    /// starts are spread, each pod is an independent draw, so a batch takes all that is free.
    Slow {
        /// Whether there is a resolver that can show if DNS serves the readers at all.
        resolver: bool,
    },
    /// Within 10 s, but there is no resolver to ask. Not gated. A batch is a single draw, so it is small.
    Unseen,
}

/// The name that pods look up, where it can be narrowed to the reader that lacks connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameLead<'a> {
    /// The reader that it was narrowed to for this target; `None` while it leads to Aurora's own answer.
    pub narrowed_to: Option<&'a InstanceId>,
    /// Whether all caches follow: pods that look it up now connect to that reader.
    pub is_told: bool,
}

/// All inputs of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The time of the reconcile.
    pub now: Timestamp,
    /// The settled topology.
    pub topology: &'a Topology,
    /// Readers that are being deleted: they are not in the topology, and DNS may still name them.
    pub leaving: &'a BTreeSet<InstanceId>,
    /// The writer before the last failover, if it is known.
    pub previous_writer: Option<&'a InstanceId>,
    /// By which weights the readers share the connections.
    pub weights: &'a ReaderWeights,
    /// What other targets and policies hold of the readers.
    pub others: &'a OtherConnections,
    /// What each pod of the target holds.
    pub pools: Pools,
    /// The target's counted pods.
    pub pods: &'a [PodView],
    /// Recent answers of the reader endpoint.
    pub looks: &'a [EndpointAnswer],
    /// Recent answers of the cluster endpoint.
    pub writer_looks: &'a [EndpointAnswer],
    /// How many pods may be taken now: `maxUnavailable` less the pods that are not Ready or in flight, limited by the
    /// connection budget.
    pub free: usize,
    /// Whether the pods taken now are the canary, which shows that the method works. It goes as soon as DNS is more
    /// likely than chance to lead it to the right reader, because all others wait for it.
    pub canary: bool,
    /// When the last event happened that calls for even connections: an epoch of the target opened, a rollout of it
    /// ended, or a user set a token. Each event opens one episode.
    pub event: Option<Timestamp>,
    /// How soon recycled pods ask DNS.
    pub reach: Reach,
    /// The name that is narrowed for the moves; `None` waits for what Aurora's reader endpoint answers by itself.
    pub name: Option<NameLead<'a>>,
    /// Tolerances and limits.
    pub settings: &'a Settings,
    /// The state that the last decision left.
    pub memory: &'a RebalanceState,
    /// Names the topology, the due epoch and the spec: what was found incurable is tried again when it changes.
    pub scope: &'a str,
    /// Whether a failover or the removal of a reader is so recent that pods may have found the old member since.
    pub recent_change: bool,
}

/// Tolerances and limits. The defaults come from the simulation in `tests/simulator`, which checks them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How far above the fair share a reader may be, in percent.
    pub tolerance_percent: u32,
    /// How much of the fair share a reader must have, in percent. An upper bound alone does not notice an idle new
    /// reader from eight readers on.
    pub floor_percent: u32,
    /// The percentage of pods that must be read before anything is decided.
    pub read_percent: u32,
    /// How many of the newest lookups the gate uses. Eight through several sockets reach both of two caches in 99 %
    /// of the cases.
    pub looks: usize,
    /// The age from which a lookup says nothing about the next answer.
    pub look_age: SignedDuration,
    /// How long the gate requires every lookup to agree: 20 s, or 40 s where at most two caches are known, because
    /// agreement comes soon there.
    pub patience: SignedDuration,
    /// The time after that over which the required share falls to a little better than chance.
    pub yielding: SignedDuration,
    /// How long a recycled pod is left alone: the DNS cache of its process (JVM: 30 s) and 5 s.
    pub pod_cooldown: SignedDuration,
    /// The most recycles of one pod in an episode.
    pub max_recycles: u32,
    /// The least time after which a pod with broken connections is recycled again; the last time it may be, after
    /// `pod_cooldown`.
    pub redo: SignedDuration,
    /// The age from which evidence is not acted on.
    pub evidence_age: SignedDuration,
    /// How long a batch may take to come back before it is measured as it is.
    pub settle: SignedDuration,
    /// How long a reader may go unnamed by any lookup before the gate is dropped.
    pub naming: SignedDuration,
    /// The percentage of the fair share above which a reader, for `drift`, opens an episode.
    pub drift_percent: u32,
    /// How long a reader must be above `drift_percent`.
    pub drift: SignedDuration,
    /// How long the gate is not used after it predicted no better than chance, and how long no drift opens an episode
    /// after one ended without success.
    pub rest: SignedDuration,
    /// Number of batches after which the gate's own success is rated.
    pub judged_batches: u32,
    /// Whether misplaced or uneven connections count without a change of the topology.
    pub drift_enabled: bool,
    /// Connections to the other role that each pod may hold.
    pub strays: Strays,
}

/// Connections to the other role that each pod may hold, by where they lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// Connections of a pod with a reader pool to the writer.
    pub to_writer: u32,
    /// Connections of a pod with a writer pool to readers.
    pub to_readers: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tolerance_percent: 15,
            floor_percent: 50,
            read_percent: 90,
            looks: 8,
            look_age: SignedDuration::from_secs(2),
            patience: SignedDuration::from_secs(20),
            yielding: SignedDuration::from_secs(20),
            pod_cooldown: SignedDuration::from_secs(35),
            max_recycles: 3,
            redo: SignedDuration::from_secs(3),
            evidence_age: SignedDuration::from_secs(10),
            settle: SignedDuration::from_secs(30),
            naming: SignedDuration::from_secs(120),
            drift_percent: 130,
            drift: SignedDuration::from_secs(300),
            rest: SignedDuration::from_secs(3600),
            judged_batches: 4,
            drift_enabled: true,
            strays: Strays::default(),
        }
    }
}

impl Settings {
    /// Returns the defaults for a user's tolerance and, where it is known, the number of DNS caches.
    #[must_use]
    pub fn new(tolerance_percent: u32, caches: Option<usize>) -> Self {
        let few = caches.is_some_and(|n| n <= 2);
        Self {
            tolerance_percent,
            patience: SignedDuration::from_secs(if few { 40 } else { 20 }),
            ..Self::default()
        }
    }
}
