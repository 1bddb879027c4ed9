//! What every case runs on: one testbed with an Aurora of real databases, real caches before its DNS, the operator as
//! a process, and pods of an app with real pools.
//!
//! It brings the world into a known state and tells what is in it; it measures nothing and knows no case. Whatever it
//! waits for has a deadline, and a wait that fails says what the operator said last.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::observe::ConnectionSample;
use dbbalance_testbed::aurora::{AuroraClusterSpec, AuroraControl, daemon};
use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::kubernetes::{Testbed, TestbedOptions};
use dbbalance_testbed::program::last_lines;
use dbbalance_testbed::{image, interrupt, wait};
use futures::future::join_all;
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::app::App;
use crate::names::{ReaderName, SYSTEM};
use crate::operator::OPERATOR;

/// The testbed's name, where `DBBALANCE_BENCH_TESTBED` names no other.
const TESTBED: &str = "dbb-bench";
/// The Aurora cluster, and the policy.
pub const CLUSTER: &str = "orders";
/// The pods' namespace.
pub const NAMESPACE: &str = "shop";
/// The Deployment, and the policy's target.
pub const APP: &str = "web";
/// For what takes seconds on an idle machine, and a minute when 20 JVMs start on two cores.
pub const LIMIT: Duration = Duration::from_mins(3);
/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// What each instance accepts: more than any case needs, so that what is measured is not a refusal.
const MAX_CONNECTIONS: u16 = 500;

/// A pod that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its address: the databases' `client`.
    pub ip: String,
    /// Ready, and not terminating.
    pub ready: bool,
}

/// The fixture, inside the testbed's network.
pub struct BenchFixture<'s> {
    /// The testbed.
    pub testbed: &'s Testbed,
    /// Orders to the databases.
    pub control: AuroraControl,
    runtime: Runtime,
    client: Client,
    http: reqwest::Client,
}

/// Takes the testbed away however the cases end.
struct Down(Testbed);

impl Drop for Down {
    fn drop(&mut self) {
        if let Err(e) = Testbed::down(self.0.name()) {
            eprintln!("the testbed {} stays: {e:#}", self.0.name());
        }
    }
}

