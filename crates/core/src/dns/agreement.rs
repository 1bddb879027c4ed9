//! Checks what DNS answers before anything is recycled: whether it has followed the change of a pending epoch, and
//! whether it leads a pool where it belongs now.
//!
//! Pure: takes triggers, topology, samples and the time, and returns whether the gate is open or what it waits for.
//! What happens when that takes too long is set by the policy's `spec.dns` and decided by the planner.
//!
//! A sample counts as fresh if it was made after the change settled or within the last seconds. Earlier answers do
//! not show what a pool would be answered now.
//!
//! Where no connections are measured afterwards, eight answers that agree are not enough: all of them may be one
//! cached answer of a record that flickers. So [`ExpectedAnswers::hold`] passes after the last answer that disagreed,
//! for the cache that the operator asks; and the samples that count begin after it and span as long again, for the
//! caches of other nodes, which the operator does not see and which may have asked a shared cache last (docs/adr/0008).

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};

use super::{AGREEING_LOOKS, DnsSample, DnsView};
use crate::topology::{InstanceId, Topology};
use dbbalance_api::spec::Endpoint;
use dbbalance_api::status::Trigger;

/// How old a sample may be and still count, if the change settled later. `CoreDNS` keeps an answer for 5 s (the
/// minimum of its cache plugin), so an older sample may have come from an earlier state of every cache.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// Which answers of an endpoint are right, and when they count.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedAnswers<'a> {
    /// The settled topology. The cluster endpoint must name its writer, the reader endpoint its readers alone, or the
    /// writer where there is no reader.
    pub topology: &'a Topology,
    /// Addresses of instances that others have replaced under their names: an answer with one of them is wrong,
    /// whatever name it bears.
    pub former: &'a BTreeSet<IpAddr>,
    /// Readers that are being deleted, which DNS may name until they are gone: such an answer is not wrong, and not one
    /// that is waited for.
    pub leaving: &'a BTreeSet<InstanceId>,
    /// How long to hold after the last answer that disagreed, at least as long as its TTL, and how long right answers
    /// must follow then. `None` where connections are measured afterwards: what goes wrong is seen and mended.
    pub hold: Option<SignedDuration>,
    /// Samples from then on count, and those of the last seconds.
    pub since: Timestamp,
    /// Samples from before do not count at all.
    pub after: Option<Timestamp>,
}

/// A pending epoch, as far as DNS matters.
#[derive(Clone, Copy, Debug)]
pub struct AwaitedChange<'a> {
    /// What raised it.
    pub triggers: &'a [Trigger],
    /// The readers that it added.
    pub added: &'a BTreeSet<InstanceId>,
    /// Whether a target that it concerns has a Reader pool.
    pub has_reader_pools: bool,
    /// Which answers are right; `since` is when the change settled.
    pub expected: ExpectedAnswers<'a>,
}

/// What a closed gate waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsWait {
    /// What is waited for, and the last answers. Changes only when the answers do.
    pub message: String,
    /// Whether only more samples are needed: the next check should come soon.
    pub looking: bool,
}

const fn endpoint_name(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Writer => "the cluster endpoint",
        Endpoint::Reader => "the reader endpoint",
    }
}

/// Checks whether DNS has followed the pending epoch.
///
/// A failover waits for the cluster endpoint alone: targets without a Reader pool need no more, and the others are
/// held by [`check_pools`] at each step. It does not wait for readers that were added with it, as its pods are broken
/// now. A replaced cluster is waited for at the reader endpoint too: readers of the former one answer without an error.
///
/// # Errors
/// Returns what the gate waits for, if it is closed.
pub fn check_agreement(
    awaited: AwaitedChange,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    let expected = &awaited.expected;
    if awaited.triggers.iter().any(|t| t.is_urgent()) {
        check_endpoint(Endpoint::Writer, expected, view, now)?;
        if awaited.triggers.contains(&Trigger::Replaced) && awaited.has_reader_pools {
            check_endpoint(Endpoint::Reader, expected, view, now)?;
        }
        return Ok(());
    }
    if awaited.triggers.contains(&Trigger::ReaderAdded) {
        check_added_readers(awaited, view, now)?;
        check_writer_unnamed(expected, view, now)?;
    }
    if awaited.triggers.contains(&Trigger::ReaderRemoved) {
        check_endpoint(Endpoint::Reader, expected, view, now)?;
    }
    Ok(())
}

