//! What a decision is made from.
//!
//! Values only; the caller measures, looks up and counts.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::topology::{InstanceId, Topology};
use dbbalance_api::rebalance_state::RebalanceState;

/// The connections of one pod to the target's port, by where they lead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// To members, by instance.
    pub by_instance: BTreeMap<InstanceId, u32>,
    /// To an instance that has left, or to an address that a member once had.
    pub no_member: u32,
    /// To addresses that were never a member's: a proxy, a mesh, another database.
    pub unknown: u32,
}

impl Holdings {
    /// Connections to one instance.
    #[must_use]
    pub fn connections_to(&self, instance: &InstanceId) -> u32 {
        self.by_instance.get(instance).copied().unwrap_or(0)
    }

    /// Whether at least one connection leads to what is or was a member.
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
    /// The node it runs on, to match looks made through that node's cache.
    pub node: Option<String>,
    /// What it holds; `None` when it could not be read: unknown, never zero.
    pub holds: Option<Holdings>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// Its Ready condition.
    pub ready: bool,
    /// It is being recycled and has not come back.
    pub in_flight: bool,
    /// When its last recycle was done.
    pub last_recycled: Option<Timestamp>,
    /// How often it was recycled in this episode.
    pub recycles: u32,
    /// Whether it may be recycled at all: not ignored, not failed, not anybody else's.
    pub movable: bool,
    /// Its connections are older than the last failover, by its stamp. With both pools, where counts
    /// alone cannot tell the roles apart, such connections are not trusted.
    pub before_failover: bool,
}

/// One answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAnswer {
    /// When.
    pub at: Timestamp,
    /// The instance whose address was answered, one that has left included; `None`: the look-up
    /// failed, or nobody knows the address.
    pub instance: Option<InstanceId>,
    /// The node through whose own cache it was made; `None`: through the caches that all pods share.
    pub via: Option<String>,
}

/// The pools that each pod of the target holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pools {
    /// Only to the reader endpoint.
    Reader,
    /// Only to the cluster endpoint.
    Writer,
    /// Both, with the most connections of each in a pod. Judged by counts.
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
    /// Within 10 s (Signal, HTTP, Annotate): what DNS answers now is what it will get. Gated.
    Prompt,
    /// Later, each at its own time (Evict): answers of now say nothing. Not gated; the spread of
    /// starts makes each pod a draw of its own, so a batch takes all that is free.
    Slow {
        /// Whether there is a resolver to ask if DNS knows the readers at all.
        resolver: bool,
    },
    /// Within 10 s, but there is no resolver to ask. Not gated; a batch is one draw, so it is small.
    Unseen,
}

/// All that a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The time of the pass.
    pub now: Timestamp,
    /// The settled topology.
    pub topology: &'a Topology,
    /// The writer before the last failover, if it is known.
    pub previous_writer: Option<&'a InstanceId>,
    /// What each pod of the target holds.
    pub pools: Pools,
    /// The target's counted pods.
    pub pods: &'a [PodView],
    /// Recent answers of the reader endpoint.
    pub looks: &'a [EndpointAnswer],
    /// Recent answers of the cluster endpoint.
    pub writer_looks: &'a [EndpointAnswer],
    /// How many pods may be taken now: what `maxUnavailable` leaves after those not Ready and those in
    /// flight, and no more than the connection budget has room for.
    pub free: usize,
    /// Whether what is taken now is the canary, which shows that the method works: it goes as soon as DNS is
    /// more likely than by chance to lead it well, as all others wait for it.
    pub canary: bool,
    /// When the last thing happened that calls for even connections: an epoch of the target opened, a
    /// rollout of it ended, a user's token. Each event opens an episode once.
    pub event: Option<Timestamp>,
    /// How soon recycled pods ask DNS.
    pub reach: Reach,
    /// Tolerances and limits.
    pub settings: &'a Settings,
    /// What the last decision left.
    pub memory: &'a RebalanceState,
}

/// Tolerances and limits. The defaults are those of the simulation in `tests/simulator`, which guards them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How far above the fair share a reader may be, in percent.
    pub tolerance_percent: u32,
    /// A reader must have this much of the fair share, in percent: an upper bound alone is blind to an
    /// idle new reader from eight readers on.
    pub floor_percent: u32,
    /// Pods in percent that must be read before anything is decided.
    pub read_percent: u32,
    /// Looks that the gate judges by, the newest first. Eight through several sockets see both of two
    /// caches in 99 % of the cases.
    pub looks: usize,
    /// A look older than this says nothing about the next answer.
    pub look_age: SignedDuration,
    /// For so long the gate wants every look to agree. 20 s; 40 s where at most two caches are known,
    /// as agreement comes soon there.
    pub patience: SignedDuration,
    /// Over so long the need then falls to a little better than chance.
    pub yielding: SignedDuration,
    /// A pod is left alone for so long: the DNS cache of its process (JVM: 30 s) and 5 s.
    pub pod_cooldown: SignedDuration,
    /// Recycles of a pod in an episode.
    pub max_recycles: u32,
    /// A pod with broken connections is taken again no sooner than this.
    pub redo: SignedDuration,
    /// Evidence older than this is not acted on.
    pub evidence_age: SignedDuration,
    /// A batch that is not back by then is measured as it is.
    pub settle: SignedDuration,
    /// A reader that no look has named for so long drops the gate.
    pub naming: SignedDuration,
    /// A reader above this much of the fair share, in percent, for `drift`, opens an episode.
    pub drift_percent: u32,
    /// For how long.
    pub drift: SignedDuration,
    /// For so long no gate is asked after it predicted no better than chance, and no drift opens an
    /// episode after one ended without success.
    pub rest: SignedDuration,
    /// Batches after which the gate's own success is judged.
    pub judged_batches: u32,
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
        }
    }
}

impl Settings {
    /// The defaults for a user's tolerance and a number of DNS caches, where that is known.
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
