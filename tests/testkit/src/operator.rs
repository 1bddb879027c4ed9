//! The operator as a process of the test, in the testbed's network.
//!
//! Each acts as a service account of its own, so that the audit log tells who did what. It ends with the value, and with the
//! testbed whatever happens to the test.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dbbalance_testbed::kubernetes::NODE_IP;
use dbbalance_testbed::process::ProcessIdentity;
use dbbalance_testbed::process::Signal;
use dbbalance_testbed::program::last_lines;
use dbbalance_testbed::rds::{MOTO_PORT, REGION};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::PostParams;
use kube::config::{AuthInfo, Kubeconfig};
use serde_json::json;

use crate::suite::{LIMIT, TestCase};
use crate::wait::wait_until_blocking;

/// How an operator is run, besides what all tests need.
#[derive(Debug, Clone, Default)]
pub struct OperatorSettings {
    /// Where it dies.
    pub failpoint: Option<&'static str>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Namespaces that it watches besides the test's own.
    pub more_namespaces: Vec<String>,
    /// Another port of the API server, on loopback.
    pub api_port: Option<u16>,
    /// Another port of the RDS API.
    pub rds_port: Option<u16>,
    /// Another RDS API altogether; the port then does not matter.
    pub rds_url: Option<String>,
    /// With the default cadence of polls.
    pub default_cadence: bool,
}

impl OperatorSettings {
    /// Effects one after another, so many a second, so that a death leaves stale pods.
    pub fn slow(mut self, rate: u32) -> Self {
        let rate = format!("--actions-per-second={rate}");
        self.arguments
            .extend([rate, "--actions-burst=1".to_owned()]);
        self
    }

    /// Makes it die at a failpoint. Needs the feature `failpoints`.
    pub fn dying_at(mut self, point: &'static str) -> Self {
        self.failpoint = Some(point);
        self
    }
}

/// A running operator.
pub struct OperatorProcess<'a> {
    case: &'a TestCase<'a>,
    /// Its lease identity, and its account's name.
    pub identity: String,
    /// Its name in the testbed's records and logs.
    record: String,
    process: ProcessIdentity,
}

impl<'a> OperatorProcess<'a> {
    /// Starts an operator `one` with the default settings.
    pub async fn start(case: &'a TestCase<'a>) -> Self {
        Self::with(case, "one", &OperatorSettings::default()).await
    }

    /// Starts an operator with a lease identity of its own.
    pub async fn with(case: &'a TestCase<'a>, identity: &str, settings: &OperatorSettings) -> Self {
        let record = format!("operator-{}-{identity}", case.name);
        let mut command = Command::new(&case.suite.program);
        let mut watched = vec![case.name.clone()];
        watched.extend(settings.more_namespaces.iter().cloned());
        let rds = settings.rds_url.clone().unwrap_or_else(|| {
            format!(
                "http://{NODE_IP}:{}",
                settings.rds_port.unwrap_or(MOTO_PORT)
            )
        });
        command.args([
            "run",
            &format!("--watch-namespaces={}", watched.join(",")),
            &format!("--signal-namespaces={}", case.name),
            &format!("--lease-namespace={}", case.name),
            &format!("--identity={identity}"),
            "--lease-duration-seconds=5",
            "--lease-renew-seconds=1",
            "--listen-address=127.0.0.1:0",
            &format!("--rds-endpoint-url={rds}"),
            &format!("--aws-region={REGION}"),
            "--log-format=text",
        ]);
        if !settings.default_cadence {
            command.args(["--poll-quiet-seconds=1", "--poll-moving-seconds=1"]);
        }
        command.args(&settings.arguments);
        command
            .env(
                "KUBECONFIG",
                kubeconfig(case, identity, settings.api_port).await,
            )
            .env("AWS_ACCESS_KEY_ID", "testbed")
            .env("AWS_SECRET_ACCESS_KEY", "testbed")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        if let Some(point) = settings.failpoint {
            command.env("DBBALANCE_FAILPOINT", point);
        }
        let process = case.suite.testbed.spawn(&record, &command).unwrap();
        Self {
            case,
            identity: identity.to_owned(),
            record,
            process,
        }
    }

    /// Reports whether its process runs.
    pub fn is_alive(&self) -> bool {
        self.process.is_alive()
    }

    /// Stops its process by `SIGSTOP`.
    pub fn freeze(&self) {
        self.process.signal(Signal::SIGSTOP).unwrap();
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.process.signal(Signal::SIGCONT).unwrap();
    }

    /// Kills it, as a crash does.
    pub fn kill(self) {
        drop(self);
    }

    /// Stops it by `SIGTERM`, and waits for its end.
    pub fn stop(self) {
        self.process.signal(Signal::SIGTERM).unwrap();
        wait_until_blocking("the operator's end", LIMIT, || !self.is_alive());
    }

    /// Returns what it has logged.
    pub fn log(&self) -> String {
        let file = self.case.suite.testbed.layout().log(&self.record);
        std::fs::read_to_string(file).unwrap_or_default()
    }
}

impl Drop for OperatorProcess<'_> {
    fn drop(&mut self) {
        let _ = self.process.signal(Signal::SIGCONT);
        let _ = self.process.signal(Signal::SIGKILL);
        wait_until_blocking("the operator's death", LIMIT, || !self.is_alive());
        let _ = self
            .case
            .suite
            .testbed
            .stop(&self.record, Duration::from_secs(1));
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.record, last_lines(&self.log()));
        }
    }
}

/// A service account of its own, with a kubeconfig that has its token.
async fn kubeconfig(case: &TestCase<'_>, identity: &str, port: Option<u16>) -> PathBuf {
    let file = case
        .suite
        .folder
        .join(format!("{}-{identity}.kubeconfig", case.name));
    if file.exists() {
        return file;
    }
    case.create::<ServiceAccount>(json!({"metadata": {"name": identity}}))
        .await;
    let bindings: Api<ClusterRoleBinding> = Api::all(case.client.clone());
    let binding = json!({
        "metadata": {"name": format!("{}-{identity}", case.name)},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": identity, "namespace": case.name}],
    });
    let binding = serde_json::from_value(binding).unwrap();
    bindings
        .create(&PostParams::default(), &binding)
        .await
        .unwrap();
    let token: TokenRequest =
        serde_json::from_value(json!({"spec": {"expirationSeconds": 7200, "audiences": []}}))
            .unwrap();
    let token = case
        .api::<ServiceAccount>()
        .create_token_request(identity, &PostParams::default(), &token)
        .await
        .unwrap();
    let mut config = Kubeconfig::read_from(case.suite.testbed.kubeconfig()).unwrap();
    for named in &mut config.auth_infos {
        named.auth_info = Some(AuthInfo {
            token: Some(token.status.as_ref().unwrap().token.clone().into()),
            ..AuthInfo::default()
        });
    }
    if let Some(port) = port {
        for named in &mut config.clusters {
            let cluster = named.cluster.as_mut().unwrap();
            cluster.server = Some(format!("https://127.0.0.1:{port}"));
        }
    }
    std::fs::write(&file, serde_yaml_ng::to_string(&config).unwrap()).unwrap();
    file
}
