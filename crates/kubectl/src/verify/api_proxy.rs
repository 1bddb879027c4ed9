//! Calls the HTTP hook of a pod through the API server, with the user's rights.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::client::Body;

use dbbalance_api::spec::{HttpSpec, HttpVerb, Method, TargetSpec};
use dbbalance_api::text::{hide_query, strip_control};
use dbbalance_kube::methods::{EffectFault, EffectOutcome, PodRef};
use dbbalance_kube::recycle::CallHook;

/// Calls HTTP hooks through the API server: a desk seldom reaches the addresses of pods.
pub(super) struct ApiProxy<'a>(pub &'a Client);

impl CallHook for ApiProxy<'_> {
    async fn call_hook(&self, pod: &Pod, settings: &HttpSpec) -> EffectOutcome {
        match PodRef::from_pod(pod) {
            Some(of) => call_through_api_server(self.0, &of, settings).await,
            None => EffectOutcome::Gone,
        }
    }
}

/// Makes one request to the pod through the API server's proxy.
async fn call_through_api_server(client: &Client, of: &PodRef, spec: &HttpSpec) -> EffectOutcome {
    let verb = match spec.verb {
        HttpVerb::Post => http::Method::POST,
        HttpVerb::Put => http::Method::PUT,
        HttpVerb::Get => http::Method::GET,
    };
    let what = format!(
        "calling {verb} {} on port {} of pod {}/{} through the API server",
        hide_query(&spec.path),
        spec.port,
        of.namespace,
        of.name
    );
    let failed = |fault, why: String| EffectOutcome::Failed {
        fault,
        message: strip_control(&format!("{what}: {why}")).into_owned(),
    };
    if spec.header_secret_ref.is_some() {
        // The API server takes some headers for its own caller's, and the user may not read the Secret.
        let why = "the header of recycle.http.headerSecretRef is sent by the operator alone: verify by a run, with \
                   kubectl dbbalance recycle POLICY --wait";
        return failed(EffectFault::Invalid, why.to_owned());
    }
    let scheme = if spec.tls.is_some() { "https:" } else { "" };
    let uri = format!(
        "/api/v1/namespaces/{}/pods/{scheme}{}:{}/proxy{}",
        of.namespace, of.name, spec.port, spec.path
    );
    let request = http::Request::builder()
        .method(verb.clone())
        .uri(uri)
        .body(Body::empty());
    let request = match request {
        Ok(request) => request,
        Err(e) => return failed(EffectFault::Invalid, e.to_string()),
    };
    let limit = Duration::from_secs(u64::try_from(spec.timeout_seconds).unwrap_or(1).max(1));
    let answer = match tokio::time::timeout(limit, client.send(request)).await {
        Err(_) => {
            return failed(
                EffectFault::Timeout,
                format!("no answer within {} s", limit.as_secs()),
            );
        }
        Ok(Err(e)) => return failed(EffectFault::Connection, e.to_string()),
        Ok(Ok(answer)) => answer,
    };
    let status = answer.status();
    if status.is_success() {
        return EffectOutcome::Done;
    }
    let body = answer.into_body().collect_bytes().await.unwrap_or_default();
    // The API server's own refusals are Status objects; the app's answers are anything.
    let said = serde_json::from_slice::<kube::core::Status>(&body)
        .ok()
        .filter(|s| s.code == status.as_u16())
        .map(|s| s.message);
    match said {
        Some(said) if status == http::StatusCode::FORBIDDEN => failed(EffectFault::Forbidden, said),
        Some(said) => failed(EffectFault::Connection, said),
        None => failed(
            EffectFault::HttpStatus,
            format!("the app answered {status}"),
        ),
    }
}

/// Names the right that the effect needs, as in `create on pods/exec in namespace shop`.
pub(super) fn required_grant(target: &TargetSpec, namespace: &str) -> String {
    let right = match (target.recycle.method, &target.recycle.http) {
        (Method::Http, Some(http)) => match http.verb {
            HttpVerb::Get => "get on pods/proxy",
            HttpVerb::Put => "update on pods/proxy",
            HttpVerb::Post => "create on pods/proxy",
        },
        (Method::Evict, _) => "create on pods/eviction",
        (Method::Annotate, _) => "patch on pods",
        _ => "create on pods/exec",
    };
    format!("{right} in namespace {namespace}")
}
