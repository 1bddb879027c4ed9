use super::*;
use crate::aurora::inventory::{EndpointTargets, cluster_endpoint, reader_endpoint};

fn zone() -> DnsZone {
    let names = |writer: &str, readers: &[&str]| EndpointTargets {
        writer: (!writer.is_empty()).then(|| writer.to_owned()),
        readers: readers.iter().map(|reader| (*reader).to_owned()).collect(),
    };
    DnsZone {
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

fn alias(instance: &str, last: Option<u8>) -> DnsAnswer {
    DnsAnswer::Alias {
        instance: instance.to_owned(),
        address: last.map(|last| Ipv4Addr::new(10, 0, 0, last)),
    }
}

#[test]
fn endpoints_lead_where_the_zone_says() {
    let zone = zone();
    let ask = |name: String, number: usize| answer_name(&zone, &name, |_| number);
    assert_eq!(ask(cluster_endpoint("orders"), 1), alias("o-1", Some(1)));
    assert_eq!(ask(reader_endpoint("orders"), 0), alias("o-2", Some(2)));
    // A reader without an address: the alias leads nowhere.
    assert_eq!(ask(reader_endpoint("orders"), 1), alias("o-3", None));
    assert_eq!(ask(reader_endpoint("alone"), 0), alias("a-1", Some(9)));
    assert_eq!(ask(cluster_endpoint("empty"), 0), DnsAnswer::Nothing);
    assert_eq!(ask(cluster_endpoint("nobody"), 0), DnsAnswer::Unknown);
    assert_eq!(ask(instance_endpoint("o-3"), 0), DnsAnswer::Unknown);
    assert_eq!(
        ask(instance_endpoint("o-1"), 0),
        DnsAnswer::Instance {
            instance: "o-1".into(),
            address: Ipv4Addr::new(10, 0, 0, 1)
        }
    );
}

#[test]
fn names_around_the_endpoints_are_told_apart() {
    let zone = zone();
    let ask = |name: &str| answer_name(&zone, name, |_| 0);
    assert_eq!(ask(ZONE), DnsAnswer::Apex);
    assert_eq!(ask(&name_server_name()), DnsAnswer::NameServer);
    assert_eq!(ask(&format!("{HASH}.{ZONE}")), DnsAnswer::Nothing);
    assert_eq!(ask(&format!("x.{ZONE}")), DnsAnswer::Unknown);
    assert_eq!(ask(&format!("a.b.{HASH}.{ZONE}")), DnsAnswer::Unknown);
    assert_eq!(ask("example.org"), DnsAnswer::Refused);
    assert_eq!(ask(&format!("x{ZONE}")), DnsAnswer::Refused);
}
