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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn window(kind: WindowType, schedule: &str, duration: i32, zone: &str, spread: i32) -> Window {
        Window::parse(&WindowSpec {
            name: "office".into(),
            kind,
            schedule: schedule.into(),
            duration_seconds: duration,
            time_zone: zone.into(),
            spread_seconds: spread,
        })
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_deny_window_holds_inside_and_names_its_end() {
        let w = [window(
            WindowType::Deny,
            "0 9 * * 1-5",
            28_800,
            "Europe/Berlin",
            0,
        )];
        // Monday 2026-06-01, Berlin is UTC+2: 09:00–17:00 is 07:00–15:00 UTC.
        assert_eq!(check_windows(&w, at("2026-06-01T06:59:59Z"), "p"), Ok(()));
        let held = check_windows(&w, at("2026-06-01T07:00:00Z"), "p").unwrap_err();
        assert_eq!(held.until, Some(at("2026-06-01T15:00:00Z")));
        assert_eq!(check_windows(&w, at("2026-06-01T15:00:00Z"), "p"), Ok(()));
        // Saturday.
        assert_eq!(check_windows(&w, at("2026-06-06T10:00:00Z"), "p"), Ok(()));
    }

    #[test]
    fn a_window_follows_the_clock_change_of_its_zone() {
        let w = [window(
            WindowType::Deny,
            "0 9 * * *",
            3600,
            "Europe/Berlin",
            0,
        )];
        assert!(
            check_windows(&w, at("2026-03-28T08:30:00Z"), "p").is_err(),
            "winter time"
        );
        assert!(
            check_windows(&w, at("2026-03-29T07:30:00Z"), "p").is_err(),
            "summer time"
        );
        assert!(check_windows(&w, at("2026-03-29T08:30:00Z"), "p").is_ok());
    }

    #[test]
    fn an_allow_window_that_is_skipped_by_the_clock_change_does_not_break() {
        let w = [window(
            WindowType::Allow,
            "30 2 * * *",
            3600,
            "Europe/Berlin",
            0,
        )];
        for minute in 0..(24 * 60) {
            let now = add_saturating(
                at("2026-03-28T12:00:00Z"),
                SignedDuration::from_mins(minute),
            );
            if let Err(closed) = check_windows(&w, now, "p") {
                assert!(closed.until.is_some_and(|u| u > now));
            }
        }
    }

    #[test]
    fn outside_every_allow_window_the_next_is_named() {
        let w = [
            window(WindowType::Allow, "0 2 * * *", 3600, "UTC", 0),
            window(WindowType::Allow, "0 22 * * *", 3600, "UTC", 0),
        ];
        assert_eq!(check_windows(&w, at("2026-06-01T02:10:00Z"), "p"), Ok(()));
        let held = check_windows(&w, at("2026-06-01T12:00:00Z"), "p").unwrap_err();
        assert_eq!(held.until, Some(at("2026-06-01T22:00:00Z")));
    }

    #[test]
    fn deny_wins_over_allow() {
        let w = [
            window(WindowType::Allow, "* * * * *", 60, "UTC", 0),
            window(WindowType::Deny, "0 12 * * *", 3600, "UTC", 0),
        ];
        assert!(check_windows(&w, at("2026-06-01T12:30:00Z"), "p").is_err());
    }

    #[test]
    fn after_a_window_policies_come_one_after_the_other() {
        let w = [window(WindowType::Deny, "0 9 * * *", 3600, "UTC", 900)];
        let turns: std::collections::BTreeSet<_> = (0..50)
            .map(|p| {
                check_windows(&w, at("2026-06-01T09:30:00Z"), &format!("p{p}"))
                    .unwrap_err()
                    .until
            })
            .collect();
        assert!(turns.len() > 30, "{turns:?}");
        assert!(
            turns
                .iter()
                .flatten()
                .all(|t| { *t >= at("2026-06-01T10:00:00Z") && *t < at("2026-06-01T10:15:00Z") })
        );
    }

    #[test]
    fn what_cannot_be_understood_names_its_field() {
        let mut spec = WindowSpec {
            name: "w".into(),
            kind: WindowType::Deny,
            schedule: "0 25 * * *".into(),
            duration_seconds: 60,
            time_zone: "UTC".into(),
            spread_seconds: 0,
        };
        assert_eq!(Window::parse(&spec).unwrap_err().0, "schedule");
        spec.schedule = "0 5 * * *".into();
        spec.time_zone = "Mars/Olympus".into();
        assert_eq!(Window::parse(&spec).unwrap_err().0, "timeZone");
    }
}
