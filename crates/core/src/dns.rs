//! Holds what DNS has answered: samples of a cluster's endpoints, and which instance each address belongs to.
//!
//! The operator's DNS poller fills these values. What they must show before an epoch opens is decided in `agreement`.
//! Nothing here asks a resolver or reads a clock.

pub mod address_book;
pub mod agreement;

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

pub use address_book::{AddressBook, AddressRecord};

use super::topology::InstanceId;

/// How many samples of a name are kept: eight seconds at the fastest polling rate.
pub const KEPT_LOOKS: usize = 64;

/// How many samples must agree. A single sample sends some pod to the old writer in half of the failovers
/// (docs/adr/0008).
pub const AGREEING_LOOKS: usize = 8;

/// One lookup of an endpoint's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSample {
    /// When it was asked. The answer can be older than this only by the time that a cache keeps it.
    pub at: Timestamp,
    /// The address that was answered; of several, the first, because a driver connects to that one.
    pub address: Option<IpAddr>,
    /// The instance that was answered, identified by the CNAME's target or by the address.
    pub instance: Option<InstanceId>,
    /// How long the answer may be cached, in whole seconds: the shorter TTL of a CNAME and its target.
    pub ttl: u32,
    /// Why the lookup gave no address.
    pub failure: Option<&'static str>,
}

/// For how many addresses the newest sample is kept: two for each of the 16 instances that a cluster may have.
const KEPT_ADDRESSES: usize = 32;

/// The last samples of one name, oldest first, and the newest sample of each answered address, which may be older.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsSamples {
    last: VecDeque<DnsSample>,
    by_address: BTreeMap<IpAddr, DnsSample>,
    since: Option<Timestamp>,
}

impl DnsSamples {
    /// Adds a sample. Answers may arrive in any order; they are kept in the order in which they were asked.
    pub fn push(&mut self, look: DnsSample) {
        self.keep_by_address(&look);
        self.since = Some(self.since.map_or(look.at, |since| since.min(look.at)));
        let place = self.last.iter().rposition(|l| l.at <= look.at);
        self.last.insert(place.map_or(0, |p| p + 1), look);
        if self.last.len() > KEPT_LOOKS {
            self.last.pop_front();
        }
    }

    fn keep_by_address(&mut self, look: &DnsSample) {
        let Some(address) = look.address else {
            return;
        };
        let kept = &mut self.by_address;
        if kept.get(&address).is_none_or(|kept| kept.at <= look.at) {
            kept.insert(address, look.clone());
        }
        if kept.len() > KEPT_ADDRESSES {
            let oldest = kept.iter().min_by_key(|(_, l)| l.at).map(|(a, _)| *a);
            oldest.map(|address| kept.remove(&address));
        }
    }

    /// Returns the newest sample of each address that was ever answered, ordered by address.
    #[must_use]
    pub fn by_address(&self) -> Vec<DnsSample> {
        self.by_address.values().cloned().collect()
    }

    /// Returns when the first sample was made, kept or not.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }

    /// Returns all samples, oldest first.
    #[must_use]
    pub fn to_vec(&self) -> Vec<DnsSample> {
        self.last.iter().cloned().collect()
    }

    /// Returns the newest sample.
    #[must_use]
    pub fn last(&self) -> Option<&DnsSample> {
        self.last.back()
    }

    /// Returns the instance that the newest [`AGREEING_LOOKS`] samples all name, if they were made within `span`;
    /// `None` if there are fewer samples or they disagree.
    #[must_use]
    pub fn agreed_instance(&self, span: SignedDuration) -> Option<&InstanceId> {
        let from = self.last.len().checked_sub(AGREEING_LOOKS)?;
        let last = self.last()?;
        let named = last.instance.as_ref()?;
        let mut newest = self.last.range(from..);
        newest
            .all(|l| l.instance.as_ref() == Some(named) && last.at.duration_since(l.at) <= span)
            .then_some(named)
    }
}

/// A snapshot of a cluster's DNS answers for one reconcile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DnsView {
    /// The last samples of the cluster endpoint, oldest first.
    pub writer: Vec<DnsSample>,
    /// The newest sample of the cluster endpoint for each address that it answered: the last one that named another
    /// instance than now may be older than the last samples.
    pub writers_named: Vec<DnsSample>,
    /// The last samples of the reader endpoint, oldest first.
    pub reader: Vec<DnsSample>,
    /// The newest sample of the reader endpoint for each address that it answered. With many readers, the last
    /// samples may never contain all of them at once.
    pub readers_named: Vec<DnsSample>,
    /// Since when both endpoints have been sampled; `None` takes the oldest of the last samples for the first.
    pub since: Option<Timestamp>,
    /// The instances behind the addresses.
    pub book: AddressBook,
}

impl DnsView {
    /// Returns the instance that a sample named, as far as it is known now: its address may have become known since.
    #[must_use]
    pub fn instance_of(&self, look: &DnsSample) -> Option<InstanceId> {
        look.instance.clone().or_else(|| {
            let known = self.book.record_of(look.address?)?;
            Some(known.instance.clone())
        })
    }

    /// Returns whether the newest sample of any name was answered.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.failure().is_none()
            && [&self.writer, &self.reader]
                .iter()
                .any(|looks| looks.last().is_some_and(|l| l.address.is_some()))
    }

    /// Returns why lookups fail; `None` unless the newest sample of each endpoint failed.
    #[must_use]
    pub fn failure(&self) -> Option<&'static str> {
        let newest = [self.writer.last(), self.reader.last()];
        let mut newest = newest.into_iter().flatten();
        let first = newest.next()?.failure?;
        newest.all(|l| l.failure.is_some()).then_some(first)
    }
}

#[cfg(test)]
pub(crate) mod tests;
