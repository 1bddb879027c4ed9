//! The marks that the operator leaves on pods and templates: stamps and claims.
//!
//! Only their form. A stamp never holds a time, so that applying it twice is a no-op; a claim does,
//! so that a claim whose maker died can be redone.

use std::fmt;

use jiff::Timestamp;

use super::topology::Fingerprint;

/// The first eight characters of a policy's UID: another UID is another policy, whose stamps do
/// not count for this one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyMark(String);

impl PolicyMark {
    /// Takes the mark from a UID.
    #[must_use]
    pub fn from_uid(uid: &str) -> Self {
        Self(uid.chars().take(8).collect())
    }

    /// The mark as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `<policy>/<epoch>-<fingerprint>`: at which epoch a pod was recycled, or born.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Whose epochs are counted.
    pub policy: PolicyMark,
    /// The epoch.
    pub epoch: i64,
    /// The topology of that epoch.
    pub fingerprint: Fingerprint,
}

impl Stamp {
    /// Reads a stamp; `None` for anything that is not one.
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

/// Which attempt at recycling a pod a claim is for. On the wire it is a number, so that claims of older and newer
/// operators compare.
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

    /// Whether the attempt acts on the pod, rather than recording that earlier ones have failed.
    #[must_use]
    pub const fn is_acting(self) -> bool {
        matches!(
            self,
            Self::First | Self::Retry | Self::Fallback | Self::FallbackRetry
        )
    }

    /// Whether the pod is recycled by the fallback rather than by the target's method.
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

/// `<policy>/<epoch> <attempt> <time>`: a recycle of the pod has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who claims.
    pub policy: PolicyMark,
    /// For which epoch.
    pub epoch: i64,
    /// Which attempt at recycling the pod this is.
    pub attempt: Attempt,
    /// When this attempt was claimed, to the second, by the operator's clock.
    pub time: Timestamp,
}

impl Claim {
    /// What is left of the claim when its effect was refused before it began, as an eviction by a
    /// budget: nothing, but after the method has failed that is kept, or it would be tried again.
    #[must_use]
    pub fn released(self) -> Option<Self> {
        (self.attempt > Attempt::Failed).then_some(Self {
            attempt: Attempt::Failed,
            ..self
        })
    }

    /// Reads a claim; `None` for anything that is not one.
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

/// `<policy>/<epoch>@<start> <count> <time>`: how often a pod was recycled within one run, where
/// connections are measured and fresh pods may move too, and when it last was.
///
/// On the pod, not in the status, as the status lists no pods; written with the claim, so that a recycle
/// whose maker died counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveCounter {
    /// Whose run.
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
    /// Reads the mark; `None` for anything that is not one.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stamp_reads_back_as_written() {
        let stamp = Stamp::parse("0a1b2c3d/12-3f9c").unwrap();
        assert_eq!(
            (stamp.epoch, stamp.to_string().as_str()),
            (12, "0a1b2c3d/12-3f9c")
        );
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        for text in [
            "", "12-3f9c", "a/b", "a/x-3f9c", "a/0-3f9c", "/1-3f9c", "a/1-", "a/-1-x",
        ] {
            assert_eq!(Stamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_claim_reads_back_as_written() {
        let text = "0a1b2c3d/12 2 2026-05-04T03:02:01Z";
        assert_eq!(Claim::parse(text).unwrap().to_string(), text);
    }

    #[test]
    fn a_mark_of_moves_reads_back_as_written() {
        let text = "0a1b2c3d/12@1777863721 2 2026-05-04T03:02:01.250Z";
        assert_eq!(MoveCounter::parse(text).unwrap().to_string(), text);
        for text in [
            "",
            "a/1 1",
            "a/1@2",
            "a/1@2 1 now",
            "a/1@2 1 2026-05-04T03:02:01Z x",
        ] {
            assert_eq!(MoveCounter::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_released_claim_of_the_fallback_keeps_that_the_method_has_failed() {
        let claim = |attempt| Claim::parse(&format!("a/1 {attempt} 2026-05-04T03:02:01Z")).unwrap();
        assert_eq!(claim(1).released(), None);
        assert_eq!(claim(2).released(), None);
        assert_eq!(claim(4).released(), Some(claim(3)));
        assert_eq!(claim(5).released(), Some(claim(3)));
    }

    #[test]
    fn what_is_no_claim_is_none() {
        for text in [
            "",
            "a/1",
            "a/1 1",
            "a/1 0 2026-05-04T03:02:01Z",
            "a/1 1 now",
            "a/1 1 2026-05-04T03:02:01Z x",
        ] {
            assert_eq!(Claim::parse(text), None, "{text}");
        }
    }
}
