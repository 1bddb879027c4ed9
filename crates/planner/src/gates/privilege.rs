//! The privileges of failovers and tokens.

/// Which gates a step may skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Privilege {
    /// It is for pods older than the last failover.
    pub urgent: bool,
    /// A user asked for it by token.
    pub token: bool,
    /// A user asked for it by a drain.
    pub drain: bool,
}

impl Privilege {
    /// Whether windows and limits do not hold it.
    pub(super) const fn skips_schedule(self) -> bool {
        self.urgent || self.token || self.drain
    }
}
