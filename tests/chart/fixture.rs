//! The testbed with the operator installed, and the few calls that all scenarios make.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::kubernetes::{NODE_IP, Testbed, TestbedOptions};
use dbbalance_testbed::rds::client::RdsClient as Rds;
use dbbalance_testbed::rds::{self, MOTO_PORT, REGION};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use dbbalance_testkit::rds_relay::RdsRelay;
use dbbalance_testkit::wait_until;

/// The namespace of the operator, and the name of its release.
pub const HOME: &str = "dbbalance";
/// For what takes seconds on an idle machine.
pub const LIMIT: Duration = Duration::from_secs(90);
/// Between two looks: short beside what is measured, and no load.
const LOOK: Duration = Duration::from_millis(100);

/// A testbed of this program's own, taken away at its end.
pub struct Own {
    /// Another run waits: it would take this testbed for a dead one's.
    _lock: File,
    pub testbed: Testbed,
    pub image: PathBuf,
}

impl Own {
    pub fn up() -> Self {
        let image = std::env::var_os("IMAGE").map(PathBuf::from);
        let image = image.filter(|i| i.is_file()).expect(
            "the operator's image is missing: make it with `make image`, and give its path as IMAGE",
        );
        let name = "dbb-chart";
        let lock = File::create(ToolCache::locate().unwrap().path(".chart-test.lock")).unwrap();
        lock.lock().unwrap();
        Testbed::down(name).unwrap();
        let options = TestbedOptions {
            name: name.to_owned(),
            ..TestbedOptions::default()
        };
        let testbed = match Testbed::up(&options) {
            Ok(testbed) => testbed,
            Err(error) => {
                let _ = Testbed::down(name);
                panic!("{error:#}");
            }
        };
        Self {
            _lock: lock,
            testbed,
            image,
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if std::env::var_os("KEEP").is_some() {
            return;
        }
        if let Err(error) = Testbed::down(self.testbed.name()) {
            eprintln!("cannot take the testbed away: {error:#}");
        }
    }
}

/// What scenarios work with.
pub struct ChartFixture {
    pub testbed: Testbed,
    pub image: PathBuf,
    pub rds_relay: RdsRelay,
    client: kube::Client,
    chart: PathBuf,
    tag: String,
    /// How much of the audit log an earlier look has judged.
    pub judged: AtomicUsize,
}

impl ChartFixture {
    /// Loads the images, starts the RDS API, and installs the operator by its chart.
    pub async fn install(own: &Own) -> Self {
        let began = Instant::now();
        let testbed = own.testbed.clone();
        let images = testbed.load_image(&own.image).unwrap();
        let tag = images[0].rsplit_once(':').unwrap().1.to_owned();
        let testapp =
            dbbalance_testbed::image::build_testapp_image(&ToolCache::locate().unwrap()).unwrap();
        testbed.load_image(&testapp.archive).unwrap();
        rds::start_servers(&testbed, false).unwrap();
        let rds_relay = RdsRelay::start(NODE_IP, &format!("http://{NODE_IP}:{MOTO_PORT}/"));
        let kubeconfig = Kubeconfig::read_from(testbed.kubeconfig()).unwrap();
        let config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .unwrap();
        let fixture = Self {
            client: kube::Client::try_from(config).unwrap(),
            chart: Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/dbbalance"),
            testbed,
            image: own.image.clone(),
            rds_relay,
            tag,
            judged: AtomicUsize::new(0),
        };
        // What the strictest clusters ask of every pod.
        fixture.create(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": HOME, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }))
        .await;
        for namespace in SIGNAL_NAMESPACES {
            fixture.namespace(namespace).await;
        }
        fixture.helm("install", &[]).await;
        println!("installed ({:.1} s)", began.elapsed().as_secs_f64());
        fixture
    }

    /// `helm install` or `helm upgrade`, waiting until all replicas are Ready.
    pub async fn helm(&self, verb: &str, more: &[&str]) {
        let endpoint = self.rds_relay.endpoint();
        let values = json!({
            "image": {"repository": dbbalance_testbed::image::OPERATOR, "tag": self.tag, "pullPolicy": "Never"},
            "replicaCount": 2,
            "aws": {"region": REGION, "rdsEndpointURL": endpoint, "stsEndpointURL": endpoint,
                    "allowedRoleARNs": ["arn:aws:iam::111122223333:role/allowed"]},
            "signal": {"namespaces": SIGNAL_NAMESPACES},
            "logging": {"filter": "info,dbbalance=debug"},
            "extraEnv": [
                {"name": "AWS_ACCESS_KEY_ID", "value": "testbed"},
                {"name": "AWS_SECRET_ACCESS_KEY", "value": "testbed"},
            ],
        });
        let mut command = self.testbed.command("helm");
        command.args([verb, HOME]).arg(&self.chart).args([
            "--namespace",
            HOME,
            "--values",
            "-",
            "--wait",
            "--timeout",
            "120s",
        ]);
        command.args(more);
        run(command, values.to_string())
            .await
            .unwrap_or_else(|e| panic!("helm {verb}: {e}"));
    }

    /// Runs `kubectl`.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = self.testbed.command("kubectl");
        command.args(arguments);
        run(command, String::new()).await
    }

