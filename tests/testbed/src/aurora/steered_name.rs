//! The objects of a reader name that somebody leads: the Services, the slice, and the patches that narrow and widen.
//!
//! There are two ways. By a Service of type `ExternalName`, pods look up the Service's name, which is an alias of Aurora's
//! reader endpoint, or of one instance. By a headless Service with a slice, pods look up Aurora's own name, which a server
//! block ([`SteeredBlock`](super::corefile::SteeredBlock)) leads to the slice's addresses, and to Aurora while there are
//! none. Values only: a test patches the API server with them as the operator would.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::inventory::{instance_endpoint, reader_endpoint};
use crate::kubernetes::layout::CLUSTER_DOMAIN;

/// The label of the Services and slices that a server block asks.
pub const STEERED_LABEL: &str = "dbbalance.io/steered";
/// Who writes the slice (`endpointslice.kubernetes.io/managed-by`): no controller of Kubernetes touches it then.
const MANAGER: &str = "dbbalance.io";

/// Returns the name that pods of any namespace look up for a Service.
#[must_use]
pub fn service_host(service: &str, namespace: &str) -> String {
    format!("{service}.{namespace}.svc.{CLUSTER_DOMAIN}")
}

/// Returns a Service of type `ExternalName` that leads to a cluster's reader endpoint.
#[must_use]
pub fn alias_service(name: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": reader_endpoint(cluster)},
    })
}

/// Returns the merge patch of such a Service that narrows it to an instance, or widens it without one.
#[must_use]
pub fn alias_patch(cluster: &str, instance: Option<&str>) -> Value {
    let host = instance.map_or_else(|| reader_endpoint(cluster), instance_endpoint);
    json!({"spec": {"externalName": host}})
}

/// Returns a headless Service without a selector, which [`SteeredBlock`](super::corefile::SteeredBlock) asks.
#[must_use]
pub fn headless_service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "labels": {STEERED_LABEL: "true"}},
        "spec": {"clusterIP": "None"},
    })
}

/// Returns the slice of such a Service, empty, as the chart makes it. kube-proxy ignores it for its label of a headless
/// Service.
#[must_use]
pub fn empty_slice(service: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": {
            STEERED_LABEL: "true",
            "kubernetes.io/service-name": service,
            "endpointslice.kubernetes.io/managed-by": MANAGER,
            "service.kubernetes.io/headless": "",
        }},
        "addressType": "IPv4",
        "endpoints": [],
    })
}

/// Returns the merge patch of such a slice that narrows it to an address, or empties it without one.
#[must_use]
pub fn slice_patch(address: Option<Ipv4Addr>) -> Value {
    let endpoints: Vec<Value> = address
        .iter()
        .map(|address| json!({"addresses": [address.to_string()], "conditions": {"ready": true}}))
        .collect();
    json!({"endpoints": endpoints})
}
