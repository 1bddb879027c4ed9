#![allow(clippy::unwrap_used)]

use super::*;
use crate::testing::topology;
use crate::topology::MemberFacts;

fn view(names: &str, class: &str) -> ClusterView {
    let topology = topology(names);
    let facts = topology
        .members()
        .map(|(m, _)| {
            (
                m.instance.clone(),
                MemberFacts {
                    class: Some(class.into()),
                    endpoint: None,
                    serverless: None,
                    is_available: true,
                },
            )
        })
        .collect();
    ClusterView {
        topology,
        engine: "aurora-postgresql".into(),
        endpoints: crate::topology::Endpoints::default(),
        facts,
        leaving: std::collections::BTreeSet::new(),
    }
}

fn holds(estimated: Load) -> Holding {
    Holding {
        estimated,
        ..Holding::default()
    }
}

/// Builds a budget of a hundred connections with this headroom.
fn hundred(headroom_percent: i32) -> BudgetSpec {
    BudgetSpec {
        max_connections: Some(100),
        headroom_percent,
    }
}

fn reader(n: u64) -> Load {
    Load {
        reader: n,
        writer: 0,
    }
}

const fn read(view: &ClusterView) -> Members<'_> {
    Members {
        view,
        settled: None,
    }
}

#[test]
fn an_instance_whose_role_has_not_settled_counts_in_the_old_one_and_in_the_new() {
    let spec = hundred(0);
    let settled = topology("abc");
    let now = view("cab", "db.r6g.large");
    let members = Members {
        view: &now,
        settled: Some(&settled),
    };
    let holding = Holding {
        measured: [(InstanceId("c".into()), 95)].into(),
        ..Holding::default()
    };
    let adds = |step| check_budget(members, &spec, &holding, Load::default(), step, false);
    assert_eq!(adds(reader(5)), BudgetCheck::Fits);
    let BudgetCheck::Exceeds { message, .. } = adds(reader(6)) else {
        unreachable!("DNS may serve c as a reader still");
    };
    assert!(message.contains("on c, has 5"), "{message}");
    let writer = Load {
        reader: 0,
        writer: 6,
    };
    assert!(matches!(adds(writer), BudgetCheck::Exceeds { .. }));
}

#[test]
fn a_step_that_fits_is_taken_and_one_more_is_not() {
    let spec = hundred(10);
    let v = view("ab", "db.r6g.large");
    assert_eq!(
        check_budget(
            read(&v),
            &spec,
            &holds(reader(60)),
            reader(20),
            reader(10),
            false
        ),
        BudgetCheck::Fits
    );
    let BudgetCheck::Exceeds { message, .. } = check_budget(
        read(&v),
        &spec,
        &holds(reader(60)),
        reader(20),
        reader(11),
        false,
    ) else {
        unreachable!("it must not fit");
    };
    assert!(
        message.starts_with("needs 11 connections on b, has 10"),
        "{message}"
    );
}

#[test]
fn an_unknown_class_holds_only_what_surges() {
    let spec = BudgetSpec::default();
    let v = view("ab", "db.x99.tiny");
    assert!(matches!(
        check_budget(
            read(&v),
            &spec,
            &holds(reader(0)),
            reader(0),
            reader(1),
            true
        ),
        BudgetCheck::Unknown(_)
    ));
    assert_eq!(
        check_budget(
            read(&v),
            &spec,
            &holds(reader(0)),
            reader(0),
            reader(1),
            false
        ),
        BudgetCheck::Fits
    );
}

#[test]
fn a_lone_writer_serves_the_reader_endpoint_too() {
    let spec = hundred(0);
    let now = Load {
        reader: 50,
        writer: 50,
    };
    assert!(matches!(
        check_budget(
            read(&view("a", "db.r6g.large")),
            &spec,
            &holds(now),
            Load::default(),
            reader(1),
            false
        ),
        BudgetCheck::Exceeds { .. }
    ));
    assert_eq!(
        check_budget(
            read(&view("ab", "db.r6g.large")),
            &spec,
            &holds(now),
            Load::default(),
            reader(1),
            false
        ),
        BudgetCheck::Fits
    );
}

