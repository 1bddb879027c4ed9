use strum::VariantArray as _;

use super::*;
use crate::testing::socket;

#[test]
fn connections_are_new_by_their_ports_and_servers() {
    let before = [socket(1, "10.0.0.1"), socket(2, "10.0.0.1")];
    let after = [
        socket(2, "10.0.0.1"),
        socket(3, "10.0.0.2"),
        socket(1, "10.0.0.2"),
    ];
    let fresh = fresh_sockets(&before, &after);
    assert_eq!(fresh, [&after[1], &after[2]]);
    assert_eq!(kept_sockets(&before, &after), [&before[1]]);
    assert!(fresh_sockets(&before, &before).is_empty());
}

#[test]
fn a_connection_that_the_server_has_closed_is_neither_new_nor_kept() {
    let before = [socket(1, "10.0.0.1")];
    let mut closed = socket(1, "10.0.0.1");
    closed.state = SocketState::ClosedByServer;
    assert!(kept_sockets(&before, std::slice::from_ref(&closed)).is_empty());
    assert!(fresh_sockets(&[], std::slice::from_ref(&closed)).is_empty());
    assert!(!closed.is_suspect());
}

#[test]
fn a_silent_server_is_suspected_after_three_attempts() {
    let mut silent = socket(1, "10.0.0.1");
    silent.unacknowledged = 40;
    silent.retransmits = 2;
    assert!(!silent.is_suspect());
    silent.retransmits = 3;
    assert!(silent.is_suspect());
    assert_eq!(silent.retransmitting_for(), Duration::from_millis(1400));
    silent.retransmits = 6;
    assert_eq!(silent.retransmitting_for(), Duration::from_millis(12_600));
    let mut idle = socket(1, "10.0.0.1");
    idle.unanswered_probes = 3;
    assert!(idle.is_suspect(), "keep-alives without an answer");
}

#[test]
fn time_in_vain_is_bounded_whatever_the_table_says() {
    let mut odd = socket(1, "10.0.0.1");
    odd.retransmits = u32::MAX;
    assert!(odd.retransmitting_for() < Duration::from_hours(3));
}

#[test]
fn every_reason_has_a_word_of_its_own() {
    let reasons = UnreadableReason::VARIANTS;
    let words: BTreeSet<_> = reasons.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), reasons.len());
}

#[test]
fn sockets_are_dated_by_the_last_reading_that_did_not_have_them() {
    let at = |second| jiff::Timestamp::from_second(second).unwrap_or_default();
    let read = |second, ports: &[u16]| PodReading {
        at: at(second),
        sockets: ports.iter().map(|p| socket(*p, "10.0.0.1")).collect(),
    };
    let next = |former: &PodReading, second, ports: &[u16]| {
        let mut sockets = read(second, ports).sockets.to_vec();
        date_sockets(&mut sockets, former);
        PodReading {
            at: at(second),
            sockets: sockets.into(),
        }
    };
    let first = read(10, &[1, 2]);
    let second = next(&first, 20, &[2, 3]);
    let third = next(&second, 30, &[2, 3, 1]);
    let opened: Vec<_> = third.sockets.iter().map(|s| s.opened_after).collect();
    assert_eq!(opened, [None, Some(at(10)), Some(at(20))]);
}