/// Checks before a step whose effects nothing measures whether DNS leads each of the target's pools where it belongs.
/// An epoch covers targets with different pools, so it opens by the writer; and DNS may turn back between two steps.
///
/// # Errors
/// Returns what is waited for at the first endpoint that does not.
pub fn check_pools(
    endpoints: impl IntoIterator<Item = Endpoint>,
    expected: &ExpectedAnswers,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    endpoints
        .into_iter()
        .try_for_each(|endpoint| check_endpoint(endpoint, expected, view, now))
}

/// Checks that the last eight samples of an endpoint are right and count. One that is not restarts the count, and the
/// hold.
///
/// # Errors
/// Returns what is waited for.
pub fn check_endpoint(
    endpoint: Endpoint,
    expected: &ExpectedAnswers,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    let looks = endpoint_looks(endpoint, view);
    let last = &looks[looks.len().saturating_sub(AGREEING_LOOKS)..];
    let is_right = |l: &DnsSample| expected.is_right(endpoint, view, l);
    let is_served = |l: &DnsSample| expected.is_served(endpoint, view, l);
    let looking = last.iter().all(is_right) && (last.is_empty() || last.iter().any(is_served));
    let held_until = expected.held_until(endpoint, view);
    let counts = |l: &DnsSample| {
        expected.is_fresh(l, now)
            && held_until.is_none_or(|until| l.at >= until)
            && expected.after.is_none_or(|after| l.at >= after)
    };
    let confirmed_from = held_until.and_then(|until| expected.hold_after(until, 0));
    let is_confirmed = last
        .last()
        .is_some_and(|l| confirmed_from.is_none_or(|from| l.at >= from));
    if last.len() == AGREEING_LOOKS && looking && is_confirmed && last.iter().all(counts) {
        return Ok(());
    }
    let wanted = format!(
        "{} {}",
        endpoint_name(endpoint),
        expected.describe(endpoint)
    );
    if let (true, false, Some(hold)) = (looking, is_confirmed, expected.hold) {
        let hold = hold.as_secs();
        let message = format!(
            "{wanted}: it does, and must for twice {hold} s (dns.holdSeconds), as caches may still answer otherwise"
        );
        return Err(DnsWait { message, looking });
    }
    Err(describe_wait(&wanted, endpoint, view, last, looking))
}

impl ExpectedAnswers<'_> {
    /// Returns whether a sample names where the endpoint's pools belong, or a reader that is about to go.
    fn is_right(&self, endpoint: Endpoint, view: &DnsView, look: &DnsSample) -> bool {
        let leaves = |named: InstanceId| self.leaving.contains(&named);
        let is_leaving = endpoint == Endpoint::Reader
            && !self.leaving.is_empty()
            && view.instance_of(look).is_some_and(leaves);
        is_leaving || self.is_served(endpoint, view, look)
    }

    /// Returns whether a sample names where the endpoint's pools belong.
    fn is_served(&self, endpoint: Endpoint, view: &DnsView, look: &DnsSample) -> bool {
        let Some(named) = view.instance_of(look) else {
            return false;
        };
        let topology = self.topology;
        let is_named = match endpoint {
            Endpoint::Reader if !topology.readers.is_empty() => {
                topology.readers.iter().any(|r| r.instance == named)
            }
            Endpoint::Writer | Endpoint::Reader => topology.writer.instance == named,
        };
        is_named && !self.is_former(look)
    }

    fn is_former(&self, look: &DnsSample) -> bool {
        look.address.is_some_and(|a| self.former.contains(&a))
    }

    fn is_fresh(&self, look: &DnsSample, now: Timestamp) -> bool {
        look.at >= self.since || now.duration_since(look.at) <= FRESH
    }

    /// Returns until when caches may still repeat an answer that disagreed; `None` where nothing is held. Where no such
    /// answer is known, one from just before the first sample is assumed.
    #[must_use]
    pub fn held_until(&self, endpoint: Endpoint, view: &DnsView) -> Option<Timestamp> {
        let wrong = known_looks(endpoint, view)
            .filter(|l| l.address.is_some() && !self.is_right(endpoint, view, l));
        let known = wrong.filter_map(|l| self.hold_after(l.at, l.ttl)).max();
        known.or_else(|| {
            let oldest = || endpoint_looks(endpoint, view).first().map(|l| l.at);
            self.hold_after(view.since.or_else(oldest)?, 0)
        })
    }

    /// Returns until when an answer is held that was given at this time; `None` where nothing is held.
    fn hold_after(&self, at: Timestamp, ttl: u32) -> Option<Timestamp> {
        let ttl = SignedDuration::from_secs(ttl.into());
        let end = at.saturating_add(self.hold?.max(ttl));
        Some(end.unwrap_or(Timestamp::MAX))
    }

    fn describe(&self, endpoint: Endpoint) -> String {
        let writer = &self.topology.writer.instance;
        match endpoint {
            Endpoint::Writer => format!("must lead to {writer}"),
            Endpoint::Reader if self.topology.readers.is_empty() => {
                format!("must lead to {writer}, as there is no reader")
            }
            Endpoint::Reader => {
                format!("must name readers alone, {AGREEING_LOOKS} times in a row")
            }
        }
    }
}

