//! Parses and formats the marks that the operator leaves on pods and templates: stamps and claims.
//!
//! A stamp never contains a time, so that applying it twice is a no-op. A claim does, so that it can be retried after
//! the operator that made it died.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use super::topology::Fingerprint;

/// The first eight characters of a policy's UID. A policy that was deleted and created again has another UID, and
/// stamps of the old one do not count for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyMark(String);

impl PolicyMark {
    /// Takes the first eight characters of a UID.
    #[must_use]
    pub fn from_uid(uid: &str) -> Self {
        Self(uid.chars().take(8).collect())
    }

    /// Returns the mark as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The epoch at which a pod was recycled or created, on the wire as `<policy>/<epoch>-<fingerprint>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The policy whose epochs are counted.
    pub policy: PolicyMark,
    /// The epoch.
    pub epoch: i64,
    /// The topology of that epoch.
    pub fingerprint: Fingerprint,
}

impl Stamp {
    /// Parses a stamp; returns `None` for malformed text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (policy, rest) = text.split_once('/')?;
        let (epoch, fingerprint) = rest.split_once('-')?;
        let epoch = epoch.parse().ok().filter(|e| *e > 0)?;
        (!policy.is_empty() && !fingerprint.is_empty()).then(|| Self {
            policy: PolicyMark(policy.to_owned()),
            epoch,
            fingerprint: Fingerprint(fingerprint.to_owned()),
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.policy.0, self.epoch, self.fingerprint)
    }
}

/// The attempt at recycling a pod that a claim is for. On the wire it is a number, so that claims of older and newer
/// operators can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    /// The first attempt by the target's method: 1.
    First,
    /// The second and last attempt by the method, for a claim without a stamp: 2.
    Retry,
    /// The method has failed on this pod: 3.
    Failed,
    /// The first attempt by the fallback: 4.
    Fallback,
    /// The second and last attempt by the fallback: 5.
    FallbackRetry,
    /// The fallback has failed too: 6 and above.
    FallbackFailed,
}

impl Attempt {
    /// Reads the number of a claim; `None` for 0, which is not an attempt.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => return None,
            1 => Self::First,
            2 => Self::Retry,
            3 => Self::Failed,
            4 => Self::Fallback,
            5 => Self::FallbackRetry,
            6.. => Self::FallbackFailed,
        })
    }

    /// Returns the number that claims hold.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Retry => 2,
            Self::Failed => 3,
            Self::Fallback => 4,
            Self::FallbackRetry => 5,
            Self::FallbackFailed => 6,
        }
    }

    /// Returns whether the attempt acts on the pod, rather than recording that earlier ones have failed.
    #[must_use]
    pub const fn is_acting(self) -> bool {
        matches!(
            self,
            Self::First | Self::Retry | Self::Fallback | Self::FallbackRetry
        )
    }

    /// Returns whether the pod is recycled by the fallback rather than by the target's method.
    #[must_use]
    pub const fn is_fallback(self) -> bool {
        matches!(
            self,
            Self::Fallback | Self::FallbackRetry | Self::FallbackFailed
        )
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// The mark of a recycle that has started, on the wire as `<policy>/<epoch> <attempt> <time>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The policy that claims the pod.
    pub policy: PolicyMark,
    /// The epoch that the pod is recycled for.
    pub epoch: i64,
    /// The attempt that the claim is for.
    pub attempt: Attempt,
    /// When this attempt was claimed, to the second, by the operator's clock.
    pub time: Timestamp,
}

impl Claim {
    /// Returns what remains of the claim when its effect was refused before it started, as when a
    /// `PodDisruptionBudget` refuses an eviction. An attempt by the method leaves nothing. An attempt by the fallback
    /// leaves the record that the method has failed, or the method would be tried again.
    #[must_use]
    pub fn released(self) -> Option<Self> {
        (self.attempt > Attempt::Failed).then_some(Self {
            attempt: Attempt::Failed,
            ..self
        })
    }

