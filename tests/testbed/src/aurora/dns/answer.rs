//! Resolves a name by Aurora's rules. Pure: the random choice is an argument.

use std::net::Ipv4Addr;

use crate::aurora::address::{HASH, ZONE};
use crate::aurora::inventory::{DnsZone, instance_endpoint};

/// What the server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DnsAnswer {
    /// The zone's own name: SOA and NS.
    Apex,
    /// The name server's own name.
    NameServer,
    /// A cluster's or reader's endpoint: a CNAME to this instance's endpoint, and the instance's address, if it has
    /// one.
    Alias {
        instance: String,
        address: Option<Ipv4Addr>,
    },
    /// An instance's endpoint.
    Instance { instance: String, address: Ipv4Addr },
    /// The name is there, and has nothing to say: a cluster without instances, or a name between others.
    Nothing,
    /// There is no such name.
    Unknown,
    /// It is none of this server's business.
    Refused,
}

/// The name server's own name.
pub(super) fn name_server_name() -> String {
    format!("ns-1.{ZONE}")
}

/// Answers for a name in lower case, without the last dot. `pick` gives a number below its argument.
pub(super) fn answer_name(
    zone: &DnsZone,
    name: &str,
    pick: impl FnOnce(usize) -> usize,
) -> DnsAnswer {
    if name == ZONE {
        return DnsAnswer::Apex;
    }
    let Some(rest) = name
        .strip_suffix(ZONE)
        .and_then(|rest| rest.strip_suffix('.'))
    else {
        return DnsAnswer::Refused;
    };
    if name == name_server_name() {
        return DnsAnswer::NameServer;
    }
    let (writers, readers) = (format!("cluster-{HASH}"), format!("cluster-ro-{HASH}"));
    if [HASH, &writers, &readers].contains(&rest) {
        return DnsAnswer::Nothing;
    }
    let Some((first, rest)) = rest.split_once('.') else {
        return DnsAnswer::Unknown;
    };
    if rest == HASH {
        return match zone.instances.get(first) {
            Some(address) => DnsAnswer::Instance {
                instance: first.to_owned(),
                address: *address,
            },
            None => DnsAnswer::Unknown,
        };
    }
    let reader = rest == readers;
    if !reader && rest != writers {
        return DnsAnswer::Unknown;
    }
    let Some(names) = zone.clusters.get(first) else {
        return DnsAnswer::Unknown;
    };
    let instance = if reader && !names.readers.is_empty() {
        names.readers.get(pick(names.readers.len()))
    } else {
        // Without readers the reader endpoint leads to the writer (Aurora user guide, "Types of Aurora endpoints").
        names.writer.as_ref()
    };
    match instance {
        Some(instance) => DnsAnswer::Alias {
            instance: instance.clone(),
            address: zone.instances.get(instance).copied(),
        },
        None => DnsAnswer::Nothing,
    }
}

/// The name that an alias leads to.
pub(super) fn instance_target(instance: &str) -> String {
    instance_endpoint(instance)
}

#[cfg(test)]
mod tests;
