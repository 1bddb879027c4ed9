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
mod tests;