    /// Parses a claim; returns `None` for malformed text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (policy, epoch) = words.next()?.split_once('/')?;
        let claim = Self {
            policy: PolicyMark(policy.to_owned()),
            epoch: epoch.parse().ok()?,
            attempt: Attempt::from_number(words.next()?.parse().ok()?)?,
            time: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(claim)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            epoch,
            attempt,
            time,
        } = self;
        write!(
            f,
            "{}/{epoch} {attempt} {}",
            policy.0,
            time.strftime("%Y-%m-%dT%H:%M:%SZ")
        )
    }
}

/// How often a pod was recycled within one run, and when last. Used where connections are measured, because fresh
/// pods may move there too.
///
/// It is stored on the pod because the status does not list pods. It is written together with the claim, so that a
/// recycle counts even if the operator dies during it.
///
/// On the wire: `<policy>/<epoch>@<start> <count> <time>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveCounter {
    /// The policy of the run.
    pub policy: PolicyMark,
    /// The run's epoch.
    pub epoch: i64,
    /// The run's start, in seconds since 1970: an epoch may see several runs.
    pub run: i64,
    /// Recycles within the run.
    pub count: u32,
    /// When the last one was claimed, by the operator's clock.
    pub time: Timestamp,
}

impl MoveCounter {
    /// Parses the mark; returns `None` for malformed text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (policy, rest) = words.next()?.split_once('/')?;
        let (epoch, run) = rest.split_once('@')?;
        let moved = Self {
            policy: PolicyMark(policy.to_owned()),
            epoch: epoch.parse().ok()?,
            run: run.parse().ok()?,
            count: words.next()?.parse().ok()?,
            time: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(moved)
    }
}

impl fmt::Display for MoveCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            epoch,
            run,
            count,
            time,
        } = self;
        write!(
            f,
            "{}/{epoch}@{run} {count} {}",
            policy.0,
            time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
        )
    }
}

/// How often the containers that ran had restarted when a recycle was claimed: a higher number later says that the
/// method ended the app instead of renewing its pools.
///
/// It is written together with the claim and stays when the stamp replaces the claim, so that every later reconcile, of
/// this replica or another, can compare.
///
/// On the wire: `<policy>/<epoch> <time> <container>=<restarts>,...`, followed by `NotReady` for a pod that was not Ready,
/// and by `Refused` for one whose app has answered with a failure. Names of containers are DNS labels, so that no separator occurs in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartMark {
    /// The policy of the claim.
    pub policy: PolicyMark,
    /// The epoch of the claim.
    pub epoch: i64,
    /// The time of the claim, to the second, by the operator's clock.
    pub time: Timestamp,
    /// Restarts of the containers that ran, by name.
    pub restarts: BTreeMap<String, u32>,
    /// Whether the pod was Ready: one that was not proves nothing about the method.
    pub ready: bool,
    /// Whether its app has answered the recycle with a failure. That shows what the method does, where silence does not.
    pub refused: bool,
}

/// The word of a mark whose pod was not Ready.
const NOT_READY: &str = "NotReady";
/// The last word of a mark whose pod has answered with a failure.
const REFUSED: &str = "Refused";

impl RestartMark {
    /// Parses the mark; returns `None` for malformed text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (policy, epoch) = words.next()?.split_once('/')?;
        let (epoch, time) = (epoch.parse().ok()?, words.next()?.parse().ok()?);
        let mut restarts = BTreeMap::new();
        for entry in words.next()?.split(',') {
            let (container, count) = entry.split_once('=')?;
            restarts.insert(container.to_owned(), count.parse().ok()?);
        }
        let mut next = words.next();
        let ready = next != Some(NOT_READY);
        if !ready {
            next = words.next();
        }
        let refused = next == Some(REFUSED);
        if refused {
            next = words.next();
        }
        next.is_none().then(|| Self {
            policy: PolicyMark(policy.to_owned()),
            epoch,
            time,
            restarts,
            ready,
            refused,
        })
    }
}

impl fmt::Display for RestartMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            epoch,
            time,
            restarts,
            ready,
            refused,
        } = self;
        let time = time.strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(f, "{}/{epoch} {time} ", policy.0)?;
        for (index, (container, count)) in restarts.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{container}={count}")?;
        }
        if !ready {
            write!(f, " {NOT_READY}")?;
        }
        if *refused {
            write!(f, " {REFUSED}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
