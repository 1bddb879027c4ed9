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
    former: BTreeSet<IpAddr>,
    leaving: BTreeSet<InstanceId>,
    hold: Option<SignedDuration>,
    view: DnsView,
}

impl Case {
    /// Builds an epoch that settled at 0, on a topology of letters.
    fn new(triggers: &[Trigger], topology_letters: &str, added: &str) -> Self {
        Self {
            triggers: triggers.to_vec(),
            added: added.chars().map(|c| InstanceId(c.to_string())).collect(),
            topology: topology(topology_letters),
            former: BTreeSet::new(),
            leaving: BTreeSet::new(),
            hold: None,
            view: DnsView::default(),
        }
    }

    /// Nothing is measured afterwards: so many seconds are held.
    fn blind(mut self, hold: i64) -> Self {
        self.hold = Some(SignedDuration::from_secs(hold));
        self
    }

    /// The addresses of these letters belonged to instances that were replaced.
    fn former(mut self, letters: &str) -> Self {
        self.former = letters.chars().map(|c| address(&c.to_string())).collect();
        self
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
            has_reader_pools: true,
            expected: self.expected(),
        };
        check_agreement(awaited, &self.view, at(now))
    }

    fn expected(&self) -> ExpectedAnswers<'_> {
        ExpectedAnswers {
            topology: &self.topology,
            former: &self.former,
            leaving: &self.leaving,
            hold: self.hold,
            since: at(0),
            after: None,
        }
    }

    /// Whether a step of a target with a Reader pool may be taken.
    fn leads_readers(&self, now: i64) -> bool {
        check_endpoint(Endpoint::Reader, &self.expected(), &self.view, at(now)).is_ok()
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

/// The lab's slow answers: one a second, of letters, last at `end` seconds.
fn each_second(end: i64, letters: &str) -> Vec<DnsSample> {
    let count = i64::try_from(letters.len()).unwrap_or(0);
    let answers = letters.chars().zip(1..);
    answers
        .map(|(c, n)| named((end - count + n) * 1000, &c.to_string()))
        .collect()
}

#[test]
fn without_evidence_eight_looks_of_one_second_do_not_open_a_failover() {
    let seen = || Case::new(&[Trigger::Failover], "bac", "").writer(2000, "abbbbbbbb");
    assert!(seen().opens(2000), "what is measured afterwards is mended");
    let case = seen().blind(5);
    assert_eq!(
        case.why(2000),
        "the cluster endpoint must lead to b: it does, and must for twice 5 s (dns.holdSeconds), as caches may still answer otherwise"
    );
    assert!(case.judge(2000).is_err_and(|w| w.looking));
}

#[test]
fn looks_of_the_hold_do_not_count_after_it_as_all_of_them_may_be_one_cached_answer() {
    let mut case = Case::new(&[Trigger::Failover], "bac", "").blind(5);
    case.view.writer = looks(1000, "a");
    case.view.writer.extend(each_second(10, "bbbb"));
    case.view.writer.extend(looks(11_000, "bbbb"));
    assert!(case.opens(11_000), "8 of them since 6 s, the last at 11 s");
    case.view.writer = looks(5900, "abbbb");
    case.view.writer.extend(looks(16_000, "bbbb"));
    assert!(!case.opens(16_000), "four were made within the hold");
}

#[test]
fn the_looks_after_the_hold_span_as_long_again_for_caches_that_are_not_seen() {
    let mut case = Case::new(&[Trigger::Failover], "bac", "").blind(5);
    case.view.writer = looks(1000, "a");
    case.view.writer.extend(looks(7000, "bbbbbbbb"));
    assert!(!case.opens(7000));
    case.view.writer.extend(each_second(11, "bbbb"));
    assert!(case.opens(11_000));
}

#[test]
fn the_hold_lasts_as_long_as_the_answer_that_disagreed_is_valid() {
    let mut case = Case::new(&[Trigger::Failover], "bac", "").blind(5);
    case.view.writer = vec![named(1000, "a")];
    case.view.writer[0].ttl = 30;
    case.view.writer.extend(looks(30_900, "bbbbbbbb"));
    assert!(!case.opens(30_900));
    case.view.writer.extend(looks(36_000, "bbbbbbbb"));
    assert!(case.opens(36_000));
}

#[test]
fn an_answer_that_disagreed_is_remembered_longer_than_the_last_looks() {
    let mut case = Case::new(&[Trigger::Failover], "bac", "").blind(60);
    case.view.writers_named = vec![named(1000, "a"), named(30_000, "b")];
    case.view.writer = each_second(30, "bbbbbbbbbbbb");
    assert!(!case.opens(30_000));
    case.view.writer = each_second(121, "bbbbbbbbbbbb");
    assert!(case.opens(121_000));
}

#[test]
fn a_sampler_that_has_just_begun_does_not_know_what_was_answered_before() {
    let case = Case::new(&[Trigger::Failover], "bac", "").blind(5);
    let mut case = case.writer(900, "bbbbbbbb");
    assert!(!case.opens(900));
    case.view.since = Some(at(-60_000));
    assert!(case.opens(900), "it has never seen another answer");
}

#[test]
fn a_step_for_reader_pools_waits_until_the_reader_endpoint_leads_to_readers_alone() {
    let failover = |letters| {
        let case = Case::new(&[Trigger::Failover], "ba", "").blind(5);
        let mut case = case.writer(20_000, "bbbbbbbb");
        case.view.reader = each_second(20, letters);
        case.view.since = Some(at(-60_000));
        case
    };
    assert!(failover("bbbbbbbbbb").opens(20_000), "the writer followed");
    assert!(!failover("bbbbbbbbbb").leads_readers(20_000));
    assert!(!failover("bbbbaaaaaaaa").leads_readers(20_000), "held");
    assert!(failover("baaaaaaaaaaaaaaa").leads_readers(20_000));
}

#[test]
fn where_there_is_no_reader_the_reader_endpoint_leads_to_the_writer_and_that_is_right() {
    let mut case = Case::new(&[Trigger::Failover], "b", "").blind(5);
    case.view.reader = each_second(20, "aabbbbbbbbbbbbbbb");
    assert!(case.leads_readers(20_000));
}

#[test]
fn a_reader_that_is_being_deleted_may_be_named_beside_others() {
    let mut case = Case::new(&[Trigger::ReaderRemoved], "ab", "").reader(1000, "bbcbbcbc");
    assert!(!case.opens(1000), "c is a reader no more");
    case.leaving = BTreeSet::from([InstanceId("c".into())]);
    assert!(case.opens(1000));
    case = case.reader(1000, "cccccccc");
    assert!(!case.opens(1000), "pods would be led to it alone");
    case = case.reader(1000, "bbcbbabc");
    assert!(!case.opens(1000), "the writer is named");
}

#[test]
fn looks_from_before_a_step_do_not_confirm_the_last_one() {
    let case = Case::new(&[Trigger::Failover], "bac", "").writer(20_000, "bbbbbbbb");
    let check = |after| {
        let expected = ExpectedAnswers {
            after: Some(at(after)),
            ..case.expected()
        };
        check_endpoint(Endpoint::Writer, &expected, &case.view, at(20_000))
    };
    assert!(check(19_000).is_ok());
    assert!(check(19_500).is_err_and(|w| w.looking));
}

#[test]
fn a_replaced_cluster_is_told_by_address_as_a_switchover_keeps_the_names() {
    let replaced = |former: &str| {
        let mut case = Case::new(&[Trigger::Replaced], "bac", "").former(former);
        case.view.writer = looks(2000, "bbbbbbbb");
        case.view.reader = looks(2000, "acacacac");
        case
    };
    assert!(replaced("xy").opens(2000));
    assert!(!replaced("b").opens(2000), "the cluster endpoint");
    assert!(!replaced("c").opens(2000), "the reader endpoint");
    let mut writers_only = replaced("c");
    writers_only.triggers = vec![Trigger::Failover];
    assert!(writers_only.opens(2000));
}

#[test]
fn a_reader_that_was_made_anew_under_its_name_is_told_by_address() {
    let triggers = [Trigger::ReaderAdded, Trigger::ReaderRemoved];
    let case = Case::new(&triggers, "abc", "c").reader(2000, "bcbcbcbcbc");
    assert!(case.opens(2000));
    let case = case.former("c");
    assert!(case.why(2000).contains("must have named c"), "the old one");
    let removed = Case::new(&[Trigger::ReaderRemoved], "abc", "").former("c");
    assert!(!removed.reader(2000, "bcbcbcbcbc").opens(2000));
}

#[test]
fn a_first_reader_is_waited_for_until_the_reader_endpoint_leads_to_the_writer_no_more() {
    let first = |letters| Case::new(&[Trigger::ReaderAdded], "ab", "b").reader(9000, letters);
    assert!(!first("aaabaaba").opens(9000));
    assert!(first("abbbbbbbb").opens(9000));
    assert!(!first("abbbbbbbb").blind(5).opens(9000));
    assert!(first("abbbbbbbb").blind(0).opens(10_000));
}
