//! The ranges of addresses that a name may lead to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The default: the private ranges of RFC 1918, and 100.64.0.0/10 of RFC 6598, which EKS uses for secondary ranges.
pub const DEFAULT_ALLOWED_CIDRS: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10";

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ipv4Range {
    network: u32,
    mask: u32,
}

/// The ranges that an address in a steered slice must be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedRanges(Vec<Ipv4Range>);

impl AllowedRanges {
    /// Parses comma-separated ranges such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// When one is not a range of IPv4 addresses, or there is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|i| !i.is_empty());
        let ranges: Vec<Ipv4Range> = items.map(parse_range).collect::<Result<_, _>>()?;
        if ranges.is_empty() {
            return Err("needs at least one range (example: 10.0.0.0/8)".to_owned());
        }
        Ok(Self(ranges))
    }

    /// Returns whether a name may lead to this address: it is IPv4, within a range, and neither loopback nor link-local,
    /// which would lead each pod to its own host or to the metadata of its node.
    #[must_use]
    pub fn may_lead_to(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address.to_canonical() else {
            return false;
        };
        let is_special = address.is_loopback()
            || address.is_link_local()
            || address.is_unspecified()
            || address.is_broadcast()
            || address.is_multicast();
        let bits = address.to_bits();
        !is_special
            && self
                .0
                .iter()
                .any(|range| bits & range.mask == range.network)
    }
}

impl fmt::Display for AllowedRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let network = Ipv4Addr::from_bits(range.network);
            write!(f, "{separator}{network}/{}", range.mask.count_ones())?;
        }
        Ok(())
    }
}

fn parse_range(item: &str) -> Result<Ipv4Range, String> {
    let invalid = || format!("invalid range {item:?} (example: 10.0.0.0/8)");
    let (network, length) = item.split_once('/').ok_or_else(invalid)?;
    let network: Ipv4Addr = network.parse().map_err(|_| invalid())?;
    let length: u32 = length.parse().map_err(|_| invalid())?;
    // Shorter than any private range is a mistake.
    if !(8..=32).contains(&length) {
        return Err(invalid());
    }
    let mask = u32::MAX << (32 - length);
    Ok(Ipv4Range {
        network: network.to_bits() & mask,
        mask,
    })
}

#[cfg(test)]
mod tests;
