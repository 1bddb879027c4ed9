//! Cases: a fleet, a change, a world that it meets, and how one goes about it.

use crate::dns::Millis;
use dbbalance_core::balance::{Reach, Settings};

/// Where pods ask DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caches {
    /// So many that all pods share, picked at random by each look-up.
    Shared(usize),
    /// One a node.
    NodeLocal,
}

/// Where the operator asks DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUps {
    /// From its own node.
    Own,
    /// In a pod of each node.
    InPod,
}

/// The cache in a pod's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessCache {
    /// None.
    None,
    /// 30 s, empty at first, as nobody asks between two recycles.
    Cold,
    /// 30 s, and always asked.
    Warm,
}

/// How pods are taken.
#[allow(clippy::large_enum_variant)] // a few dozen cases in all
#[derive(Clone, Debug)]
pub enum RecycleStrategy {
    /// Not at all.
    Nothing,
    /// A Deployment's rolling update, 25 % surge and 25 % unavailable.
    RollingRestart,
    /// Every pod once, so many at a time, without looking.
    EvictBlind(usize),
    /// Every pod at once.
    SignalAll,
    /// Every pod once, one each so often.
    SignalBlind(Millis),
    /// One random pod after another, until each reader's total is right.
    Totals,
    /// By the rule.
    Steered {
        /// How soon pods ask.
        reach: Reach,
        /// Its tolerances and limits.
        settings: Settings,
        /// Where the operator asks.
        look_ups: LookUps,
        /// How the name is narrowed; `None`: the rule waits for what the authority answers.
        landing: Option<Landing>,
    },
}

/// How the name that pods ask is narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// `spec.dns.steering.holdSeconds`.
    pub hold_seconds: i64,
    /// The caches keep it, as those of an `ExternalName` Service behind EKS's Corefile; a server block of its own keeps
    /// nothing.
    pub is_cached: bool,
}

/// One case.
#[derive(Clone, Debug)]
pub struct SimulationCase {
    /// In the table.
    pub name: String,
    /// Pods.
    pub pods: usize,
    /// Connections of a pod.
    pub connections: u32,
    /// Readers before.
    pub before: usize,
    /// Readers after.
    pub after: usize,
    /// The pods have just been through a rolling restart, which nobody counts.
    pub is_rolled: bool,
    /// Where pods ask.
    pub caches: Caches,
    /// Each connection looks up for itself.
    pub look_up_each: bool,
    /// The longest that a pool takes to reopen.
    pub reopen: Millis,
    /// The new readers are not answered before this.
    pub late: Millis,
    /// Half of the answers are from before.
    pub half_stale: bool,
    /// The cache in the process.
    pub process: ProcessCache,
    /// The weights of the readers; those that are not given are 100.
    pub weights: Vec<i32>,
    /// How pods are taken.
    pub strategy: RecycleStrategy,
}

impl SimulationCase {
    /// 20 pods of 10 connections, two readers become three, two `CoreDNS` caches, one look-up a pool.
    #[must_use]
    pub fn key(name: &str, strategy: RecycleStrategy) -> Self {
        Self {
            name: name.to_owned(),
            pods: 20,
            connections: 10,
            before: 2,
            after: 3,
            is_rolled: false,
            caches: Caches::Shared(2),
            look_up_each: false,
            reopen: 2_000,
            late: 0,
            half_stale: false,
            process: ProcessCache::None,
            weights: vec![],
            strategy,
        }
    }

    /// 25 %, rounded down, at least one.
    #[must_use]
    pub fn max_unavailable(&self) -> usize {
        (self.pods / 4).max(1)
    }

    /// Two pods a node.
    #[must_use]
    pub fn nodes(&self) -> usize {
        (self.pods / 2).max(1)
    }
}

impl RecycleStrategy {
    /// The rule with its defaults, gated, looked up by the operator.
    #[must_use]
    pub fn recommended() -> Self {
        Self::gated(Settings::default())
    }

    /// Gated, with other settings.
    #[must_use]
    pub fn gated(settings: Settings) -> Self {
        Self::Steered {
            reach: Reach::Prompt,
            settings,
            look_ups: LookUps::Own,
            landing: None,
        }
    }

    /// The rule with a narrowed name. By eviction the hold is long enough for two batches.
    #[must_use]
    pub fn narrowed(reach: Reach, is_cached: bool) -> Self {
        let is_slow = matches!(reach, Reach::Slow { .. });
        Self::Steered {
            reach,
            settings: Settings::default(),
            look_ups: LookUps::Own,
            landing: Some(Landing {
                hold_seconds: if is_slow { 120 } else { 60 },
                is_cached,
            }),
        }
    }

    /// The rule without a resolver: evidence alone.
    #[must_use]
    pub fn evidence_only() -> Self {
        Self::Steered {
            reach: Reach::Unseen,
            settings: Settings::default(),
            look_ups: LookUps::Own,
            landing: None,
        }
    }

    /// One look a second instead of eight.
    #[must_use]
    pub fn one_look() -> Self {
        Self::gated(Settings {
            looks: 1,
            ..Settings::default()
        })
    }

    /// All looks must agree, for ever.
    #[must_use]
    pub fn all_agree() -> Self {
        Self::gated(Settings {
            patience: jiff::SignedDuration::from_hours(24),
            ..Settings::default()
        })
    }
}
