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
mod tests {
    use super::*;
    use crate::dns::tests::{address, at, failed, named};
    use crate::testing::topology;

    /// Builds samples that are 125 ms apart and end at `end`, from the letters that they named; `-` is a failed
    /// lookup.
    fn looks(end: i64, letters: &str) -> Vec<DnsSample> {
        let count = i64::try_from(letters.len()).unwrap_or(0);
        letters
            .chars()
            .zip(0..)
            .map(|(letter, n)| {
                let millis = end - (count - 1 - n) * 125;
                match letter {
                    '-' => failed(millis, "NXDOMAIN"),
                    letter => named(millis, &letter.to_string()),
                }
            })
            .collect()
    }

    struct Case {
        triggers: Vec<Trigger>,
        added: BTreeSet<InstanceId>,
        topology: Topology,
        view: DnsView,
    }

    impl Case {
        /// Builds an epoch that settled at 0, on a topology of letters.
        fn new(triggers: &[Trigger], topology_letters: &str, added: &str) -> Self {
            Self {
                triggers: triggers.to_vec(),
                added: added.chars().map(|c| InstanceId(c.to_string())).collect(),
                topology: topology(topology_letters),
                view: DnsView::default(),
            }
        }

        fn writer(mut self, end: i64, letters: &str) -> Self {
            self.view.writer = looks(end, letters);
            self
        }

        fn reader(mut self, end: i64, letters: &str) -> Self {
            self.view.reader = looks(end, letters);
            self
        }

        fn judge(&self, now: i64) -> Result<(), DnsWait> {
            let awaited = AwaitedChange {
                triggers: &self.triggers,
                added: &self.added,
                topology: &self.topology,
                since: at(0),
            };
            check_agreement(awaited, &self.view, at(now))
        }

        fn opens(&self, now: i64) -> bool {
            self.judge(now).is_ok()
        }

        fn why(&self, now: i64) -> String {
            self.judge(now).err().map_or(String::new(), |w| w.message)
        }
    }

    #[test]
    fn a_failover_waits_for_eight_looks_in_a_row_at_the_new_writer() {
        let case = Case::new(&[Trigger::Failover], "bac", "").writer(2000, "aaabbbbbbb");
        assert_eq!(
            case.why(2000),
            "the cluster endpoint must lead to b; last answered: a, b"
        );
        let case = case.writer(2000, "aaabbbbbbbb");
        assert!(case.opens(2000));
    }

    #[test]
    fn flicker_to_the_old_writer_begins_the_count_anew() {
        let failover = || Case::new(&[Trigger::Failover], "bac", "");
        assert!(!failover().writer(2000, "bbbbbbbba").opens(2000));
        assert!(!failover().writer(2000, "bbbbbbbbabbbbbbb").opens(2000));
        assert!(failover().writer(2000, "bbbbbbbbabbbbbbbb").opens(2000));
    }

    #[test]
    fn a_failed_look_is_no_agreement() {
        let case = Case::new(&[Trigger::Failover], "bac", "").writer(2000, "bbbb-bbb");
        assert!(!case.opens(2000));
    }

    #[test]
    fn too_few_looks_ask_to_look_again_soon() {
        let case = Case::new(&[Trigger::Failover], "bac", "").writer(500, "bbb");
        let waiting = case.judge(500).err();
        assert!(waiting.is_some_and(|w| w.looking));
    }

    #[test]
    fn looks_from_before_count_only_if_they_are_a_few_seconds_old() {
        let case = Case::new(&[Trigger::Failover], "bac", "").writer(-100, "bbbbbbbb");
        assert!(case.opens(3000));
        assert!(!case.opens(6000), "nobody has looked since");
    }

    #[test]
    fn slow_looks_since_the_change_settled_count_too() {
        let mut case = Case::new(&[Trigger::Failover], "bac", "");
        case.view.writer = (0..8).map(|n| named(n * 5000, "b")).collect();
        assert!(case.opens(40_000));
    }

