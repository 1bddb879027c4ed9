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
pub struct DnsSamples(VecDeque<DnsSample>, BTreeMap<IpAddr, DnsSample>);

impl DnsSamples {
    /// Adds a sample. Answers may arrive in any order; they are kept in the order in which they were asked.
    pub fn push(&mut self, look: DnsSample) {
        self.keep_by_address(&look);
        let place = self.0.iter().rposition(|l| l.at <= look.at);
        self.0.insert(place.map_or(0, |p| p + 1), look);
        if self.0.len() > KEPT_LOOKS {
            self.0.pop_front();
        }
    }

    fn keep_by_address(&mut self, look: &DnsSample) {
        let Some(address) = look.address else {
            return;
        };
        if self.1.get(&address).is_none_or(|kept| kept.at <= look.at) {
            self.1.insert(address, look.clone());
        }
        if self.1.len() > KEPT_ADDRESSES {
            let oldest = self.1.iter().min_by_key(|(_, l)| l.at).map(|(a, _)| *a);
            oldest.map(|address| self.1.remove(&address));
        }
    }

    /// Returns the newest sample of each address that was ever answered, ordered by address.
    #[must_use]
    pub fn by_address(&self) -> Vec<DnsSample> {
        self.1.values().cloned().collect()
    }

    /// Returns all samples, oldest first.
    #[must_use]
    pub fn to_vec(&self) -> Vec<DnsSample> {
        self.0.iter().cloned().collect()
    }

    /// Returns the newest sample.
    #[must_use]
    pub fn last(&self) -> Option<&DnsSample> {
        self.0.back()
    }

    /// Returns the instance that the newest [`AGREEING_LOOKS`] samples all name, if they were made within `span`;
    /// `None` if there are fewer samples or they disagree.
    #[must_use]
    pub fn agreed_instance(&self, span: SignedDuration) -> Option<&InstanceId> {
        let from = self.0.len().checked_sub(AGREEING_LOOKS)?;
        let last = self.last()?;
        let named = last.instance.as_ref()?;
        let mut newest = self.0.range(from..);
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
    /// The last samples of the reader endpoint, oldest first.
    pub reader: Vec<DnsSample>,
    /// The newest sample of the reader endpoint for each address that it answered. With many readers, the last
    /// samples may never contain all of them at once.
    pub readers_named: Vec<DnsSample>,
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
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_780_000_000_000 + millis).unwrap_or_default()
    }

    /// Returns the address of the member that is named by a letter.
    pub(crate) fn address(name: &str) -> IpAddr {
        let letter = name.bytes().next().unwrap_or(b'?');
        IpAddr::from([10, 0, 0, letter])
    }

    /// Builds a sample that named the instance of this letter.
    pub(crate) fn named(millis: i64, name: &str) -> DnsSample {
        DnsSample {
            at: at(millis),
            address: Some(address(name)),
            instance: Some(InstanceId(name.into())),
            ttl: 1,
            failure: None,
        }
    }

    /// Builds a sample of a lookup that failed.
    pub(crate) fn failed(millis: i64, why: &'static str) -> DnsSample {
        DnsSample {
            at: at(millis),
            address: None,
            instance: None,
            ttl: 0,
            failure: Some(why),
        }
    }

    #[test]
    fn looks_are_kept_in_the_order_in_which_they_were_asked_and_only_so_many() {
        let mut looks = DnsSamples::default();
        for millis in [300, 100, 200, 200] {
            looks.push(named(millis, "a"));
        }
        let order: Vec<_> = looks.to_vec().iter().map(|l| l.at).collect();
        assert_eq!(order, [at(100), at(200), at(200), at(300)]);
        for n in 0..200 {
            looks.push(named(1000 + n, "b"));
        }
        assert_eq!(looks.to_vec().len(), KEPT_LOOKS);
        assert_eq!(looks.last().map(|l| l.at), Some(at(1199)));
    }

    #[test]
    fn the_newest_look_of_each_address_outlives_the_last_looks() {
        let mut looks = DnsSamples::default();
        looks.push(named(0, "d"));
        looks.push(failed(1, "NXDOMAIN"));
        for n in 0..100 {
            looks.push(named(100 + n, "b"));
        }
        looks.push(named(150, "b"));
        let kept: Vec<_> = looks.by_address().iter().map(|l| l.at).collect();
        assert_eq!(kept, [at(199), at(0)]);
        for letter in ('A'..='z').map(String::from) {
            looks.push(named(300, &letter));
        }
        assert_eq!(looks.by_address().len(), KEPT_ADDRESSES);
    }

    #[test]
    fn eight_looks_within_the_span_agree_and_seven_or_slow_ones_do_not() {
        let span = SignedDuration::from_secs(5);
        let mut looks = DnsSamples::default();
        for n in 0..7 {
            looks.push(named(n * 125, "b"));
        }
        assert_eq!(looks.agreed_instance(span), None);
        looks.push(named(7 * 125, "b"));
        assert_eq!(looks.agreed_instance(span).map(|i| i.0.as_str()), Some("b"));
        looks.push(named(8 * 125, "a"));
        assert_eq!(looks.agreed_instance(span), None, "flicker");
        let mut slow = DnsSamples::default();
        for n in 0..8 {
            slow.push(named(n * 5000, "b"));
        }
        assert_eq!(slow.agreed_instance(span), None);
    }

    #[test]
    fn a_view_says_how_looking_fails_only_if_every_name_fails() {
        let mut view = DnsView::default();
        assert!(!view.is_available() && view.failure().is_none());
        view.writer = vec![failed(0, "NXDOMAIN")];
        assert_eq!(view.failure(), Some("NXDOMAIN"));
        view.reader = vec![named(0, "a")];
        assert!(view.is_available());
    }
}
