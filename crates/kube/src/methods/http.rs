//! Calls one path of one pod, so that the app renews its pools.
//!
//! The address is the pod's own, the port one that its containers declare. No redirect is
//! followed, no proxy used, no host taken from a user, and no body read. With `tls` the name of the
//! certificate is the user's, but leads to the pod's address all the same.

mod header;

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use reqwest::redirect::Policy;

use super::{EffectFault, EffectOutcome, PodRef};
use crate::recycle::CallHook;
use dbbalance_api::spec::{HeaderSecretRef, HttpSpec, HttpTlsSpec, HttpVerb};
use dbbalance_api::text::hide_query;
use dbbalance_core::error_chain::format_error_chain;
use header::read_header;

/// Timeout of a connection to a pod. Pods are one network hop away; more means that
/// packets are dropped, as by a `NetworkPolicy`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The client for calls to pods, for the whole life of the program.
#[derive(Clone)]
pub struct PodCaller {
    plain: reqwest::Client,
    /// Reads the Secrets of headers. It must not retry, as a late effect may come after the lease has ended.
    secrets: Client,
}

impl std::fmt::Debug for PodCaller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodCaller").finish_non_exhaustive()
    }
}

/// Returns the settings that all calls share.
fn client_builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        // A kept connection could lead to the next pod with this address.
        .pool_max_idle_per_host(0)
        .user_agent(concat!("dbbalance/", env!("CARGO_PKG_VERSION")))
}

/// Builds the client of one HTTPS call. The name that the certificate must have leads to the pod's address.
fn build_tls_client(tls: &HttpTlsSpec, to: SocketAddr) -> Result<reqwest::Client, String> {
    let mut builder = client_builder().https_only(true);
    if tls.insecure_skip_verify == Some(true) {
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else if let Some(bundle) = &tls.ca_bundle {
        let certificates = reqwest::Certificate::from_pem_bundle(&bundle.0);
        let certificates = certificates.unwrap_or_default();
        if certificates.is_empty() {
            return Err("caBundle holds no certificate in PEM".to_owned());
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(name) = &tls.server_name {
        builder = builder.resolve(name, to);
    }
    builder.build().map_err(|e| format_error_chain(&e))
}

/// Returns the URL to call. With TLS its host is the name of the certificate, which must not be an address: it would be
/// called instead of the pod.
fn build_url(to: SocketAddr, spec: &HttpSpec) -> Option<reqwest::Url> {
    if !spec.path.starts_with('/') {
        return None;
    }
    let tls = spec.tls.as_ref();
    let named = tls.and_then(|tls| tls.server_name.as_ref());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let authority = match named {
        Some(name) => format!("{name}:{}", to.port()),
        // `SocketAddr` writes IPv6 in brackets.
        None => to.to_string(),
    };
    let url = reqwest::Url::parse(&format!("{scheme}://{authority}{}", spec.path)).ok()?;
    let leads_to_pod = named.is_none_or(|name| url.domain() == Some(name));
    leads_to_pod.then_some(url)
}

impl PodCaller {
    /// Makes the client. `secrets` reads the Secrets that policies name, and must not retry.
    ///
    /// # Errors
    /// When the system's resolver configuration cannot be read.
    pub fn new(secrets: Client) -> Result<Self, reqwest::Error> {
        // The provider of the whole process. One that is there already stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // It makes no TLS, so it loads no certificates of the system.
        let plain = client_builder().tls_certs_only([]).build()?;
        Ok(Self { plain, secrets })
    }

    async fn send(
        &self,
        pod: &PodRef,
        to: SocketAddr,
        spec: &HttpSpec,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> EffectOutcome {
        let verb = match spec.verb {
            HttpVerb::Post => reqwest::Method::POST,
            HttpVerb::Put => reqwest::Method::PUT,
            HttpVerb::Get => reqwest::Method::GET,
        };
        let what = format!(
            "calling {verb} {} on port {} of pod {}/{}",
            hide_query(&spec.path),
            to.port(),
            pod.namespace,
            pod.name
        );
        let invalid =
            |why: &str| EffectOutcome::failed(EffectFault::Invalid, format!("{what}: {why}"));
        let Some(url) = build_url(to, spec) else {
            return invalid(
                "path or server name are not valid: correct recycle.http.path or \
                 recycle.http.tls.serverName",
            );
        };
        let client = match &spec.tls {
            None => self.plain.clone(),
            Some(tls) => match build_tls_client(tls, to) {
                Ok(client) => client,
                Err(why) => return invalid(&format!("{why}: correct recycle.http.tls")),
            },
        };
        let limit = Duration::from_secs(u64::try_from(spec.timeout_seconds).unwrap_or(1).max(1));
        let mut request = client.request(verb.clone(), url).timeout(limit);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
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
                let is_connect = error.is_connect();
                // The error itself names the URL with its query.
                let error = error.without_url();
                let cause = error
                    .source()
                    .map_or_else(|| error.to_string(), format_error_chain);
                let hint = describe_connection_fault(is_connect, spec.tls.is_some());
                EffectOutcome::failed(EffectFault::Connection, format!("{what}: {cause}; {hint}"))
            }
        }
    }
}

/// Says what may be wrong when no answer came. `is_connect`: the connection was not established, TLS included.
const fn describe_connection_fault(is_connect: bool, tls: bool) -> &'static str {
    match (is_connect, tls) {
        (true, false) => {
            "does the app listen on that port, and do NetworkPolicies let the operator in?"
        }
        (true, true) => {
            "does the app serve HTTPS on that port, with a certificate for \
             recycle.http.tls.serverName that caBundle has signed, and do NetworkPolicies let the \
             operator in?"
        }
        // As the proxy of a mesh does with callers that have no certificate of the mesh.
        (false, _) => {
            "the connection was made and closed without an answer. If the pod is in a service mesh \
             that requires mTLS (Istio: STRICT), it refuses callers from outside of the mesh: \
             permit plain text on this port (Istio: PeerAuthentication, portLevelMtls PERMISSIVE; \
             linkerd: config.linkerd.io/skip-inbound-ports), bring the operator into the mesh, or \
             choose another method"
        }
    }
}

impl PodCaller {
    /// Reads the Secret of a hook's header and drops its value. Returns what is wrong, with what to do; `None` if nothing is, or if
    /// the API server cannot tell now.
    pub async fn find_header_problem(
        &self,
        namespace: &str,
        reference: &HeaderSecretRef,
    ) -> Option<String> {
        match read_header(&self.secrets, namespace, reference).await {
            Err(EffectOutcome::Failed { fault, message }) if fault.is_structural() => Some(message),
            _ => None,
        }
    }
}

impl CallHook for PodCaller {
    /// Calls the pod's own address; an answer of 2xx is done.
    async fn call_hook(&self, pod: &Pod, spec: &HttpSpec) -> EffectOutcome {
        let Some(of) = PodRef::from_pod(pod) else {
            return EffectOutcome::Gone;
        };
        let to = match find_address(pod, spec) {
            Ok(to) => to,
            Err((fault, why)) => {
                let message = format!("calling pod {}/{}: {why}", of.namespace, of.name);
                return EffectOutcome::failed(fault, message);
            }
        };
        let mut header = None;
        if let Some(reference) = &spec.header_secret_ref {
            match read_header(&self.secrets, &of.namespace, reference).await {
                Ok(read) => header = Some(read),
                Err(outcome) => return outcome,
            }
        }
        self.send(&of, to, spec, header).await
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
