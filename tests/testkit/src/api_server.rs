//! The API server of a testbed without a node, and what the tests say to it.

use std::time::Duration;

use dbbalance_testbed::kubernetes::{Testbed, TestbedOptions};
use dbbalance_testbed::wait;
use futures::{StreamExt as _, stream};
use http::{Method, Request};
use kube::Client;
use kube::config::Kubeconfig;
use kube::core::Status;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::suite::connect_client as connect;

/// The namespace of the tests.
pub const NAMESPACE: &str = "api";
/// Checks all and keeps nothing, and refuses what the schema does not know.
pub const DRY: &str = "dryRun=All&fieldValidation=Strict";
/// The same, and keeps it.
pub const STRICT: &str = "fieldValidation=Strict";

/// Many times what it takes on a machine with nothing else to do.
const SOON: Duration = Duration::from_secs(30);

/// Requests at once of [`KubeApiServer::call_all`].
const AT_ONCE: usize = 16;

/// Takes the testbed away however the tests end.
struct Down(Testbed);

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(e) = Testbed::down(self.0.name()) {
            eprintln!("the testbed {} stays: {e:#}", self.0.name());
        }
    }
}

/// A client in the testbed's network.
pub struct KubeApiServer<'s> {
    /// The testbed, for `kubectl`.
    pub testbed: &'s Testbed,
    client: Client,
    runtime: Runtime,
}

impl KubeApiServer<'_> {
    /// Starts a testbed with the CRD installed, does `work` with it and takes it away.
    pub fn with(name: &str, work: impl FnOnce(&KubeApiServer<'_>) + Send) {
        let testbed = Testbed::up(&TestbedOptions {
            name: name.to_owned(),
            control_plane_only: true,
        })
        .expect("a testbed");
        let down = Down(testbed);
        let testbed = &down.0;
        let crd = crate::checkout_path("crds/dbbalancepolicies.yaml");
        let crd = crd.to_str().unwrap();
        let _ = testbed.kubectl(&["delete", "--ignore-not-found", "-f", crd]);
        // That it installs shows that the server finds its CEL rules cheap enough.
        testbed.kubectl(&["create", "-f", crd]).expect("the CRD");
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=5s",
            "-f",
            crd,
        ];
        // kubectl fails on a CRD that has no conditions yet.
        wait::poll_until("the CRD to be served", SOON, || {
            Ok(testbed.kubectl(&established).ok())
        })
        .expect("the CRD is served");
        // A server that has just begun refuses namespaces for a moment.
        wait::poll_until("a namespace", SOON, || {
            let _ = testbed.kubectl(&["create", "namespace", NAMESPACE]);
            Ok(testbed.kubectl(&["get", "namespace", NAMESPACE]).ok())
        })
        .expect("a namespace");
        testbed
            .enter(|| {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let kubeconfig = Kubeconfig::read_from(testbed.kubeconfig()).unwrap();
                let client = runtime.block_on(connect(kubeconfig));
                work(&KubeApiServer {
                    testbed,
                    client,
                    runtime,
                });
            })
            .expect("the testbed's network");
    }

    /// One request; the error is the server's own.
    pub fn call(&self, method: Method, path: &str, body: &Value) -> Result<Value, Box<Status>> {
        let request = build_request(method, path, body);
        match self.runtime.block_on(self.client.request(request)) {
            Ok(answer) => Ok(answer),
            Err(kube::Error::Api(status)) => Err(status),
            Err(e) => panic!("{path}: {e}"),
        }
    }

    /// Many requests, of which the order does not matter. Fails on the first that is refused.
    pub fn call_all(&self, requests: Vec<(Method, String, Value)>) {
        let calls = requests.into_iter().map(|(method, path, body)| async move {
            let answer = self
                .client
                .request::<Value>(build_request(method, &path, &body));
            if let Err(error) = answer.await {
                panic!("{path}: {error}");
            }
        });
        let all = stream::iter(calls)
            .buffer_unordered(AT_ONCE)
            .collect::<()>();
        self.runtime.block_on(all);
    }

    /// Creates a policy, with one of [`DRY`] and [`STRICT`].
    pub fn create(&self, policy: &Value, how: &str) -> Result<Value, Box<Status>> {
        self.call(Method::POST, &format!("{}?{how}", policy_path("")), policy)
    }

    /// Changes a policy by a merge patch.
    pub fn patch(&self, name: &str, change: &Value, how: &str) -> Result<Value, Box<Status>> {
        let path = format!("{}?{how}", policy_path(name));
        self.call(Method::PATCH, &path, change)
    }

    /// Reads a policy.
    pub fn read(&self, name: &str) -> Value {
        self.call(Method::GET, &policy_path(name), &json!({}))
            .unwrap()
    }

    /// What `kubectl` says; fails with what it complains about.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        match self.testbed.kubectl(arguments) {
            Ok(text) => text,
            Err(e) => panic!("kubectl {}: {e:#}", arguments.join(" ")),
        }
    }
}

fn build_request(method: Method, path: &str, body: &Value) -> Request<Vec<u8>> {
    let kind = match (method == Method::PATCH, path.contains("fieldManager=")) {
        (false, _) => "application/json",
        (true, false) => "application/merge-patch+json",
        (true, true) => "application/apply-patch+yaml",
    };
    Request::builder()
        .method(method)
        .uri(path)
        .header("Content-Type", kind)
        .body(serde_json::to_vec(body).unwrap())
        .unwrap()
}

/// The path of a policy, or of all.
pub fn policy_path(name: &str) -> String {
    let slash = if name.is_empty() { "" } else { "/" };
    format!("/apis/dbbalance.io/v1alpha1/namespaces/{NAMESPACE}/dbbalancepolicies{slash}{name}")
}
