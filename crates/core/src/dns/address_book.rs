//! Records which address belongs, or belonged, to which instance.
//!
//! It is filled from lookups of the instance endpoints. Former addresses are kept for a day: the connections of a
//! removed or re-addressed instance outlive its DNS name and must still be recognised.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use crate::topology::InstanceId;

/// How long an address is remembered after it was last seen: longer than pools that keep connections for hours,
/// shorter than a subnet takes to reassign most addresses.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// The instance behind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRecord {
    /// The instance.
    pub instance: InstanceId,
    /// When the instance's endpoint last resolved to this address.
    pub last_seen: Timestamp,
    /// Whether the endpoint resolves to this address now and the instance is still a member.
    pub current: bool,
}

/// Addresses and their instances. If two instances had an address, it belongs to the later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressBook {
    entries: BTreeMap<IpAddr, AddressRecord>,
}

impl AddressBook {
    /// Returns the instance that has, or last had, this address. An IPv4 address that is written as IPv6 is the same
    /// address.
    #[must_use]
    pub fn record_of(&self, address: IpAddr) -> Option<&AddressRecord> {
        self.entries.get(&address.to_canonical())
    }

    /// Returns the current addresses of the instance.
    pub fn current_addresses<'a>(
        &'a self,
        instance: &'a InstanceId,
    ) -> impl Iterator<Item = IpAddr> + 'a {
        self.entries
            .iter()
            .filter(move |(_, known)| known.current && known.instance == *instance)
            .map(|(address, _)| *address)
    }

    /// Returns whether no address is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records the answer of a lookup of an instance's endpoint: all of its addresses of one family. Other addresses
    /// of this family stop being current.
    pub fn record_lookup(&mut self, instance: &InstanceId, addresses: &[IpAddr], now: Timestamp) {
        let Some(first) = addresses.first().map(IpAddr::to_canonical) else {
            return;
        };
        for (address, known) in &mut self.entries {
            if known.instance == *instance && address.is_ipv4() == first.is_ipv4() {
                known.current = false;
            }
        }
        for address in addresses {
            let known = AddressRecord {
                instance: instance.clone(),
                last_seen: now,
                current: true,
            };
            self.entries.insert(address.to_canonical(), known);
        }
    }

    /// Records where an instance was found according to the policy's status; a lookup takes precedence. The member is
    /// assumed to be there until its endpoint resolves elsewhere. Otherwise its good connections would seem to lead
    /// to unknown addresses, and a new leader would start by recycling them.
    pub fn seed_address(
        &mut self,
        instance: &InstanceId,
        address: IpAddr,
        is_member: bool,
        now: Timestamp,
    ) {
        let current = is_member && self.current_addresses(instance).next().is_none();
        let known = AddressRecord {
            instance: instance.clone(),
            last_seen: now,
            current,
        };
        self.entries.entry(address.to_canonical()).or_insert(known);
    }

    /// Updates who the members are: addresses of all other instances stop being current.
    pub fn keep_current(&mut self, is_member: impl Fn(&InstanceId) -> bool) {
        for known in self.entries.values_mut() {
            known.current &= is_member(&known.instance);
        }
    }

    /// Removes addresses that were last seen more than a day ago.
    pub fn forget_old(&mut self, now: Timestamp) {
        self.entries
            .retain(|_, known| known.current || now.duration_since(known.last_seen) <= KEPT_FOR);
    }
}

#[cfg(test)]
mod tests {
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
}
