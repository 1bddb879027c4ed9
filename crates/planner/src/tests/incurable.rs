//! What no recycle cures is found out by a few of them, and left alone then.

use crate::testing::pools::Pools;
use dbbalance_api::spec::Method;
use dbbalance_api::status::BalanceState;

const HOUR: i64 = 3600;

fn recycles(model: &Pools) -> usize {
    model.effects.values().sum()
}

/// Plays an hour and the day after it; returns the recycles of both.
fn play(model: &mut Pools) -> (usize, usize) {
    model.settle(HOUR);
    let first = recycles(model);
    model.settle(24 * HOUR);
    (first, recycles(model) - first)
}

fn reason(model: &Pools) -> &str {
    &model.world.status.balance[0].reason
}

#[test]
fn a_connection_to_the_writer_that_every_recycle_brings_back_costs_two_recycles() {
    for method in [Method::Evict, Method::Http, Method::Signal] {
        let mut model = Pools::new(method, 8, false);
        model.strays = 1;
        model.reopen();
        let (hour, day) = play(&mut model);
        println!(
            "figures: monitor connection, {method:?}: {hour} recycles in an hour, {day} in the next day"
        );
        // A pod that lands on the fuller reader is moved once more.
        let even = usize::from(method != Method::Evict);
        assert!(hour <= 2 + even, "{method:?}: {hour}");
        assert_eq!(day, 0, "{method:?}");
        let balance = &model.world.status.balance[0];
        assert_eq!(balance.state, BalanceState::Unbalanced);
        assert_eq!(reason(&model), "Incurable", "{}", balance.message);
        assert!(
            balance.message.contains("8 to the wrong role"),
            "{}",
            balance.message
        );
    }
}

#[test]
fn a_restart_of_the_operator_does_not_try_it_again_and_an_edit_does() {
    let mut model = Pools::new(Method::Evict, 8, false);
    model.strays = 1;
    model.reopen();
    model.settle(HOUR);
    model.restart();
    model.settle(HOUR);
    assert_eq!(recycles(&model), 2);
    model.world.policy.generation = Some(2);
    model.settle(HOUR);
    assert!((3..=5).contains(&recycles(&model)), "{}", recycles(&model));
}

#[test]
fn a_connection_to_the_writer_that_is_declared_costs_none() {
    let mut model = Pools::new(Method::Evict, 8, false);
    model.strays = 1;
    model.world.spec.targets[0].pools[0].stray_connections = 1;
    model.reopen();
    assert_eq!(play(&mut model), (0, 0));
    assert_eq!(reason(&model), "Balanced");
}

#[test]
fn without_the_trigger_of_drift_it_costs_none() {
    let mut model = Pools::new(Method::Evict, 8, false);
    model.strays = 1;
    model.world.spec.triggers.drift.enabled = false;
    model.reopen();
    assert_eq!(play(&mut model), (0, 0));
}

#[test]
fn a_reader_that_the_pods_own_endpoint_leaves_out_is_given_up_after_one_episode() {
    for (method, most) in [(Method::Evict, 50), (Method::Http, 50)] {
        let mut model = Pools::new(method, 12, false);
        model.reopen();
        model.left_out = Some('d');
        model.topology("abcd");
        model.dns = "abcd".into();
        let (hour, day) = play(&mut model);
        println!(
            "figures: custom endpoint, {method:?}: {hour} recycles in an hour, {day} in the next day"
        );
        assert!(hour <= most, "{method:?}: {hour}");
        assert_eq!(day, 0, "{method:?}");
        assert_eq!(reason(&model), "Incurable");
    }
}

#[test]
fn a_listed_reader_that_dns_does_not_name_costs_none() {
    for method in [Method::Evict, Method::Http] {
        let mut model = Pools::new(method, 12, false);
        model.topology("abcd");
        let (hour, day) = play(&mut model);
        println!(
            "figures: dead reader, {method:?}: {hour} recycles in an hour, {day} in the next day"
        );
        assert_eq!((hour, day), (0, 0), "{method:?}");
    }
}
