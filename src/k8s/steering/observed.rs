//! Turns a Service or an `EndpointSlice` to what stands under the name of `spec.dns.steering`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::cache::NameState;
use dbbalance_api::annotations;
use dbbalance_core::dns::AddressBook;
use dbbalance_core::narrow::{Led, NarrowClaim, ObservedName};
use dbbalance_core::topology::InstanceId;

/// The label that names the Service of a slice.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names the writer of a slice; the endpoints controllers leave others' alone.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] of the chart's slices.
const MANAGER: &str = "dbbalance.io";

/// The hosts of a policy's cluster, as the RDS API and DNS last gave them.
#[derive(Clone, Copy, Debug)]
pub struct ClusterHosts<'a> {
    /// The reader endpoint; `None` if the topology is not known.
    pub reader: Option<&'a str>,
    /// The endpoint of each instance.
    pub instances: &'a BTreeMap<InstanceId, String>,
    /// The instances behind addresses.
    pub book: &'a AddressBook,
}

/// Returns what stands under a name: the object's last state, seen with the hosts of the policy's cluster.
#[must_use]
pub fn observe_name(state: &NameState, hosts: ClusterHosts<'_>) -> ObservedName {
    match state {
        NameState::Unread => ObservedName::Unread,
        NameState::Missing => ObservedName::Missing,
        NameState::Forbidden => ObservedName::NotAllowed,
        NameState::Service(service) => observe_service(service, hosts),
        NameState::Slice { slice, others } => observe_slice(slice, others, hosts),
    }
}

fn observe_service(service: &Service, hosts: ClusterHosts<'_>) -> ObservedName {
    let spec = service.spec.as_ref();
    let claim = claim_of(service);
    if spec.is_some_and(|s| s.selector.as_ref().is_some_and(|s| !s.is_empty())) {
        return ObservedName::HasSelector { claim };
    }
    if spec.and_then(|s| s.type_.as_deref()) != Some("ExternalName") {
        return ObservedName::WrongType;
    }
    let host = spec.and_then(|s| s.external_name.as_deref());
    let led = host.map_or(Led::Unknown, |host| {
        let host = normalize_host(host);
        let is_named = |known: &str| normalize_host(known) == host;
        let instance = hosts.instances.iter().find(|(_, known)| is_named(known));
        match (hosts.reader, instance) {
            (Some(reader), _) if is_named(reader) => Led::Aurora,
            (_, Some((instance, _))) => Led::Instance(instance.clone()),
            // Before the topology is read, the claim says where it leads.
            (None, None) => led_by_claim(claim.as_ref(), &host),
            (Some(_), None) => Led::Unknown,
        }
    });
    ObservedName::Found { led, claim }
}

/// The first label of an instance's endpoint is its identifier.
fn led_by_claim(claim: Option<&NarrowClaim>, host: &str) -> Led {
    let label = host.split('.').next().unwrap_or_default();
    claim
        .filter(|claim| claim.instance.0 == label)
        .map_or(Led::Unknown, |claim| Led::Instance(claim.instance.clone()))
}

fn observe_slice(
    slice: &EndpointSlice,
    others: &[String],
    hosts: ClusterHosts<'_>,
) -> ObservedName {
    let labels = slice.labels();
    let claim = claim_of(slice);
    if !others.is_empty() || labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
        return ObservedName::ForeignSlice { claim };
    }
    if slice.address_type != "IPv4" || labels.get(SERVICE_NAME) != Some(&slice.name_any()) {
        return ObservedName::WrongType;
    }
    let addresses = || slice.endpoints.iter().flat_map(|e| &e.addresses);
    let instance_of = |address: &String| {
        let address: IpAddr = address.parse().ok()?;
        Some(&hosts.book.record_of(address)?.instance)
    };
    let led = match addresses().next() {
        None => Led::Aurora,
        Some(first) => match instance_of(first) {
            Some(instance) if addresses().all(|a| instance_of(a) == Some(instance)) => {
                Led::Instance(instance.clone())
            }
            _ => Led::Unknown,
        },
    };
    ObservedName::Found { led, claim }
}

fn claim_of(object: &impl ResourceExt) -> Option<NarrowClaim> {
    let text = object.annotations().get(annotations::NARROWED)?;
    Some(NarrowClaim::parse(text))
}

/// Returns a host name in lower case, without the trailing dot.
pub(super) fn normalize_host(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
