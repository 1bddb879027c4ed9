//! Decides for how long a name rests after it was widened, and when it is given up for a while.

use jiff::{SignedDuration, Timestamp};

use super::{NarrowClaim, NarrowingRules, WidenReason};

/// How often in a row look-ups may not follow a name before it is given up.
const MOST_FAILURES: u32 = 2;

/// How long a name that was given up is not narrowed: as long as an episode of moves that failed rests
/// (docs/adr/0014, docs/adr/0020).
const GIVEN_UP_FOR: SignedDuration = SignedDuration::from_hours(1);

/// What is remembered of a name's last narrowings, in `status.dns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NarrowingMemory {
    /// How often in a row look-ups did not follow, or failed.
    pub failures: u32,
    /// Until when the name is not narrowed again.
    pub rest_until: Option<Timestamp>,
}

impl NarrowingMemory {
    /// Returns whether the name is given up now, so that pods get what Aurora answers.
    #[must_use]
    pub fn is_given_up(&self, now: Timestamp) -> bool {
        self.failures >= MOST_FAILURES && self.rest_until.is_some_and(|until| now < until)
    }

    /// Returns the memory once look-ups have followed a claim.
    #[must_use]
    pub fn after_told(self) -> Self {
        Self {
            failures: 0,
            ..self
        }
    }

    /// Returns the memory after this claim was ended. The same end counts once, however often its PATCH is tried.
    #[must_use]
    pub fn after_widening(
        self,
        claim: &NarrowClaim,
        reason: WidenReason,
        rules: &NarrowingRules,
        greatest_ttl: Option<u32>,
        now: Timestamp,
    ) -> Self {
        if self.rest_until.is_some_and(|until| until > claim.time) {
            return self;
        }
        let rest = |failures, rest| Self {
            failures,
            rest_until: Some(now.saturating_add(rest).unwrap_or(Timestamp::MAX)),
        };
        match reason {
            // Bystanders get Aurora's answer for at least half of the time.
            WidenReason::HoldOver => rest(self.failures, rules.hold),
            WidenReason::NotLed | WidenReason::LookFailed => {
                let failures = self.failures.saturating_add(1);
                if failures >= MOST_FAILURES {
                    rest(failures, GIVEN_UP_FOR)
                } else {
                    rest(failures, rules.cache_bound(greatest_ttl))
                }
            }
            _ => self,
        }
    }
}