#[test]
fn measured_connections_count_only_where_they_are() {
    let spec = hundred(0);
    let v = view("abc", "db.r6g.large");
    let on = |b: u64, c: u64| Holding {
        measured: [("b", b), ("c", c)]
            .map(|(name, n)| (InstanceId(name.into()), n))
            .into(),
        ..Holding::default()
    };
    let fits = |holding| {
        check_budget(
            read(&v),
            &spec,
            &holding,
            Load::default(),
            reader(20),
            false,
        )
    };
    assert_eq!(fits(on(80, 80)), BudgetCheck::Fits);
    let BudgetCheck::Exceeds { message, .. } = fits(on(70, 81)) else {
        unreachable!("it must not fit on c");
    };
    assert!(
        message.starts_with("needs 20 connections on c, has 19"),
        "{message}"
    );
}

#[test]
fn known_classes_have_the_limits_of_the_guides_and_others_none() {
    assert_eq!(
        find_max_connections("aurora-postgresql", "db.r6g.large"),
        Some(1600)
    );
    assert_eq!(
        find_max_connections("aurora-mysql", "db.t3.medium"),
        Some(90)
    );
    assert_eq!(
        find_max_connections("aurora-mysql", "db.r5.24xlarge"),
        Some(7000)
    );
    for class in [
        "db.serverless",
        "db.r6g.huge",
        "r6g.large",
        "db.m5.large",
        "",
    ] {
        assert_eq!(
            find_max_connections("aurora-postgresql", class),
            None,
            "{class}"
        );
    }
}

#[test]
fn a_fleet_that_needs_all_readers_is_not_assumed_to_be_on_one() {
    // 150 pods of 10 connections, on three readers of 1360 within the headroom.
    let v = view("abcd", "db.r6g.large");
    let spec = BudgetSpec::default();
    let holds = holds(reader(1500));
    let check = |adds| check_budget(read(&v), &spec, &holds, Load::default(), adds, true);
    assert_eq!(check(reader(600)), BudgetCheck::Fits);
    let BudgetCheck::Exceeds {
        message, measured, ..
    } = check(reader(700))
    else {
        unreachable!("750 are assumed to be there");
    };
    assert!(!measured);
    assert!(
        message.contains("750 held, of which 750 are estimated as an even share and 50% more"),
        "{message}"
    );
}

#[test]
fn an_estimate_is_never_more_than_all_that_there_is() {
    let v = view("ab", "db.r6g.large");
    let spec = hundred(0);
    let check = |adds| {
        check_budget(
            read(&v),
            &spec,
            &holds(reader(90)),
            Load::default(),
            adds,
            true,
        )
    };
    assert_eq!(check(reader(10)), BudgetCheck::Fits, "one reader has all");
    assert!(matches!(check(reader(11)), BudgetCheck::Exceeds { .. }));
}

#[test]
fn a_measured_excess_is_told_from_one_that_is_estimated() {
    let v = view("ab", "db.r6g.large");
    let spec = hundred(0);
    let check = |measured: u64, estimated: u64| {
        let holding = Holding {
            measured: [(InstanceId("b".into()), measured)].into(),
            estimated: reader(estimated),
        };
        check_budget(read(&v), &spec, &holding, Load::default(), reader(10), true)
    };
    let is_measured = |check| match check {
        BudgetCheck::Exceeds { measured, .. } => Some(measured),
        BudgetCheck::Fits | BudgetCheck::Unknown(_) => None,
    };
    assert_eq!(is_measured(check(91, 0)), Some(true));
    assert_eq!(is_measured(check(60, 40)), Some(false));
    assert_eq!(is_measured(check(60, 30)), None);
}

#[test]
fn a_serverless_instance_has_the_limit_of_its_maximum_capacity() {
    let limit = |engine, min, max| {
        let capacity = crate::topology::ServerlessCapacity::from_units(min, max).unwrap();
        find_serverless_limit(engine, capacity)
    };
    assert_eq!(limit("aurora-mysql", 0.5, 8.0), Some(1000));
    assert_eq!(limit("aurora-postgresql", 1.0, 8.0), Some(1669));
    assert_eq!(
        limit("aurora-postgresql", 1.0, 15.5),
        Some(1669),
        "the smaller entry"
    );
    assert_eq!(
        limit("aurora-postgresql", 0.5, 64.0),
        Some(2000),
        "it may shrink"
    );
    assert_eq!(limit("aurora-postgresql", 0.0, 256.0), Some(2000));
    assert_eq!(limit("aurora-mysql", 0.0, 0.5), None, "below the table");
}