fn endpoint_looks(endpoint: Endpoint, view: &DnsView) -> &[DnsSample] {
    match endpoint {
        Endpoint::Writer => &view.writer,
        Endpoint::Reader => &view.reader,
    }
}

/// Returns the last samples of an endpoint, and the newest one of each address.
fn known_looks(endpoint: Endpoint, view: &DnsView) -> impl Iterator<Item = &DnsSample> {
    let named = match endpoint {
        Endpoint::Writer => &view.writers_named,
        Endpoint::Reader => &view.readers_named,
    };
    endpoint_looks(endpoint, view).iter().chain(named)
}

/// Checks that the reader endpoint leads to the writer no more, as it does while a cluster has no reader: pools that
/// were sent there for the new reader would stay on the writer.
fn check_writer_unnamed(
    expected: &ExpectedAnswers,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    let writer = &expected.topology.writer.instance;
    let names_writer = |l: &DnsSample| view.instance_of(l).as_ref() == Some(writer);
    let last = &view.reader[view.reader.len().saturating_sub(AGREEING_LOOKS)..];
    let mut recent = last.iter().filter(|l| expected.is_fresh(l, now));
    let is_named = recent.any(names_writer)
        || known_looks(Endpoint::Reader, view)
            .filter(|l| names_writer(l))
            .filter_map(|l| expected.hold_after(l.at, l.ttl))
            .any(|until| now < until);
    if expected.topology.readers.is_empty() || !is_named {
        return Ok(());
    }
    let wanted = format!(
        "{} must not lead to the writer {writer} any more",
        endpoint_name(Endpoint::Reader)
    );
    Err(describe_wait(&wanted, Endpoint::Reader, view, last, false))
}

/// Checks that each added reader that is still a reader has been named since the change settled, at no address of an
/// instance that it replaced.
fn check_added_readers(
    awaited: AwaitedChange,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    let expected = &awaited.expected;
    let looks = view.readers_named.iter().chain(&view.reader);
    let fresh: Vec<&DnsSample> = looks
        .filter(|l| expected.is_fresh(l, now) && !expected.is_former(l))
        .collect();
    let seen: BTreeSet<InstanceId> = fresh.iter().filter_map(|l| view.instance_of(l)).collect();
    let missing: Vec<&str> = awaited
        .added
        .iter()
        .filter(|a| expected.topology.readers.iter().any(|r| r.instance == **a))
        .filter(|a| !seen.contains(a))
        .map(|a| a.0.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = format!(
        "{} must have named {}",
        endpoint_name(Endpoint::Reader),
        missing.join(" and ")
    );
    // All samples since the change settled: the last ones are a random subset, and the message would change with each
    // sample.
    let looks: Vec<DnsSample> = fresh.into_iter().cloned().collect();
    Err(describe_wait(
        &wanted,
        Endpoint::Reader,
        view,
        &looks,
        false,
    ))
}

/// Formats the message. It changes with the set of answers, not with each sample.
fn describe_wait(
    wanted: &str,
    endpoint: Endpoint,
    view: &DnsView,
    looks: &[DnsSample],
    looking: bool,
) -> DnsWait {
    let answers: BTreeSet<String> = looks.iter().map(|l| describe_answer(view, l)).collect();
    let answered = if answers.is_empty() {
        format!("{} has not been looked up since", endpoint_name(endpoint))
    } else {
        let answers: Vec<String> = answers.into_iter().collect();
        format!("last answered: {}", answers.join(", "))
    };
    let message = if looking {
        format!("{wanted}: fewer than {AGREEING_LOOKS} looks in a row have said so yet")
    } else {
        format!("{wanted}; {answered}")
    };
    DnsWait { message, looking }
}

fn describe_answer(view: &DnsView, look: &DnsSample) -> String {
    match (view.instance_of(look), look.address) {
        (Some(instance), _) => instance.0,
        (None, Some(address)) => format!("{address}, which is no known member"),
        (None, None) => look.failure.unwrap_or("no address").to_owned(),
    }
}

#[cfg(test)]
mod tests;
