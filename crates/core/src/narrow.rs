//! Decides when a name that pods look up is narrowed to the reader that lacks connections, and when it is widened to
//! Aurora's own answer again.
//!
//! Narrowed, the name leads every new connection to one instance, so each rule here is on the side of widening
//! (docs/adr/0020).

mod decide;
mod memory;

use std::fmt;

use jiff::Timestamp;

pub use decide::{
    LONGEST_HOLD, NarrowingInputs, NarrowingRefusal, NarrowingRules, NarrowingStops, TOLD_LOOKS,
    TOLD_SPAN, WantedLead, check_claim, check_narrowing, decide_narrowing, find_claim,
    find_own_claim, is_told,
};
pub use memory::NarrowingMemory;

use crate::stamp::PolicyMark;
use crate::topology::InstanceId;

/// What stands in the cluster under the name of `spec.dns.steering`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedName {
    /// It has not been read yet, or the last read failed.
    Unread,
    /// There is no such Service, or no such slice.
    Missing,
    /// The Service has another type: not `ExternalName`, or with a slice, not headless.
    WrongType,
    /// The Service selects pods: the endpoints controller writes its slices.
    HasSelector {
        /// Who has narrowed it nevertheless.
        claim: Option<NarrowClaim>,
    },
    /// Another slice than the operator's belongs to the Service; DNS merges both.
    ForeignSlice {
        /// Who has narrowed the operator's.
        claim: Option<NarrowClaim>,
    },
    /// The operator was not granted the object, or the chart does not list it.
    NotAllowed,
    /// It is as it should be.
    Found {
        /// Where it leads.
        led: Led,
        /// Who has narrowed it, by the annotation `dbbalance.io/narrowed`; `None` without one.
        claim: Option<NarrowClaim>,
    },
}

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Led {
    /// To Aurora's own answer.
    Aurora,
    /// To one instance alone.
    Instance(InstanceId),
    /// To something else: another host name, or addresses that are no member's.
    Unknown,
}

/// One look-up of a name that may be narrowed, over a new socket, so that each asks a name server anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLook {
    /// When it was asked.
    pub at: Timestamp,
    /// Where the answer leads; `None` if the look-up failed. An answer that came by way of Aurora's reader endpoint is
    /// [`Led::Aurora`], whichever instance it named: by chance it may be the right one. With an `ExternalName` Service that
    /// shows in the chain of CNAMEs; a narrowed slice is answered without any.
    pub led: Option<Led>,
    /// How long the answer may be cached, in whole seconds.
    pub ttl: u32,
}

/// Who has narrowed a name, for which run, to which instance and when: the annotation `dbbalance.io/narrowed`, on the
/// wire as `<policy>/<run>-<generation> <instance> <time>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarrowClaim {
    /// The policy.
    pub policy: PolicyMark,
    /// When the run started, in seconds since 1970: it names the run, as in the counter of moves.
    pub run: i64,
    /// The generation of the policy's spec: an edit ends what it was narrowed for.
    pub generation: i64,
    /// The instance.
    pub instance: InstanceId,
    /// When it was narrowed, in whole seconds.
    pub time: Timestamp,
}

impl NarrowClaim {
    /// Parses the annotation. Text that is not a claim is one of nobody, as old as time: whoever steers the name may
    /// widen it at once.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::try_parse(text).unwrap_or_else(|| Self {
            policy: PolicyMark::from_uid(""),
            run: 0,
            generation: 0,
            instance: InstanceId(String::new()),
            time: Timestamp::UNIX_EPOCH,
        })
    }

    fn try_parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (key, instance, time) = (words.next()?, words.next()?, words.next()?);
        let (policy, run) = key.split_once('/')?;
        let (run, generation) = run.split_once('-')?;
        let is_whole = words.next().is_none() && !policy.is_empty();
        Some(Self {
            policy: PolicyMark::from_uid(policy),
            run: run.parse().ok()?,
            generation: generation.parse().ok()?,
            instance: InstanceId(instance.to_owned()),
            time: time.parse().ok()?,
        })
        .filter(|_| is_whole)
    }
}

impl fmt::Display for NarrowClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}-{} {} {}",
            self.policy.as_str(),
            self.run,
            self.generation,
            self.instance,
            self.time
        )
    }
}

/// What is done with a name in this pass, before anything else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NameAction {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Narrow it to the claim's instance. The claim is written in the same PATCH.
    Narrow(NarrowClaim),
    /// Lead it to Aurora's own answer, and remove the claim in the same PATCH.
    Widen(WidenReason),
}

/// Why a name is widened.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
pub enum WidenReason {
    /// The receiver has what it lacked, or another one lacks more.
    Reached,
    /// Nothing more can be moved to the receiver.
    NothingLeft,
    /// It has been narrowed for `holdSeconds`.
    HoldOver,
    /// Look-ups do not name the receiver, although all caches must have followed.
    NotLed,
    /// A failover or a replacement of the cluster.
    Urgent,
    /// The receiver is not an available reader any more.
    ReceiverGone,
    /// Look-ups of the name fail.
    LookFailed,
    /// The topology cannot be read.
    TopologyNotCurrent,
    /// A rollout moves the target's pods.
    TargetMoving,
    /// A gate of the target has closed.
    Held,
    /// The policy was edited.
    Edited,
    /// The policy is suspended.
    Suspended,
    /// The policy is paused.
    Paused,
    /// The policy only observes.
    Observed,
    /// The policy has a problem that must be corrected first.
    InvalidSpec,
    /// The policy is being deleted.
    Deleted,
    /// The policy steers no name any more, or another one.
    NotSteered,
    /// The operator ends, or gives the lease back.
    ShuttingDown,
    /// No other replica could widen it.
    SingleOperator,
    /// No run in progress of this policy explains it.
    Unexplained,
    /// The policy that has narrowed it has not widened it within the longest hold.
    ForeignOverdue,
}

impl WidenReason {
    /// Returns the reason as one word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