impl BenchFixture<'_> {
    /// Makes all of it with these apps' images, does `work` with it, and takes it away.
    pub fn with(apps: &[&str], work: impl FnOnce(&BenchFixture<'_>) + Send) {
        interrupt::catch_signals().expect("signals");
        let name = std::env::var("DBBALANCE_BENCH_TESTBED").unwrap_or_else(|_| TESTBED.to_owned());
        Testbed::down(&name).expect("no testbed of before");
        let options = TestbedOptions {
            name,
            ..TestbedOptions::default()
        };
        let down = Down(Testbed::up(&options).expect("a testbed"));
        let testbed = &down.0;
        let cache = ToolCache::locate().expect("the cache");
        for app in apps {
            let built = image::build_app_image(&cache, app).expect("an app's image");
            testbed.load_image(&built.archive).expect("an image loaded");
        }
        let crd = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/dbbalancepolicies.yaml");
        testbed.kubectl(&["create", "-f", crd]).expect("the CRD");
        // A server that has just begun has no conditions yet, and refuses namespaces for a moment.
        let retried = |what: &str, arguments: &[&str]| {
            wait::poll_until(what, LIMIT, || Ok(testbed.kubectl(arguments).ok()))
                .expect("a server that serves");
        };
        let served = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "-f",
            crd,
        ];
        retried("the CRD is served", &served);
        for namespace in [NAMESPACE, SYSTEM] {
            retried("a namespace", &["create", "namespace", namespace]);
        }
        let up = AuroraClusterSpec {
            cluster: CLUSTER.to_owned(),
            readers: 2,
            profile: "quick".to_owned(),
            max_connections: MAX_CONNECTIONS,
        };
        daemon::create_cluster(testbed, &up).expect("an Aurora");
        let inside = || {
            let runtime = Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime");
            let client = runtime.block_on(client(testbed));
            let http = reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(5))
                .build();
            let fixture = BenchFixture {
                testbed,
                control: AuroraControl::inside(),
                runtime,
                client,
                http: http.expect("a client"),
            };
            fixture.create_names();
            fixture.serve(ReaderName::Endpoint);
            fixture.start_operator(false);
            work(&fixture);
        };
        testbed.enter(inside).expect("the testbed's network");
    }

    /// Waits for a state; panics with what the operator said last.
    pub fn until<T>(&self, what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
        self.within(limit, &mut probe).unwrap_or_else(|| {
            panic!(
                "{what}: not within {} s\n{}",
                limit.as_secs(),
                last_lines(&self.operator_log())
            )
        })
    }

    /// Waits for a state that may not come.
    pub fn within<T>(&self, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(value) = probe() {
                return Some(value);
            }
            assert!(!interrupt::is_interrupted(), "interrupted");
            assert!(
                self.testbed.spawned(OPERATOR).is_some(),
                "the operator has ended\n{}",
                last_lines(&self.operator_log())
            );
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// One request to the API server; none if there is no such object.
    pub fn call(&self, method: Method, path: &str, body: &Value) -> Option<Value> {
        let kind = if method == Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Content-Type", kind);
        let request = request
            .body(serde_json::to_vec(body).expect("JSON"))
            .expect("a request");
        match self.runtime.block_on(self.client.request(request)) {
            Ok(answer) => Some(answer),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(e) => panic!("{path}: {e}"),
        }
    }

    /// Makes the Deployment be this app; one that is it already stays, with its pods.
    pub fn deploy(&self, app: &App) {
        let all = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
        let one = format!("{all}/{APP}");
        let told = format!("{app:?}");
        let found = self.call(Method::GET, &one, &json!({}));
        if found
            .as_ref()
            .is_none_or(|found| found["metadata"]["annotations"]["bench"] != *told)
        {
            if found.is_some() {
                self.call(
                    Method::DELETE,
                    &one,
                    &json!({"propagationPolicy": "Foreground"}),
                );
            }
            self.until("the end of the last pods", LIMIT, || {
                (self.pods().is_empty()).then_some(())
            });
            self.until("the end of the last Deployment", LIMIT, || {
                self.call(Method::GET, &one, &json!({}))
                    .is_none()
                    .then_some(())
            });
            let deployment = json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": APP, "annotations": {"bench": told}},
                "spec": {
                    "replicas": app.pods, "selector": {"matchLabels": {"app": APP}}, "template": app.template(),
                    "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
                }
            });
            self.call(Method::POST, &all, &deployment);
        }
        self.ready(app);
    }

    /// Waits until exactly this app's pods are there, Ready.
    pub fn ready(&self, app: &App) {
        self.until("Ready pods", LIMIT, || {
            let pods = self.pods();
            (pods.len() == app.pods && pods.iter().all(|pod| pod.ready)).then_some(())
        });
    }

    /// The Deployment's pods.
    pub fn pods(&self) -> Vec<Pod> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{APP}");
        let list = self
            .call(Method::GET, &path, &json!({}))
            .unwrap_or_default();
        let pod = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let ready = conditions
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Ready" && c["status"] == "True");
            Pod {
                name: text(&pod["metadata"]["name"]),
                ip: text(&pod["status"]["podIP"]),
                ready: ready && pod["metadata"]["deletionTimestamp"].is_null(),
            }
        };
        list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(pod)
            .collect()
    }

    /// What each pod's `/stats` tell, by pod; those that do not answer are left out.
    pub fn stats(&self) -> BTreeMap<String, Value> {
        let pods = self.pods();
        let ask = |pod: &Pod| {
            let (url, name) = (format!("http://{}:8080/stats", pod.ip), pod.name.clone());
            let request = self.http.get(url);
            async move {
                let answer = request.send().await.ok()?.bytes().await.ok()?;
                Some((name, serde_json::from_slice(&answer).ok()?))
            }
        };
        let answers = self.runtime.block_on(join_all(pods.iter().map(ask)));
        answers.into_iter().flatten().collect()
    }

    /// Lets pods renew their pools, at once.
    pub fn renew(&self, ips: &[String]) {
        let ask = async |ip: &String| {
            let url = format!("http://{ip}:8080/pool/recycle");
            self.http.post(url).send().await
        };
        for answer in self.runtime.block_on(join_all(ips.iter().map(ask))) {
            assert!(
                answer.is_ok_and(|answer| answer.status().is_success()),
                "a pool was not renewed"
            );
        }
    }

    /// Deletes pods, so that new ones with new processes take their place.
    pub fn replace(&self, ips: &[String]) {
        for pod in self.pods().iter().filter(|pod| ips.contains(&pod.ip)) {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{}", pod.name);
            self.call(Method::DELETE, &path, &json!({}));
        }
        self.until("the end of deleted pods", LIMIT, || {
            let left = self.pods().iter().any(|pod| ips.contains(&pod.ip));
            (!left).then_some(())
        });
    }

    /// The newest sample that is younger than the call.
    pub fn sample(&self) -> ConnectionSample {
        let asked = now();
        self.until("a sample", LIMIT, || {
            let seen = self.control.observation(CLUSTER).expect("samples");
            seen.samples
                .into_iter()
                .next_back()
                .filter(|sample| sample.at >= asked)
        })
    }

    /// Names of the databases that serve as readers, the oldest first.
    pub fn readers(&self) -> Vec<String> {
        let status = self.control.status().expect("the databases' state");
        let cluster = status.cluster(CLUSTER).expect("the cluster");
        let readers = cluster
            .instances
            .iter()
            .filter(|instance| !instance.api_writer);
        let mut names: Vec<String> = readers.map(|instance| instance.name.clone()).collect();
        // They are numbered as they are made: the tenth is younger than the second.
        names.sort_by_key(|name| (name.len(), name.clone()));
        names
    }
}

/// Now, as samples and logs count time: milliseconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

async fn client(testbed: &Testbed) -> Client {
    let file = Kubeconfig::read_from(testbed.kubeconfig()).expect("the testbed's kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a configuration")).expect("a client")
}
