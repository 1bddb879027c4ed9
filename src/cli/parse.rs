//! Parses the values of flags: lists, names, servers and URLs. An error says what is wrong and gives an example.

use std::net::{IpAddr, SocketAddr};

/// A comma-separated list, without empty items.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommaList(pub Vec<String>);

/// DNS servers, in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsServers(pub Vec<SocketAddr>);

/// Services that may be narrowed, as namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeredServices(pub Vec<(String, String)>);

/// Slices that may be narrowed, as name and reader endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SteeredSlices(pub Vec<(String, String)>);

fn split_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

fn parse_list(text: &str, check: fn(&str) -> Result<String, String>) -> Result<CommaList, String> {
    split_items(text)
        .map(check)
        .collect::<Result<_, _>>()
        .map(CommaList)
}

pub(super) fn parse_servers(text: &str) -> Result<DnsServers, String> {
    let server = |item: &str| {
        let plain = item.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        plain.or_else(|_| item.parse()).map_err(|_| {
            format!("invalid DNS server {item:?} (examples: 10.96.0.10, 10.96.0.10:53)")
        })
    };
    split_items(text)
        .map(server)
        .collect::<Result<_, _>>()
        .map(DnsServers)
}

pub(super) fn parse_namespaces(text: &str) -> Result<CommaList, String> {
    parse_list(text, parse_label)
}

pub(super) fn parse_namespaces_or_all(text: &str) -> Result<CommaList, String> {
    parse_list(text, |item| {
        if item == "*" {
            Ok(item.to_owned())
        } else {
            parse_label(item)
        }
    })
}

pub(super) fn parse_steered_services(text: &str) -> Result<SteeredServices, String> {
    let service = |item: &str| {
        let parts = item.split_once('/');
        let (namespace, name) =
            parts.ok_or_else(|| format!("invalid Service {item:?} (example: shop/orders-ro)"))?;
        Ok((parse_label(namespace)?, parse_service_name(name)?))
    };
    split_items(text)
        .map(service)
        .collect::<Result<_, _>>()
        .map(SteeredServices)
}

pub(super) fn parse_steered_slices(text: &str) -> Result<SteeredSlices, String> {
    let slice = |item: &str| {
        let parts = item.split_once('=');
        let (name, endpoint) = parts.ok_or_else(|| {
            format!("invalid slice {item:?} (example: orders-ro=orders.cluster-ro-x.eu-west-1.rds.amazonaws.com)")
        })?;
        Ok((parse_service_name(name)?, parse_name(endpoint)?))
    };
    split_items(text)
        .map(slice)
        .collect::<Result<_, _>>()
        .map(SteeredSlices)
}

/// A DNS label that starts with a letter (RFC 1035), as names of Services do.
fn parse_service_name(text: &str) -> Result<String, String> {
    let starts_right = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if starts_right && parse_label(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid name of a Service {text:?}"))
    }
}

pub(super) fn parse_roles(text: &str) -> Result<CommaList, String> {
    parse_list(text, |item| {
        if item.starts_with("arn:") && item.contains(":iam::") && item.contains(":role/") {
            Ok(item.to_owned())
        } else {
            Err(format!(
                "invalid role ARN {item:?} (example: arn:aws:iam::123456789012:role/dbbalance)"
            ))
        }
    })
}

/// A DNS label (RFC 1123), as namespaces are.
fn parse_label(text: &str) -> Result<String, String> {
    if text.len() <= 63 && !text.contains('.') && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid namespace {text:?}"))
    }
}

/// A DNS subdomain (RFC 1123), as names of objects are.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    if text.len() <= 253 && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid object name {text:?}"))
    }
}

fn is_dns_name(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    })
}

/// Accepts printable text that fits into an event's `reportingInstance`.
pub(super) fn parse_identity(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 128 printable characters and no spaces".to_owned())
    }
}

pub(super) fn parse_region(text: &str) -> Result<String, String> {
    if (1..=32).contains(&text.len()) && !text.contains('.') && is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("invalid AWS region {text:?} (example: eu-west-1)"))
    }
}

pub(super) fn parse_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|e| format!("not a URL: {e}"))?;
    if matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() {
        Ok(text.to_owned())
    } else {
        Err("must be an http or https URL".to_owned())
    }
}
