//! Decides whether a policy's windows let a run act now, and until when they do not.
//!
//! Failovers and manual tokens bypass windows.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::hash::StableHash;
use dbbalance_api::spec::{WindowSpec, WindowType};

/// A window whose schedule and time zone were parsed.
#[derive(Clone, Debug)]
pub struct Window {
    name: String,
    kind: WindowType,
    schedule: Cron,
    duration: SignedDuration,
    zone: TimeZone,
    spread: SignedDuration,
}

/// The windows do not let a run act now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedWindow {
    /// The reason, as a sentence.
    pub message: String,
    /// When the windows open again, if that is known.
    pub until: Option<Timestamp>,
}

impl Window {
    /// Parses a window.
    ///
    /// # Errors
    /// Returns the field (relative to the window) and what is wrong with it.
    pub fn parse(spec: &WindowSpec) -> Result<Self, (&'static str, String)> {
        let schedule = Cron::from_str(&spec.schedule).map_err(|e| {
            (
                "schedule",
                format!("{:?} is not a cron expression: {e}", spec.schedule),
            )
        })?;
        let zone = TimeZone::get(&spec.time_zone).map_err(|_| {
            (
                "timeZone",
                format!("{:?} is not an IANA time zone", spec.time_zone),
            )
        })?;
        Ok(Self {
            name: spec.name.clone(),
            kind: spec.kind,
            schedule,
            duration: SignedDuration::from_secs(spec.duration_seconds.into()),
            zone,
            spread: SignedDuration::from_secs(spec.spread_seconds.into()),
        })
    }

    /// Returns the start of the last opening at or before `now`.
    fn last_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let now: Zoned = now.to_zoned(self.zone.clone());
        self.schedule
            .find_previous_occurrence(&now, true)
            .ok()
            .map(|z| z.timestamp())
    }

    fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let now: Zoned = now.to_zoned(self.zone.clone());
        self.schedule
            .find_next_occurrence(&now, false)
            .ok()
            .map(|z| z.timestamp())
    }

    /// Returns this policy's offset within the spread, so that policies that waited do not all start at once.
    fn policy_turn(&self, key: &str) -> SignedDuration {
        let seconds = self.spread.as_secs();
        if seconds == 0 {
            return SignedDuration::ZERO;
        }
        let hash = StableHash::from_texts([key, self.name.as_str()]).value();
        let share = hash % u64::try_from(seconds).unwrap_or(1);
        SignedDuration::from_secs(i64::try_from(share).unwrap_or(0))
    }

    /// Returns until when a Deny window holds; `None` if it does not hold now.
    fn denies_until(&self, now: Timestamp, key: &str) -> Option<Timestamp> {
        let opened = self.last_opening(now)?;
        let end = add_saturating(add_saturating(opened, self.duration), self.policy_turn(key));
        (now < end).then_some(end)
    }

    /// Checks an Allow window: `Ok` inside it, otherwise the time of this policy's next turn.
    fn allows(&self, now: Timestamp, key: &str) -> Result<(), Option<Timestamp>> {
        if let Some(opened) = self.last_opening(now)
            && now < add_saturating(opened, self.duration)
        {
            let turn = add_saturating(opened, self.policy_turn(key));
            return if now >= turn { Ok(()) } else { Err(Some(turn)) };
        }
        Err(self
            .next_opening(now)
            .map(|next| add_saturating(next, self.policy_turn(key))))
    }
}

fn add_saturating(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// Checks whether the windows let a run act now. Deny wins; if there are Allow windows, one of them must be open.
///
/// # Errors
/// Returns the window that is closed.
pub fn check_windows(windows: &[Window], now: Timestamp, key: &str) -> Result<(), ClosedWindow> {
    for window in windows.iter().filter(|w| w.kind == WindowType::Deny) {
        if let Some(until) = window.denies_until(now, key) {
            let message = format!("Deny window {} holds", window.name);
            return Err(ClosedWindow {
                message,
                until: Some(until),
            });
        }
    }
    let mut allow = windows
        .iter()
        .filter(|w| w.kind == WindowType::Allow)
        .peekable();
    if allow.peek().is_none() {
        return Ok(());
    }
    let mut soonest: Option<(Timestamp, &str)> = None;
    for window in allow {
        match window.allows(now, key) {
            Ok(()) => return Ok(()),
            Err(Some(at)) if soonest.is_none_or(|(best, _)| at < best) => {
                soonest = Some((at, &window.name));
            }
            Err(_) => {}
        }
    }
    Err(match soonest {
        Some((at, name)) => ClosedWindow {
            message: format!("outside every Allow window; {name} is next"),
            until: Some(at),
        },
        None => ClosedWindow {
            message: "no Allow window ever opens again".into(),
            until: None,
        },
    })
}

#[cfg(test)]
mod tests;
