//! Defines the result of a decision: the verdict with its figures, the pods to recycle, and why no more are.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::shares::round_to_permille;
use crate::topology::InstanceId;
use dbbalance_api::rebalance_state::{
    GaveUp, GaveUpReason, Incurable, IncurableCause, RebalanceState,
};
use dbbalance_api::status::LimitedBy;

/// The result of a decision: what to do, report and remember.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, not a state
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Whether the connections are where they should be.
    pub verdict: BalanceVerdict,
    /// UIDs of pods with connections to a wrong role or to an instance that is not a member, those not Ready first.
    /// Exempt from `maxUnavailable` where the method is; the caller applies the storm cap.
    pub urgent: Vec<String>,
    /// Whether there are such pods that can still be helped.
    pub has_open_sweep: bool,
    /// UIDs of those among them whose misplaced connections no change of the topology explains: the caller counts the ones it takes with
    /// [`count_repeats`](super::count_repeats).
    pub repeats: Vec<String>,
    /// UIDs of pods to move for the rebalance; never more than are free.
    pub moves: Vec<String>,
    /// Whether nothing is left for this target to do: its connections are where they should be, and no move of its own
    /// pods would make the cluster's shares more even. Others may still have to move theirs.
    pub is_done: bool,
    /// The reader that the name of a narrowed move must lead to now, until its pods have moved.
    pub receiver: Option<InstanceId>,
    /// Why no more is done now.
    pub wait: Option<Wait>,
    /// When to decide again at the latest; `None` if only when something changes.
    pub wake: Option<Timestamp>,
    /// Whether a new measurement of the pods is needed now, before the heartbeat.
    pub measure: bool,
    /// Whether lookups are needed every second until the next decision.
    pub look: bool,
    /// Readers that hold too little and that no lookup has named for too long: a hint for the user.
    pub unnamed: Vec<InstanceId>,
    /// The state to remember. Must be written before the pods are recycled, or at the latest together with it.
    pub memory: RebalanceState,
}

/// Whether the connections are where they should be.
#[derive(Clone, Debug, PartialEq)]
pub enum BalanceVerdict {
    /// Every reader is within the band, and nothing is broken.
    Balanced {
        /// The figures.
        figures: BalanceFigures,
        /// What prevents the requested tolerance.
        limited_by: Option<LimitedBy>,
    },
    /// A reader is outside the band, or connections are broken.
    Unbalanced {
        /// The figures.
        figures: BalanceFigures,
    },
    /// The evidence is inconclusive.
    Unknown {
        /// Why.
        reason: Unknown,
    },
}

impl BalanceVerdict {
    /// Returns the figures; `None` if the verdict is `Unknown`.
    #[must_use]
    pub const fn figures(&self) -> Option<&BalanceFigures> {
        match self {
            Self::Balanced { figures, .. } | Self::Unbalanced { figures } => Some(figures),
            Self::Unknown { .. } => None,
        }
    }

    /// Returns whether the verdict is `Balanced`.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        matches!(self, Self::Balanced { .. })
    }
}

/// Why the evidence is inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The target has no counted pods.
    NoPods,
    /// Too few pods could be read.
    EvidencePartial {
        /// Pods read.
        read: usize,
        /// Pods counted.
        pods: usize,
        /// The least percentage of pods that must be read.
        need: u32,
    },
    /// There are connections, but none leads to a member: a proxy, a pooler or a mesh is in between.
    EvidenceUnattributable {
        /// Number of connections.
        connections: u32,
    },
    /// No pod holds a connection.
    NoConnections,
}

impl Unknown {
    /// Returns the reason as conditions name it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoPods => "NoPods",
            Self::EvidencePartial { .. } => "EvidencePartial",
            Self::EvidenceUnattributable { .. } => "EvidenceUnattributable",
            Self::NoConnections => "NoConnections",
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPods => f.write_str("there are no pods"),
            Self::EvidencePartial { read, pods, need } => {
                write!(f, "{read} of {pods} pods read, {need} % are needed")
            }
            Self::EvidenceUnattributable { connections } => write!(
                f,
                "{connections} connections, and none leads to a member of the cluster: a proxy, a pooler or a service mesh is in between"
            ),
            Self::NoConnections => f.write_str("no pod holds a connection"),
        }
    }
}

