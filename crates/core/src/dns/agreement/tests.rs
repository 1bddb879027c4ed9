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
