//! The operator as a process, and the one policy that it follows.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dbbalance_testbed::aurora::address::{CLUSTER_DNS, RDS_API, RDS_API_PORT};
use dbbalance_testbed::aurora::inventory::reader_endpoint;
use http::Method;
use serde_json::{Value, json};

use crate::fixture::{BenchFixture, CLUSTER, LIMIT, NAMESPACE};
use crate::names::{DATABASES, SERVICE, SYSTEM};

/// How the operator is called among the testbed's programs.
pub const OPERATOR: &str = "operator";
/// The operator gives its lease back when it is asked to end.
const GRACE: Duration = Duration::from_secs(10);

impl BenchFixture<'_> {
    /// Starts the operator, unless it runs. It may narrow the names only for a policy that asks for it: what was measured
    /// before names were narrowed was measured without those flags.
    pub fn start_operator(&self, narrows: bool) {
        if self.testbed.spawned(OPERATOR).is_some() {
            return;
        }
        let built = env!("CARGO_BIN_EXE_dbbalance").to_owned();
        let binary = std::env::var("DBBALANCE_BENCH_BINARY").unwrap_or(built);
        let mut command = Command::new(
            Path::new(&binary)
                .canonicalize()
                .expect("the operator's program"),
        );
        command
            .arg("run")
            .args(
                ["watch", "signal", "evidence"]
                    .map(|what| format!("--{what}-namespaces={NAMESPACE}")),
            )
            .arg(format!("--lease-namespace={SYSTEM}"))
            .args([
                "--identity=bench",
                "--listen-address=127.0.0.1:0",
                "--log-format=text",
                "--aws-region=eu-west-1",
            ])
            .args(["--poll-quiet-seconds=1", "--poll-moving-seconds=1"])
            .arg(format!(
                "--rds-endpoint-url=http://{RDS_API}:{RDS_API_PORT}"
            ))
            .arg(format!("--dns-servers={CLUSTER_DNS}"))
            .env("KUBECONFIG", self.testbed.kubeconfig())
            .env("AWS_ACCESS_KEY_ID", "testbed")
            .env("AWS_SECRET_ACCESS_KEY", "testbed")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        if narrows {
            command
                .arg(format!("--steering-services={NAMESPACE}/{SERVICE}"))
                .arg(format!(
                    "--steering-slices={SERVICE}={}",
                    reader_endpoint(CLUSTER)
                ))
                .arg(format!("--steering-allowed-cidrs={DATABASES}"));
        }
        self.testbed
            .spawn(OPERATOR, &command)
            .expect("the operator");
    }

    /// What the operator has said so far.
    pub fn operator_log(&self) -> String {
        fs::read_to_string(self.testbed.layout().log(OPERATOR)).unwrap_or_default()
    }

    /// Deletes the policy. A name that it had narrowed leads to Aurora then.
    pub fn no_policy(&self) {
        let path = policies(CLUSTER);
        self.call(Method::DELETE, &path, &json!({}));
        self.until("no policy", LIMIT, || {
            self.call(Method::GET, &path, &json!({}))
                .is_none()
                .then_some(())
        });
        self.await_widened();
    }

    /// Makes a policy with this spec, and waits until it has its baseline and nothing is wanting. The operator is
    /// started anew: what it remembers of the run before is no part of this one.
    pub fn policy(&self, spec: &Value) {
        self.no_policy();
        self.testbed
            .stop(OPERATOR, GRACE)
            .expect("the operator's end");
        let narrows = spec["dns"]["steering"].is_object();
        self.start_operator(narrows);
        let policy = json!({
            "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
            "metadata": {"name": CLUSTER, "namespace": NAMESPACE}, "spec": spec
        });
        self.call(Method::POST, &policies(""), &policy);
        self.until("a policy with its baseline", LIMIT, || {
            let status = self.status();
            let ready = condition(&status, "Ready").0 == "True";
            let based = status["targets"][0]["baselineEpoch"].as_i64() >= Some(1);
            let readers = status["topology"]["readerCount"].as_u64();
            let may_narrow = !narrows || condition(&status, "Steered").0 == "True";
            (ready && based && may_narrow && readers == Some(2)).then_some(())
        });
    }

    /// The policy's status; null while there is none.
    pub fn status(&self) -> Value {
        let policy = self.call(Method::GET, &policies(CLUSTER), &json!({}));
        policy.map_or(Value::Null, |policy| policy["status"].clone())
    }
}

/// Status and reason of a condition of a status.
pub fn condition(status: &Value, name: &str) -> (String, String) {
    let all = status["conditions"].as_array();
    let found = all.into_iter().flatten().find(|c| c["type"] == name);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    found.map_or_else(Default::default, |c| {
        (text(&c["status"]), text(&c["reason"]))
    })
}

fn policies(name: &str) -> String {
    let all = format!("/apis/dbbalance.io/v1alpha1/namespaces/{NAMESPACE}/dbbalancepolicies");
    if name.is_empty() {
        all
    } else {
        format!("{all}/{name}")
    }
}
