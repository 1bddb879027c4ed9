//! Decides whether a policy's windows let a run act now, and until when they do not.
//!
//! Failovers and manual tokens bypass windows.

use std::str::FromStr;

use croner::{Cron, Weekday};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::hash::StableHash;
use dbbalance_api::spec::{WindowSpec, WindowType};

/// The years of which some day must be one of a schedule, or none ever is: within 28 years, the first of January and
/// leap days have been each day of the week.
const CALENDARS: usize = 40;

/// A window whose schedule and time zone were parsed.
#[derive(Clone, Debug)]
pub struct Window {
    name: String,
    kind: WindowType,
    schedule: Cron,
    /// Whether the schedule opens on any day at all.
    opens: bool,
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
            opens: has_any_day(&schedule),
            schedule,
            duration: SignedDuration::from_secs(spec.duration_seconds.into()),
            zone,
            spread: SignedDuration::from_secs(spec.spread_seconds.into()),
        })
    }

    /// Returns the start of the last opening at or before `now`.
    fn last_opening(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.opens {
            return None;
        }
        let now: Zoned = now.to_zoned(self.zone.clone());
        self.schedule
            .find_previous_occurrence(&now, true)
            .ok()
            .map(|z| z.timestamp())
    }

    fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.opens {
            return None;
        }
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

/// Whether some day of the calendar is one of the schedule. A search for the 31st of February takes thousands of years, and
/// tens of milliseconds in each pass.
fn has_any_day(schedule: &Cron) -> bool {
    let pattern = &schedule.pattern;
    let is_whole = pattern.is_dow_wildcard() && !pattern.days.has_modifiers();
    let days: Vec<u16> = if is_whole {
        pattern.days.values()
    } else {
        (1..=31).collect()
    };
    let years = (2000..5000).chain(1..2000);
    let years = years.filter(|y| pattern.year_match(i32::from(*y)).unwrap_or(false));
    years.take(CALENDARS).any(|year: i16| {
        let months = (1..=12).filter(|m| pattern.month_match(*m).unwrap_or(false));
        months.into_iter().any(|month| {
            let mut days = days.iter();
            days.any(|day| is_day_of(schedule, year, month, *day))
        })
    })
}

fn is_day_of(schedule: &Cron, year: i16, month: u32, day: u16) -> bool {
    let date = i8::try_from(month).ok().zip(i8::try_from(day).ok());
    let date = date.and_then(|(month, day)| Date::new(year, month, day).ok());
    date.is_some_and(|date| {
        let weekday = u32::try_from(date.weekday().to_sunday_zero_offset()).unwrap_or(0);
        let weekday = Weekday::from_days_from_sunday(weekday);
        let matches = schedule
            .pattern
            .day_match(year.into(), month, day.into(), weekday);
        matches.unwrap_or(false)
    })
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
