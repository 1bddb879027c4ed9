//! Checks the DNS gate of a pending epoch: whether DNS has followed its change.
//!
//! Pure: takes triggers, topology, samples and the time, and returns whether the gate is open or what it waits for.
//! What happens when that takes too long is set by the policy's `spec.dns` and decided where epochs open.
//!
//! A sample counts as fresh if it was made after the change settled or within the last seconds. Earlier answers do
//! not show what a pool would be answered now.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{AGREEING_LOOKS, DnsSample, DnsView};
use crate::topology::{InstanceId, Topology};
use dbbalance_api::spec::Endpoint;
use dbbalance_api::status::Trigger;

/// How old a sample may be and still count, if the change settled later. `CoreDNS` keeps an answer for 5 s (the
/// minimum of its cache plugin), so an older sample may have come from an earlier state of every cache.
const FRESH: SignedDuration = SignedDuration::from_secs(5);

/// A pending epoch, as far as DNS matters.
#[derive(Clone, Copy, Debug)]
pub struct AwaitedChange<'a> {
    /// What raised it.
    pub triggers: &'a [Trigger],
    /// The readers that it added.
    pub added: &'a BTreeSet<InstanceId>,
    /// The settled topology, including the change.
    pub topology: &'a Topology,
    /// When it settled.
    pub since: Timestamp,
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
/// A failover does not wait for readers that were added with it: its pods are broken now.
///
/// # Errors
/// Returns what the gate waits for, if it is closed.
pub fn check_agreement(
    awaited: AwaitedChange,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    if awaited.triggers.iter().any(|t| t.is_urgent()) {
        return check_writer(awaited, view, now);
    }
    if awaited.triggers.contains(&Trigger::ReaderAdded) {
        check_added_readers(awaited, view, now)?;
    }
    if awaited.triggers.contains(&Trigger::ReaderRemoved) {
        check_members_alone(awaited, view, now)?;
    }
    Ok(())
}

/// Checks that eight consecutive fresh samples name the writer; one that does not restarts the count.
fn check_writer(awaited: AwaitedChange, view: &DnsView, now: Timestamp) -> Result<(), DnsWait> {
    let writer = &awaited.topology.writer.instance;
    let last = select_last_samples(&view.writer);
    let agree = |l: &DnsSample| view.instance_of(l).as_ref() == Some(writer);
    if has_enough_fresh(awaited, last, now) && last.iter().all(agree) {
        return Ok(());
    }
    let wanted = format!("{} must lead to {writer}", endpoint_name(Endpoint::Writer));
    let looking = last.iter().all(agree);
    Err(describe_wait(
        &wanted,
        Endpoint::Writer,
        view,
        last,
        looking,
    ))
}

/// Checks that each added reader that is still a reader has been named since the change settled.
fn check_added_readers(
    awaited: AwaitedChange,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    let looks = view.readers_named.iter().chain(&view.reader);
    let fresh: Vec<&DnsSample> = looks.filter(|l| is_fresh(awaited, l, now)).collect();
    let seen: BTreeSet<InstanceId> = fresh.iter().filter_map(|l| view.instance_of(l)).collect();
    let missing: Vec<&str> = awaited
        .added
        .iter()
        .filter(|a| awaited.topology.readers.iter().any(|r| r.instance == **a))
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

/// Checks that no answer of the last eight fresh samples names an instance that is not a member.
fn check_members_alone(
    awaited: AwaitedChange,
    view: &DnsView,
    now: Timestamp,
) -> Result<(), DnsWait> {
    let is_member = |i: &InstanceId| awaited.topology.members().any(|(m, _)| m.instance == *i);
    let last = select_last_samples(&view.reader);
    let holds = |l: &DnsSample| view.instance_of(l).is_some_and(|i| is_member(&i));
    if has_enough_fresh(awaited, last, now) && last.iter().all(holds) {
        return Ok(());
    }
    let wanted = format!(
        "{} must name members alone, {AGREEING_LOOKS} times in a row",
        endpoint_name(Endpoint::Reader)
    );
    let looking = last.iter().all(holds);
    Err(describe_wait(
        &wanted,
        Endpoint::Reader,
        view,
        last,
        looking,
    ))
}

fn select_last_samples(looks: &[DnsSample]) -> &[DnsSample] {
    &looks[looks.len().saturating_sub(AGREEING_LOOKS)..]
}

fn has_enough_fresh(awaited: AwaitedChange, last: &[DnsSample], now: Timestamp) -> bool {
    last.len() == AGREEING_LOOKS && last.iter().all(|l| is_fresh(awaited, l, now))
}

fn is_fresh(awaited: AwaitedChange, look: &DnsSample, now: Timestamp) -> bool {
    look.at >= awaited.since || now.duration_since(look.at) <= FRESH
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
