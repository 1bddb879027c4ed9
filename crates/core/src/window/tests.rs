#![allow(clippy::panic, clippy::unwrap_used)]
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

#[test]
fn a_schedule_without_a_day_is_searched_for_no_longer_than_others() {
    let began = std::time::Instant::now();
    for schedule in [
        "0 0 30 2 *",
        "0 0 31 4 *",
        "59 23 31 2,4,6,9,11 *",
        "0 0 29 2 1#5",
    ] {
        let all = [window(WindowType::Allow, schedule, 60, "Europe/Berlin", 0)];
        for _ in 0..50 {
            let _ = check_windows(&all, at("2026-06-01T06:59:59Z"), "p");
        }
    }
    // A search over all years takes half a second in a debug build, and this is 200 of them.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[test]
fn a_schedule_opens_on_some_day_exactly_if_a_search_over_all_years_finds_one() {
    let start = at("2026-06-01T06:59:59Z").to_zoned(TimeZone::UTC);
    for (schedule, opens) in [
        ("0 0 30 2 *", false),
        ("0 0 31 4 *", false),
        ("59 23 31 2,4,6,9,11 *", false),
        ("0 0 31 2,3 *", true),
        ("0 0 29 2 *", true),
        ("0 0 29 2 1#5", true),
        ("0 0 30 2 1", true),
        ("0 0 L 2 *", true),
        ("0 0 31W 4 *", false),
        ("0 0 * 2 5L", true),
        ("0 0 * * *", true),
    ] {
        let cron = Cron::from_str(schedule).unwrap();
        let found = cron.find_next_occurrence(&start, false).is_ok();
        assert_eq!(has_any_day(&cron), found, "{schedule}");
        assert_eq!(found, opens, "{schedule}");
    }
}
