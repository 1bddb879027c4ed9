//! What a name leads to, by Aurora's rules. Pure: the random choice is an argument.

use std::net::Ipv4Addr;

use crate::aurora::address::{HASH, ZONE};
use crate::aurora::estate::{Zone, instance_endpoint};

/// What the server says of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
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
pub(super) fn name_server() -> String {
    format!("ns-1.{ZONE}")
}

/// Answers for a name in lower case, without the last dot. `pick` gives a number below its argument.
pub(super) fn to(zone: &Zone, name: &str, pick: impl FnOnce(usize) -> usize) -> Answer {
    if name == ZONE {
        return Answer::Apex;
    }
    let Some(rest) = name
        .strip_suffix(ZONE)
        .and_then(|rest| rest.strip_suffix('.'))
    else {
        return Answer::Refused;
    };
    if name == name_server() {
        return Answer::NameServer;
    }
    let (writers, readers) = (format!("cluster-{HASH}"), format!("cluster-ro-{HASH}"));
    if [HASH, &writers, &readers].contains(&rest) {
        return Answer::Nothing;
    }
    let Some((first, rest)) = rest.split_once('.') else {
        return Answer::Unknown;
    };
    if rest == HASH {
        return match zone.instances.get(first) {
            Some(address) => Answer::Instance {
                instance: first.to_owned(),
                address: *address,
            },
            None => Answer::Unknown,
        };
    }
    let reader = rest == readers;
    if !reader && rest != writers {
        return Answer::Unknown;
    }
    let Some(names) = zone.clusters.get(first) else {
        return Answer::Unknown;
    };
    let instance = if reader && !names.readers.is_empty() {
        names.readers.get(pick(names.readers.len()))
    } else {
        // Without readers the reader endpoint leads to the writer (Aurora user guide, "Types of Aurora endpoints").
        names.writer.as_ref()
    };
    match instance {
        Some(instance) => Answer::Alias {
            instance: instance.clone(),
            address: zone.instances.get(instance).copied(),
        },
        None => Answer::Nothing,
    }
}

/// The name that an alias leads to.
pub(super) fn target(instance: &str) -> String {
    instance_endpoint(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aurora::estate::{ClusterNames, cluster_endpoint, reader_endpoint};

    fn zone() -> Zone {
        let names = |writer: &str, readers: &[&str]| ClusterNames {
            writer: (!writer.is_empty()).then(|| writer.to_owned()),
            readers: readers.iter().map(|reader| (*reader).to_owned()).collect(),
        };
        Zone {
            clusters: [
                ("orders".to_owned(), names("o-1", &["o-2", "o-3"])),
                ("alone".to_owned(), names("a-1", &[])),
                ("empty".to_owned(), names("", &[])),
            ]
            .into(),
            instances: [
                ("o-1".to_owned(), Ipv4Addr::new(10, 0, 0, 1)),
                ("o-2".to_owned(), Ipv4Addr::new(10, 0, 0, 2)),
                ("a-1".to_owned(), Ipv4Addr::new(10, 0, 0, 9)),
            ]
            .into(),
        }
    }

    fn alias(instance: &str, last: Option<u8>) -> Answer {
        Answer::Alias {
            instance: instance.to_owned(),
            address: last.map(|last| Ipv4Addr::new(10, 0, 0, last)),
        }
    }

    #[test]
    fn endpoints_lead_where_the_zone_says() {
        let zone = zone();
        let ask = |name: String, number: usize| to(&zone, &name, |_| number);
        assert_eq!(ask(cluster_endpoint("orders"), 1), alias("o-1", Some(1)));
        assert_eq!(ask(reader_endpoint("orders"), 0), alias("o-2", Some(2)));
        // A reader without an address: the alias leads nowhere.
        assert_eq!(ask(reader_endpoint("orders"), 1), alias("o-3", None));
        assert_eq!(ask(reader_endpoint("alone"), 0), alias("a-1", Some(9)));
        assert_eq!(ask(cluster_endpoint("empty"), 0), Answer::Nothing);
        assert_eq!(ask(cluster_endpoint("nobody"), 0), Answer::Unknown);
        assert_eq!(ask(instance_endpoint("o-3"), 0), Answer::Unknown);
        assert_eq!(
            ask(instance_endpoint("o-1"), 0),
            Answer::Instance {
                instance: "o-1".into(),
                address: Ipv4Addr::new(10, 0, 0, 1)
            }
        );
    }

    #[test]
    fn names_around_the_endpoints_are_told_apart() {
        let zone = zone();
        let ask = |name: &str| to(&zone, name, |_| 0);
        assert_eq!(ask(ZONE), Answer::Apex);
        assert_eq!(ask(&name_server()), Answer::NameServer);
        assert_eq!(ask(&format!("{HASH}.{ZONE}")), Answer::Nothing);
        assert_eq!(ask(&format!("x.{ZONE}")), Answer::Unknown);
        assert_eq!(ask(&format!("a.b.{HASH}.{ZONE}")), Answer::Unknown);
        assert_eq!(ask("example.org"), Answer::Refused);
        assert_eq!(ask(&format!("x{ZONE}")), Answer::Refused);
    }
}
