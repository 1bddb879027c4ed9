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
