//! What pods look up, and who answers: Aurora's reader endpoint behind plain caches, or a name that the operator narrows,
//! behind the name servers of a distribution.
//!
//! The objects of the narrowed names are made once and stay; in the steady state they lead to Aurora. Which of them the
//! pods see depends on the host that they look up, and on the Corefile.

use std::time::Duration;

use dbbalance_testbed::aurora::coredns::{self, CacheTopology, SteeredDns};
use dbbalance_testbed::aurora::corefile::{Distribution, SteeredBlock};
use dbbalance_testbed::aurora::inventory::reader_endpoint;
use dbbalance_testbed::aurora::steered_name::{alias_service, empty_slice, headless_service};
use http::Method;
use serde_json::{Value, json};

use crate::fixture::{BenchFixture, CLUSTER, LIMIT, NAMESPACE};

/// The operator's namespace: its lease, and the Service and the slice behind a server block.
pub const SYSTEM: &str = "dbbalance-system";
/// The Service of either way.
pub const SERVICE: &str = "orders-ro";
/// The databases' addresses: what the operator may write into a slice.
pub const DATABASES: &str = "198.18.0.0/24";
/// A cache keeps an answer for 5 s at least, and half a second is the way there.
const CACHE: Duration = Duration::from_millis(5500);
/// Replicas of the plain caches: their answers differ.
const CACHES: u8 = 2;

/// What pods look up for their readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderName {
    /// Aurora's reader endpoint, behind caches that know no Service.
    Endpoint,
    /// The same, behind the name servers of a distribution.
    EndpointIn(Distribution),
    /// A Service of type `ExternalName`, which the operator narrows: `via: Service`, way A of the measurements.
    Service(Distribution),
    /// Aurora's reader endpoint, which a server block leads to a slice that the operator narrows: `via: Slice`, way B.
    Slice(Distribution),
}

impl ReaderName {
    /// Returns the host that apps are given.
    pub fn host(self) -> String {
        match self {
            Self::Service(_) => SERVICE.to_owned(),
            Self::Endpoint | Self::EndpointIn(_) | Self::Slice(_) => reader_endpoint(CLUSTER),
        }
    }

    /// Returns `spec.dns.steering` of the policy; none where the operator narrows nothing. The bench has one operator.
    pub fn steering(self) -> Option<Value> {
        let via = match self {
            Self::Endpoint | Self::EndpointIn(_) => return None,
            Self::Service(_) => "Service",
            Self::Slice(_) => "Slice",
        };
        Some(json!({"via": via, "reader": SERVICE, "allowSingleOperator": true}))
    }

    /// Returns how long it takes until no cache answers with what Aurora's endpoint led to before: a Service's alias is
    /// kept as long again as the answer behind it.
    pub fn kept(self) -> Duration {
        match self {
            Self::Service(distribution) => CACHE + distribution.service_bound(),
            Self::Endpoint | Self::EndpointIn(_) | Self::Slice(_) => CACHE,
        }
    }

    fn steered_dns(self) -> Option<SteeredDns> {
        let (distribution, is_slice) = match self {
            Self::Endpoint => return None,
            Self::EndpointIn(distribution) | Self::Service(distribution) => (distribution, false),
            Self::Slice(distribution) => (distribution, true),
        };
        let block = SteeredBlock {
            cluster: CLUSTER.to_owned(),
            namespace: SYSTEM.to_owned(),
            service: SERVICE.to_owned(),
        };
        Some(SteeredDns {
            distribution,
            blocks: if is_slice { vec![block] } else { Vec::new() },
        })
    }
}

impl BenchFixture<'_> {
    /// Makes the objects of both ways, as their users would: they lead to Aurora.
    pub fn create_names(&self) {
        let services = |namespace: &str| format!("/api/v1/namespaces/{namespace}/services");
        self.call(
            Method::POST,
            &services(NAMESPACE),
            &alias_service(SERVICE, CLUSTER),
        );
        self.call(Method::POST, &services(SYSTEM), &headless_service(SERVICE));
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{SYSTEM}/endpointslices");
        self.call(Method::POST, &slices, &empty_slice(SERVICE));
    }

    /// Lets the name servers be those of a name. Programs whose Corefile is the same go on.
    pub fn serve(&self, name: ReaderName) {
        match name.steered_dns() {
            Some(dns) => coredns::start_steered_caches(self.testbed, &dns),
            None => coredns::start_caches(self.testbed, CacheTopology::Replicas(CACHES)),
        }
        .expect("name servers");
    }

    /// Waits until both objects lead to Aurora: no run starts from a name that is still narrowed. Who deleted the
    /// policy has asked the operator for it, and nobody but the operator does it here.
    pub fn await_widened(&self) {
        let alias = format!("/api/v1/namespaces/{NAMESPACE}/services/{SERVICE}");
        let slice =
            format!("/apis/discovery.k8s.io/v1/namespaces/{SYSTEM}/endpointslices/{SERVICE}");
        self.until("names that lead to Aurora", LIMIT, || {
            let alias = self.call(Method::GET, &alias, &json!({}))?;
            let slice = self.call(Method::GET, &slice, &json!({}))?;
            let is_empty = slice["endpoints"].as_array().is_none_or(Vec::is_empty);
            (alias["spec"]["externalName"] == *reader_endpoint(CLUSTER) && is_empty).then_some(())
        });
    }
}
