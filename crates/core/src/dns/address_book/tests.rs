use super::*;
use crate::dns::tests::{address, at};

fn id(name: &str) -> InstanceId {
    InstanceId(name.into())
}

fn book(entries: &[(&str, &str)]) -> AddressBook {
    let mut book = AddressBook::default();
    for (instance, place) in entries {
        book.record_lookup(&id(instance), &[address(place)], at(0));
    }
    book
}

#[test]
fn an_instance_that_was_given_another_address_is_recognised_at_both() {
    let book = book(&[("a", "x"), ("a", "y")]);
    let old = book.record_of(address("x")).cloned();
    assert_eq!(old.map(|k| (k.instance, k.current)), Some((id("a"), false)));
    assert_eq!(book.record_of(address("y")).map(|k| k.current), Some(true));
    assert_eq!(
        book.current_addresses(&id("a")).collect::<Vec<_>>(),
        [address("y")]
    );
}

#[test]
fn what_was_recorded_is_recognised_and_replaces_nothing_that_was_looked_up() {
    let mut book = book(&[("a", "x")]);
    book.seed_address(&id("b"), address("x"), true, at(1));
    book.seed_address(&id("gone"), address("z"), false, at(1));
    let of = |place| {
        book.record_of(address(place))
            .map(|k| (k.instance.clone(), k.current))
    };
    assert_eq!(of("x"), Some((id("a"), true)));
    assert_eq!(of("z"), Some((id("gone"), false)));
}

#[test]
fn a_recorded_member_is_where_it_was_until_its_endpoint_says_otherwise() {
    let mut book = AddressBook::default();
    book.seed_address(&id("b"), address("y"), true, at(1));
    assert_eq!(book.record_of(address("y")).map(|k| k.current), Some(true));
    book.record_lookup(&id("b"), &[address("z")], at(2));
    assert_eq!(book.record_of(address("y")).map(|k| k.current), Some(false));
    book.seed_address(&id("b"), address("q"), true, at(3));
    assert_eq!(book.record_of(address("q")).map(|k| k.current), Some(false));
}

#[test]
fn an_address_that_another_instance_was_given_is_the_later_ones() {
    let book = book(&[("a", "x"), ("b", "x")]);
    assert_eq!(
        book.record_of(address("x")).map(|k| k.instance.clone()),
        Some(id("b"))
    );
}

#[test]
fn a_removed_instance_is_recognised_for_a_day_after_it_was_last_seen() {
    let mut book = book(&[("a", "x"), ("b", "y")]);
    book.keep_current(|i| i.0 == "b");
    book.forget_old(at(24 * 3_600_000));
    assert_eq!(book.record_of(address("x")).map(|k| k.current), Some(false));
    book.forget_old(at(24 * 3_600_000 + 1));
    assert_eq!(book.record_of(address("x")), None);
    assert!(book.record_of(address("y")).is_some(), "a member stays");
}

#[test]
fn both_families_of_an_instance_are_current_and_a_mapped_address_is_the_same() {
    let mut book = book(&[("a", "x")]);
    let six: IpAddr = "fd00::7".parse().unwrap_or(address("?"));
    book.record_lookup(&id("a"), &[six], at(0));
    assert_eq!(book.current_addresses(&id("a")).count(), 2);
    let IpAddr::V4(four) = address("x") else {
        unreachable!("an IPv4 address")
    };
    let shown = IpAddr::V6(four.to_ipv6_mapped());
    assert_eq!(
        book.record_of(shown).map(|k| k.instance.clone()),
        Some(id("a"))
    );
}

#[test]
fn no_answer_changes_nothing() {
    let mut book = book(&[("a", "x")]);
    let before = book.clone();
    book.record_lookup(&id("a"), &[], at(5));
    assert_eq!(book, before);
}
