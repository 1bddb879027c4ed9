//! Without evidence, the plan says how likely blind recycling ends even; in words that do not tick.
#![allow(clippy::unwrap_used)]

use crate::testing::{at, due, look, stamp, verified, view};
use crate::world::{TopologyState, World};
use dbbalance_api::spec::{EvidenceSource, Method};
use dbbalance_api::status::Trigger;

fn action(world: &World, second: i64) -> String {
    look(world, second).targets[0].action.clone()
}

fn odds(world: &World, second: i64) -> Option<String> {
    let action = action(world, second);
    let (_, odds) = action.split_once("; without evidence, the odds that it ends even are ")?;
    Some(odds.to_owned())
}

#[test]
fn the_odds_of_blind_recycling_are_said_by_pods_readers_and_pace() {
    // Twenty pods over two readers, five at a time each ten seconds: 30 s, two caches of 5 s.
    let world = due(Method::Signal, 20, Trigger::ReaderAdded);
    let paced = odds(&world, 110).unwrap();
    assert!(
        paced.starts_with("about ") && paced.ends_with(" %"),
        "{paced}"
    );
    let mut slow = world.clone();
    slow.spec.pacing.interval_seconds = 300;
    let percent = |odds: &str| -> i32 {
        let digits: String = odds.chars().filter(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    };
    let slower = odds(&slow, 110).unwrap();
    assert!(percent(&slower) > percent(&paced), "{paced}, {slower}");
    let rollout = odds(&due(Method::Rollout, 20, Trigger::ReaderAdded), 110).unwrap();
    assert!(rollout.starts_with("at most "), "{rollout}");
    let mut many = world;
    many.spec.pacing.max_unavailable =
        k8s_openapi::apimachinery::pkg::util::intstr::IntOrString::Int(20);
    many.status.topology.as_mut().unwrap().reader_count = 5;
    assert_eq!(
        odds(&many, 110).as_deref(),
        Some("less than 1 %"),
        "one draw a cache"
    );
}

#[test]
fn the_odds_stay_the_same_while_the_run_comes_forward() {
    let mut world = verified(Method::Signal, 20, Trigger::ReaderAdded);
    let before = odds(&world, 115);
    assert!(before.is_some());
    for pod in &mut world.targets[0].pods[..15] {
        pod.stamp = Some(stamp(2));
    }
    assert_eq!(odds(&world, 400), before);
    assert_eq!(action(&world, 400), action(&world, 4000));
    assert!(at(400) < at(4000));
}

#[test]
fn nothing_is_said_where_chance_has_no_part() {
    let mut one = due(Method::Signal, 4, Trigger::Failover);
    one.status.topology.as_mut().unwrap().reader_count = 1;
    assert_eq!(odds(&one, 110), None);
    let mut writers = due(Method::Signal, 4, Trigger::Failover);
    writers.spec.targets[0].pools.remove(0);
    assert_eq!(odds(&writers, 110), None);
    let mut measured = due(Method::Signal, 4, Trigger::ReaderAdded);
    measured.spec.evidence.source = EvidenceSource::ProcNet;
    measured.topology = TopologyState::Current(view("abc"));
    assert_eq!(odds(&measured, 110), None);
}