/// The connections of one instance, and what it should have.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceShare {
    /// The instance.
    pub instance: InstanceId,
    /// Number of connections.
    pub connections: u32,
    /// Share in thousandths.
    pub permille: u32,
    /// The weight by which its share is computed: 1 for each if shares are equal.
    pub weight: u32,
    /// The fair share, in connections.
    pub fair: f64,
    /// The least that it should hold.
    pub lo: f64,
    /// The most that it should hold.
    pub hi: f64,
}

/// Connections that are not where they should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misplaced {
    /// Connections of writer pools to readers, and of reader pools to the writer while readers serve.
    pub wrong_role: u32,
    /// Connections to instances that are not members any more.
    pub no_member: u32,
    /// Connections above the fair share, outside the band.
    pub excess: u32,
}

impl Misplaced {
    /// Returns whether there are none.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.wrong_role == 0 && self.no_member == 0 && self.excess == 0
    }
}

/// The figures that the verdict rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceFigures {
    /// The instances among which the target's pools are spread, in the topology's order: the readers, or the writer
    /// where it is the only right place.
    pub shares: Vec<InstanceShare>,
    /// The smallest number of connections that can be moved: those of the smallest pod.
    pub unit: u32,
    /// Readers that hold too little.
    pub under: Vec<InstanceId>,
    /// The least number of pods that must move.
    pub least: u32,
    /// Connections that are not where they should be.
    pub misplaced: Misplaced,
    /// Number of pods with connections to a wrong role or to an instance that is not a member.
    pub broken_pods: usize,
    /// Connections of other targets and policies that are among the shares.
    pub others: u32,
    /// The requested tolerance, in percent.
    pub tolerance_percent: u32,
    /// Pods read.
    pub read: usize,
    /// Pods counted.
    pub pods: usize,
}

impl BalanceFigures {
    /// Returns whether every instance should have the same.
    #[must_use]
    pub fn has_equal_shares(&self) -> bool {
        let first = self.shares.first().map(|s| s.weight);
        self.shares.iter().all(|s| Some(s.weight) == first)
    }

    /// Returns the least and the most that each instance should hold; `None` if that differs.
    #[must_use]
    pub fn common_band(&self) -> Option<(f64, f64)> {
        let first = self.shares.first().filter(|_| self.has_equal_shares())?;
        Some((first.lo, first.hi))
    }

    /// Returns the percentage of the connections that an instance should have.
    #[must_use]
    pub fn wanted_percent(&self, share: &InstanceShare) -> u32 {
        let sum = self.shares.iter().map(|s| s.weight);
        let sum = sum.fold(0_u32, u32::saturating_add);
        (round_to_permille(share.weight, sum) + 5) / 10
    }
}

impl fmt::Display for BalanceFigures {
    /// Formats the figures as in `shares 34/33/33 %, within 15 %, 20 of 20 pods read`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.others > 0 {
            "the cluster's shares "
        } else {
            "shares "
        })?;
        for (i, share) in self.shares.iter().enumerate() {
            let slash = if i == 0 { "" } else { "/" };
            write!(f, "{slash}{}", (share.permille + 5) / 10)?;
        }
        if !self.has_equal_shares() {
            f.write_str(" % of ")?;
            for (i, share) in self.shares.iter().enumerate() {
                let slash = if i == 0 { "" } else { "/" };
                write!(f, "{slash}{}", self.wanted_percent(share))?;
            }
        }
        let inside = |s: &InstanceShare| {
            f64::from(s.connections) <= s.hi && f64::from(s.connections) >= s.lo
        };
        let inside = self.shares.iter().all(inside);
        let word = if inside { "within" } else { "not within" };
        write!(f, " %, {word} {} %", self.tolerance_percent)?;
        for (count, what) in [
            (self.misplaced.wrong_role, "to the wrong role"),
            (self.misplaced.no_member, "to no member"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        if self.others > 0 {
            write!(f, ", {} connections of others included", self.others)?;
        }
        write!(f, ", {} of {} pods read", self.read, self.pods)
    }
}

