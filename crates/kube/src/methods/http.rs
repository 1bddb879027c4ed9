//! Calls one path of one pod, so that the app renews its pools.
//!
//! The address is the pod's own, the port one that its containers declare. No redirect is
//! followed, no proxy used, no host taken from a user, and no body read.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use reqwest::redirect::Policy;

use super::{EffectFault, EffectOutcome, PodRef};
use crate::recycle::CallHook;
use dbbalance_api::spec::{HttpSpec, HttpVerb};

/// Timeout of a connection to a pod. Pods are one network hop away; more means that
/// packets are dropped, as by a `NetworkPolicy`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The client for calls to pods, for the whole life of the program.
#[derive(Clone, Debug)]
pub struct PodCaller {
    client: reqwest::Client,
}

impl PodCaller {
    /// Makes the client.
    ///
    /// # Errors
    /// When the system's resolver configuration cannot be read.
    pub fn new() -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            // A kept connection could lead to the next pod with this address.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("dbbalance/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client })
    }

    async fn send(&self, pod: &PodRef, to: SocketAddr, spec: &HttpSpec) -> EffectOutcome {
        let verb = match spec.verb {
            HttpVerb::Post => reqwest::Method::POST,
            HttpVerb::Put => reqwest::Method::PUT,
            HttpVerb::Get => reqwest::Method::GET,
        };
        let what = format!(
            "calling {verb} {} on port {} of pod {}/{}",
            spec.path,
            to.port(),
            pod.namespace,
            pod.name
        );
        // `SocketAddr` writes IPv6 in brackets.
        let url = match reqwest::Url::parse(&format!("http://{to}{}", spec.path)) {
            Ok(url) if spec.path.starts_with('/') => url,
            _ => {
                return EffectOutcome::failed(
                    EffectFault::Invalid,
                    format!("{what}: the path is not valid: correct recycle.http.path"),
                );
            }
        };
        let limit = Duration::from_secs(u64::try_from(spec.timeout_seconds).unwrap_or(1).max(1));
        let mut request = self.client.request(verb.clone(), url).timeout(limit);
        if verb != reqwest::Method::GET {
            // RFC 9110, 8.6: a POST or PUT without content should say so; some servers insist (411).
            request = request.header(reqwest::header::CONTENT_LENGTH, 0);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => EffectOutcome::Done,
            Ok(answer) => {
                let status = answer.status();
                let hint = if status.is_redirection() {
                    " (redirects are not followed)"
                } else {
                    ""
                };
                EffectOutcome::failed(
                    EffectFault::HttpStatus,
                    format!("{what}: the app answered {status}{hint}"),
                )
            }
            Err(error) if error.is_timeout() && !error.is_connect() => EffectOutcome::failed(
                EffectFault::Timeout,
                format!("{what}: no answer within {} s", limit.as_secs()),
            ),
            Err(error) => {
                let cause = error.source().map_or_else(
                    || error.to_string(),
                    dbbalance_core::error_chain::format_error_chain,
                );
                EffectOutcome::failed(
                    EffectFault::Connection,
                    format!(
                        "{what}: {cause}; does the app listen on that port, and do \
                         NetworkPolicies let the operator in?"
                    ),
                )
            }
        }
    }
}

impl CallHook for PodCaller {
    /// Calls the pod's own address; an answer of 2xx is done.
    async fn call_hook(&self, pod: &Pod, spec: &HttpSpec) -> EffectOutcome {
        let Some(of) = PodRef::from_pod(pod) else {
            return EffectOutcome::Gone;
        };
        match find_address(pod, spec) {
            Ok(to) => self.send(&of, to, spec).await,
            Err((fault, why)) => EffectOutcome::failed(
                fault,
                format!("calling pod {}/{}: {why}", of.namespace, of.name),
            ),
        }
    }
}

/// Returns the port to call, if the pod's spec has it.
///
/// # Errors
/// The fault with its cause and what to do. Every pod of the template shares it, so it can be said before the first
/// recycle.
pub(super) fn check_port(pod: &Pod, spec: &HttpSpec) -> Result<u16, (EffectFault, String)> {
    let containers = pod.spec.as_ref();
    if containers.is_some_and(|s| s.host_network == Some(true)) {
        return Err((
            EffectFault::HostNetwork,
            "the pod uses its node's network, where other programs may answer: choose another method"
                .to_owned(),
        ));
    }
    let declared = containers
        .iter()
        .flat_map(|s| {
            s.containers
                .iter()
                .chain(s.init_containers.iter().flatten())
        })
        .flat_map(|c| c.ports.iter().flatten())
        .any(|p| p.container_port == spec.port && p.protocol.as_deref().unwrap_or("TCP") == "TCP");
    let port = u16::try_from(spec.port).ok().filter(|_| declared);
    port.ok_or_else(|| {
        (
            EffectFault::PortNotDeclared,
            format!(
                "no container declares the TCP port {}: declare it under ports, or correct \
                 recycle.http.port",
                spec.port
            ),
        )
    })
}

/// Returns the address to call the pod at, or why there is none.
fn find_address(pod: &Pod, spec: &HttpSpec) -> Result<SocketAddr, (EffectFault, String)> {
    let port = check_port(pod, spec)?;
    let said = pod.status.as_ref().and_then(|s| s.pod_ip.as_deref());
    match said.map(str::parse::<IpAddr>) {
        Some(Ok(ip)) if is_pod_address(ip) => Ok(SocketAddr::new(ip, port)),
        Some(_) => Err((
            EffectFault::NoAddress,
            format!(
                "its address {} is not one of a pod",
                said.unwrap_or_default()
            ),
        )),
        None => Err((EffectFault::NoAddress, "it has no address".to_owned())),
    }
}

/// False for addresses that no pod has but that lead to the operator itself or to its node's
/// metadata service.
fn is_pod_address(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        // fd00:ec2::254 is the instance metadata service of AWS.
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local() || v6.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests;