    /// Waits as a user's script would, by `kubectl wait`.
    pub async fn wait(&self, namespace: &str, object: &str, what: &str) {
        let what = format!("--for={what}");
        let waited = self
            .kubectl(&["wait", "-n", namespace, object, &what, "--timeout=90s"])
            .await;
        if let Err(error) = waited {
            let now = self
                .kubectl(&["get", "-n", namespace, object, "-o", "yaml"])
                .await;
            panic!(
                "kubectl wait {object} {what}: {error}\n{}",
                now.unwrap_or_default()
            );
        }
    }

    /// Applies an object as a user would.
    pub async fn apply(&self, object: &Value) -> Result<String, String> {
        let mut command = self.testbed.command("kubectl");
        command.args(["apply", "--validate=strict", "-f", "-"]);
        run(command, object.to_string()).await
    }

    /// Applies what must be accepted.
    pub async fn create(&self, object: &Value) {
        self.apply(object)
            .await
            .unwrap_or_else(|e| panic!("{}: {e}", object["metadata"]["name"]));
    }

    pub async fn namespace(&self, name: &str) {
        self.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
            .await;
    }

    /// Reads an object or list; `None` if it is not there.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(value) => Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// Sends a request as it is; an error is the API server's message.
    pub async fn request(&self, request: http::Request<Vec<u8>>) -> Result<Value, String> {
        match self.client.request::<Value>(request).await {
            Ok(value) => Ok(value),
            Err(kube::Error::Api(status)) => Err(status.message),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The pods of a namespace that are not on their way out.
    pub async fn pods(&self, namespace: &str) -> Vec<Value> {
        let mut pods = self
            .items(&format!("/api/v1/namespaces/{namespace}/pods"))
            .await;
        pods.retain(|p| p["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    pub async fn policy(&self, namespace: &str) -> Value {
        self.get(&format!(
            "/apis/dbbalance.io/v1alpha1/namespaces/{namespace}/dbbalancepolicies/orders"
        ))
        .await
        .unwrap_or_else(|| panic!("{namespace} has no policy"))
    }

    /// Waits until the policy is as wanted; fails with what it is instead.
    pub async fn until_policy(
        &self,
        namespace: &str,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let policy = self.policy(namespace).await;
            if is(&policy) {
                return policy;
            }
            assert!(
                Instant::now() < deadline,
                "{namespace}: {what}: not within {} s: {:#}",
                LIMIT.as_secs(),
                policy["status"]
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits for a value.
    pub async fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        probe: impl AsyncFn() -> Option<T>,
    ) -> T {
        wait_until(what, limit, probe).await
    }

    /// Calls the RDS API, past the operator's relay.
    pub async fn rds<T: Send + 'static>(&self, call: impl FnOnce(&Rds) -> T + Send + 'static) -> T {
        let client = Rds::in_testbed(&self.testbed, REGION);
        tokio::task::spawn_blocking(move || call(&client))
            .await
            .unwrap()
    }

    /// A GET to a pod.
    pub async fn fetch(&self, pod: &Value, port: u16, path: &str) -> String {
        let ip = pod["status"]["podIP"].as_str().unwrap();
        let client = dbbalance_testkit::http_client::build_http_client()
            .build()
            .unwrap();
        let answer = client
            .get(format!("http://{ip}:{port}{path}"))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.text().await.unwrap()
    }

    /// What the operator said, for finding out why a scenario failed.
    pub async fn tell_logs(&self) {
        let logs = self
            .kubectl(&[
                "logs",
                "-n",
                HOME,
                "-l",
                "app.kubernetes.io/name=dbbalance",
                "--tail=400",
            ])
            .await;
        println!("{}", logs.unwrap_or_else(|e| e));
    }

    /// Where the audit log is taken to be judged up to; gives where that was before.
    pub fn judged_until(&self, line: usize) -> usize {
        self.judged.swap(line, Ordering::SeqCst)
    }
}

/// Namespaces in which the chart grants `pods/exec`.
pub const SIGNAL_NAMESPACES: [&str; 2] = ["chart-signal", "chart-exec"];

/// Runs a program to its end with an input; an error is what it said.
pub async fn run(mut command: Command, input: String) -> Result<String, String> {
    tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{command:?}: {e}; is it installed? testbed tools"))?;
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(said + &String::from_utf8_lossy(&output.stderr))
    })
    .await
    .unwrap()
}