/// The reason why no more is done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Wait {
    /// The evidence is too old, or older than the last recycle.
    MeasureFirst {
        /// Number of pods with evidence that can be acted on.
        usable: usize,
        /// Pods counted.
        pods: usize,
    },
    /// Recycled pods have not come back yet.
    Settling {
        /// How many are in flight.
        in_flight: usize,
        /// When the batch is measured as it is; `None` if the pods' own time-outs decide.
        until: Option<Timestamp>,
    },
    /// Broken pods wait until DNS resolves to the right member.
    DnsDisagrees {
        /// Lookups that resolve to the right member.
        agree: usize,
        /// Lookups that named an instance.
        of: usize,
        /// Lookups that must all agree.
        need: usize,
    },
    /// Broken pods were recycled recently, or as often as they may be.
    Broken {
        /// Pods that were recycled as often as they may be.
        exhausted: usize,
        /// Pods that were recycled recently.
        recent: usize,
    },
    /// DNS does not serve the readers that hold too little often enough.
    GateClosed {
        /// Lookups in thousandths that name such a reader.
        share: u32,
        /// Lookups in thousandths that must.
        need: u32,
        /// Since when the gate is closed; `need` falls with time.
        since: Timestamp,
    },
    /// The name that pods look up does not lead to the reader that lacks connections yet.
    NotTold {
        /// The reader.
        receiver: InstanceId,
        /// Whether the name is narrowed to it, and caches have to follow.
        is_narrowed: bool,
    },
    /// No lookup has ever named the readers that hold too little.
    NeverNamed {
        /// The readers.
        readers: Vec<InstanceId>,
        /// When the gate is dropped.
        until: Timestamp,
    },
    /// Every pod that could help was recycled recently.
    PodCooldown {
        /// Number of such pods.
        pods: usize,
        /// When the first may be recycled again.
        until: Timestamp,
    },
    /// The shares will be even if what others have in flight lands where it is expected to.
    OthersMoving,
    /// Recycles have shown that they do not help.
    Incurable(Incurable),
    /// No pod is free: pods are not Ready, or the connection budget has no room.
    NothingFree,
    /// The last episode ended without success.
    GaveUp(GaveUp),
    /// No event has opened an episode.
    NotTriggered {
        /// Since when a reader is far from its fair share.
        drift_since: Option<Timestamp>,
        /// When that opens an episode.
        opens: Option<Timestamp>,
    },
}

