//! Runs: their lifecycle, their progress and their canary.

pub(crate) mod canary;
pub mod holds;
pub(crate) mod lifecycle;
pub(crate) mod progress;

use jiff::Timestamp;

use crate::types::Notice;
use dbbalance_api::status::RunStatus;

/// What the runs of all targets change besides the targets themselves.
pub(crate) struct RunChanges {
    /// Events to publish.
    pub notices: Vec<Notice>,
    /// Runs that have ended, the last one first.
    pub history: Vec<RunStatus>,
    /// When to reconcile again.
    pub wake: Option<Timestamp>,
}

impl RunChanges {
    /// Asks for another pass at this time, if none is due earlier.
    pub(crate) fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |w| w.min(time)));
    }
}
