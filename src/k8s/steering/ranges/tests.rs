#![allow(clippy::unwrap_used)]
use super::*;

fn may(ranges: &str, address: &str) -> bool {
    let ranges = AllowedRanges::parse(ranges).unwrap();
    ranges.may_lead_to(address.parse().unwrap())
}

#[test]
fn private_addresses_are_allowed_by_default_and_public_ones_are_not() {
    for address in [
        "10.0.0.1",
        "10.255.255.255",
        "172.31.0.9",
        "192.168.7.7",
        "100.127.1.1",
    ] {
        assert!(may(DEFAULT_ALLOWED_CIDRS, address), "{address}");
    }
    for address in [
        "9.255.255.255",
        "11.0.0.0",
        "172.32.0.1",
        "8.8.8.8",
        "100.128.0.1",
        "fd00::1",
        "2001:db8::1",
    ] {
        assert!(!may(DEFAULT_ALLOWED_CIDRS, address), "{address}");
    }
}

#[test]
fn loopback_and_link_local_addresses_are_refused_whatever_the_ranges_say() {
    let all = "127.0.0.0/8,169.254.0.0/16,224.0.0.0/8,255.0.0.0/8,0.0.0.0/8";
    for address in [
        "127.0.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "::ffff:127.0.0.1",
    ] {
        assert!(!may(all, address), "{address}");
    }
}

#[test]
fn an_ipv4_address_that_is_written_as_ipv6_is_the_same_address() {
    assert!(may("10.1.0.0/16", "::ffff:10.1.2.3"));
    assert!(!may("10.1.0.0/16", "::ffff:10.2.2.3"));
}

#[test]
fn a_range_that_is_none_is_refused() {
    for text in [
        "",
        ",",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/7",
        "0.0.0.0/0",
        "fd00::/8",
        "ten/8",
    ] {
        assert!(AllowedRanges::parse(text).is_err(), "{text:?}");
    }
    let ranges = AllowedRanges::parse(" 10.1.2.3/16, 192.168.0.0/24,").unwrap();
    assert_eq!(ranges.to_string(), "10.1.0.0/16, 192.168.0.0/24");
}