impl Wait {
    /// Returns the reason in one word.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::MeasureFirst { .. } => "MeasureFirst",
            Self::Settling { .. } => "Settling",
            Self::DnsDisagrees { .. } => "DNSDisagrees",
            Self::Broken { .. } => "BrokenPods",
            Self::GateClosed { .. } => "GateClosed",
            Self::NotTold { .. } => "NotTold",
            Self::NeverNamed { .. } => "NeverNamed",
            Self::PodCooldown { .. } => "PodCooldown",
            Self::OthersMoving => "OthersMoving",
            Self::Incurable(_) => "Incurable",
            Self::NothingFree => "NothingFree",
            Self::GaveUp(GaveUp {
                reason: GaveUpReason::BudgetSpent,
                ..
            }) => "EpisodeBudgetSpent",
            Self::GaveUp(GaveUp {
                reason: GaveUpReason::ReaderUnnamed,
                ..
            }) => "ReaderUnnamed",
            Self::GaveUp(GaveUp {
                reason: GaveUpReason::PodsExhausted,
                ..
            }) => "PodsExhausted",
            Self::NotTriggered { .. } => "NotTriggered",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeasureFirst { usable, pods } => write!(
                f,
                "{usable} of {pods} pods have evidence newer than the last recycle and than 10 s"
            ),
            Self::Settling { in_flight, until } => {
                write!(f, "{in_flight} recycled pods are not back")?;
                match until {
                    Some(until) => write!(f, "; measured as it is at {}", round_to_second(*until)),
                    None => Ok(()),
                }
            }
            Self::DnsDisagrees { agree, of, need } => write!(
                f,
                "{agree} of {of} look-ups lead to the right member, all of at least {need} must"
            ),
            Self::Broken { exhausted, recent } => write!(
                f,
                "of the pods with broken connections {recent} were recycled just now, {exhausted} as often as a pod may be"
            ),
            Self::GateClosed { share, need, since } => write!(
                f,
                "{} % of the look-ups name a reader with too few connections, {} % are needed; waiting since {}",
                (share + 5) / 10,
                (need + 5) / 10,
                round_to_second(*since)
            ),
            Self::NotTold {
                receiver,
                is_narrowed: true,
            } => write!(
                f,
                "the name is narrowed to {receiver}, and not all caches follow yet"
            ),
            Self::NotTold {
                receiver,
                is_narrowed: false,
            } => write!(f, "the name is to be narrowed to {receiver} first"),
            Self::NeverNamed { readers, until } => {
                f.write_str("no look-up has named ")?;
                for (i, reader) in readers.iter().enumerate() {
                    write!(f, "{}{reader}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, "; waiting for it until {}", round_to_second(*until))
            }
            Self::PodCooldown { pods, until } => write!(
                f,
                "{pods} pods that could help were recycled just now, the first may go again at {}",
                round_to_second(*until)
            ),
            Self::OthersMoving => f.write_str(
                "other targets of the cluster are moving what the readers lack; they are measured first",
            ),
            Self::Incurable(Incurable {
                cause: IncurableCause::Misplaced,
                recycled,
            }) => write!(
                f,
                "misplaced connections came back after {recycled} recycles, so no pod is recycled for them until the topology, the policy or a token changes; if the app needs them, allow them by pools[].strayConnections, or declare the pool that they belong to"
            ),
            Self::Incurable(Incurable {
                cause: IncurableCause::NeverReceives,
                recycled,
            }) => write!(
                f,
                "none of {recycled} recycled pods connected to a reader that has too few connections, so no other is recycled until the topology, the policy or a token changes; do the pools use the cluster's reader endpoint, and not a custom one?"
            ),
            Self::NothingFree => f.write_str("no pod is free to be taken"),
            Self::GaveUp(GaveUp {
                reason: GaveUpReason::BudgetSpent,
                moved,
            }) => write!(f, "the budget of the episode is spent: {moved} recycles"),
            Self::GaveUp(GaveUp {
                reason: GaveUpReason::ReaderUnnamed,
                moved,
            }) => write!(
                f,
                "DNS does not lead to any reader that has too few connections, so a recycle cannot help; check whether it serves; {moved} recycles"
            ),
            Self::GaveUp(GaveUp {
                reason: GaveUpReason::PodsExhausted,
                moved,
            }) => write!(
                f,
                "no pod is left that could help: recycled as often as a pod may be, or not to be recycled at all; {moved} recycles"
            ),
            Self::NotTriggered {
                opens: Some(at), ..
            } => write!(
                f,
                "uneven without a change of the topology; taken up at {} if it stays",
                round_to_second(*at)
            ),
            Self::NotTriggered { .. } => f.write_str("uneven without a change of the topology"),
        }
    }
}

/// Rounds to whole seconds, for messages.
fn round_to_second(at: Timestamp) -> Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}

/// Returns `at` plus `while_`, saturating.
pub(super) fn add_saturating(at: Timestamp, while_: SignedDuration) -> Timestamp {
    at.saturating_add(while_).unwrap_or(Timestamp::MAX)
}