    #[test]
    fn an_answer_without_an_instance_is_told_by_the_address_book() {
        let mut case = Case::new(&[Trigger::Failover], "bac", "").writer(2000, "bbbbbbbb");
        for look in &mut case.view.writer {
            look.instance = None;
        }
        assert!(
            case.why(2000)
                .contains("10.0.0.98, which is no known member")
        );
        let b = InstanceId("b".into());
        case.view.book.record_lookup(&b, &[address("b")], at(1000));
        assert!(case.opens(2000));
    }

    #[test]
    fn a_new_reader_must_have_been_named_since_it_settled() {
        let added = || Case::new(&[Trigger::ReaderAdded], "abcd", "d");
        assert!(!added().reader(1000, "bcbcbcbc").opens(1000));
        assert_eq!(
            added().reader(1000, "bcbc").why(1000),
            "the reader endpoint must have named d; last answered: b, c"
        );
        assert!(added().reader(1000, "bcbdbc").opens(1000));
        assert!(
            !added().reader(-6000, "dddddddd").opens(1000),
            "before it settled"
        );
    }

    #[test]
    fn of_two_new_readers_both_must_have_been_named() {
        let case = Case::new(&[Trigger::ReaderAdded], "abcd", "cd").reader(1000, "bdbdbd");
        assert!(case.why(1000).contains("named c;"));
        assert!(case.reader(1000, "bdbdbdc").opens(1000));
    }

    #[test]
    fn many_new_readers_need_not_be_named_within_the_last_looks() {
        let mut case = Case::new(&[Trigger::ReaderAdded], "abcdef", "def").reader(90_000, "dbcb");
        case.view.readers_named = vec![named(90_000, "d"), named(40_000, "e"), named(-9000, "f")];
        assert_eq!(
            case.why(90_000),
            "the reader endpoint must have named f; last answered: b, c, d, e"
        );
        case.view.readers_named[2] = named(1000, "f");
        assert!(case.opens(90_000));
    }

    #[test]
    fn a_new_reader_that_was_promoted_is_not_waited_for_at_the_reader_endpoint() {
        let case = Case::new(&[Trigger::ReaderAdded], "dab", "d").reader(1000, "ab");
        assert!(case.opens(1000));
    }

    #[test]
    fn a_removed_reader_must_not_be_named_in_the_last_eight_looks() {
        let removed = || Case::new(&[Trigger::ReaderRemoved], "ab", "");
        assert!(!removed().reader(2000, "bbbbbbbbcbbbbbbb").opens(2000));
        assert!(removed().reader(2000, "bbbbbbbbcbbbbbbbb").opens(2000));
        assert!(!removed().reader(2000, "bbbbbbb").opens(2000), "too few");
        assert!(!removed().reader(-6000, "bbbbbbbb").opens(2000), "too old");
    }

    #[test]
    fn with_its_last_reader_gone_the_reader_endpoint_may_name_the_writer() {
        let case = Case::new(&[Trigger::ReaderRemoved], "a", "").reader(2000, "aaaaaaaa");
        assert!(case.opens(2000));
    }

    #[test]
    fn a_failover_does_not_wait_for_the_readers_beside_it() {
        let triggers = [Trigger::ReaderAdded, Trigger::Failover];
        let case = Case::new(&triggers, "bacd", "d").writer(2000, "bbbbbbbb");
        assert!(case.opens(2000));
    }

    #[test]
    fn a_token_alone_waits_for_nothing() {
        assert!(Case::new(&[Trigger::Manual], "abc", "").opens(0));
    }

    #[test]
    fn names_that_cannot_be_resolved_are_waited_for_in_the_words_of_the_failure() {
        let case = Case::new(&[Trigger::Failover], "bac", "").writer(2000, "--------");
        assert_eq!(
            case.why(2000),
            "the cluster endpoint must lead to b; last answered: NXDOMAIN"
        );
        let never = Case::new(&[Trigger::ReaderAdded], "abcd", "d");
        assert!(never.why(0).contains("has not been looked up since"));
    }
}
