//! What both tests run on: an RDS API with faults, the operator as a process, pods that somebody says are running,
//! and what the API server noted of what the operator did.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dbbalance_testbed::kubernetes::NODE_IP;
use dbbalance_testbed::process::ProcessIdentity;
use dbbalance_testbed::rds::client::RdsClient;
use dbbalance_testbed::rds::{self, FAULTS_PORT, REGION};
use dbbalance_testbed::wait;
use http::Method;
use serde_json::{Value, json};

use dbbalance_testkit::api_server::KubeApiServer;
use dbbalance_testkit::rds_relay::RdsRelay;

/// The namespace of the operator's lease and service account.
const HOME: &str = "dbbalance";
/// The operator's name for the API server.
const USER: &str = "system:serviceaccount:dbbalance:operator";
/// Where the operator serves metrics and probes.
pub const PROBES: &str = "198.18.0.1:18080";
/// How the operator is called among the testbed's programs.
const PROGRAM: &str = "operator";

/// The parts.
pub struct SoakFixture<'s> {
    pub server: &'s KubeApiServer<'s>,
    pub relay: RdsRelay,
    pub rds: RdsClient,
}

/// A request of the operator that the API server noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    pub verb: String,
    pub resource: String,
    pub name: String,
}

impl Noted {
    /// It changes something that is not the operator's own lease.
    pub fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
            && self.resource != "leases"
    }

    /// It changes pods or workloads.
    pub fn is_effect(&self) -> bool {
        self.is_write() && !["dbbalancepolicies", "events"].contains(&self.resource.as_str())
    }
}

impl<'s> SoakFixture<'s> {
    /// Starts the RDS API; the operator is started by [`SoakFixture::start_operator`].
    pub fn new(server: &'s KubeApiServer<'s>) -> Self {
        rds::start_servers(server.testbed, true).expect("moto and microburst");
        Self {
            server,
            relay: RdsRelay::start(NODE_IP, &format!("http://{NODE_IP}:{FAULTS_PORT}")),
            rds: RdsClient::in_testbed(server.testbed, REGION),
        }
    }

    /// Starts the operator, under a name of its own.
    pub fn start_operator(&self) -> ProcessIdentity {
        let server = self.server;
        server.kubectl(&["create", "namespace", HOME]);
        server.kubectl(&["create", "serviceaccount", "operator", "-n", HOME]);
        let account = format!("{HOME}:operator");
        let admin = [
            "create",
            "clusterrolebinding",
            "soak",
            "--clusterrole=cluster-admin",
        ];
        server.kubectl(&[&admin[..], &["--serviceaccount", &account]].concat());
        let token = server.kubectl(&["create", "token", "operator", "-n", HOME, "--duration=24h"]);
        let text = fs::read_to_string(server.testbed.kubeconfig()).unwrap();
        let mut config: Value = serde_yaml_ng::from_str(&text).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        let kubeconfig = server.testbed.layout().path("operator.kubeconfig");
        fs::write(&kubeconfig, config.to_string()).unwrap();

        let built = env!("CARGO_BIN_EXE_dbbalance").to_owned();
        let binary = std::env::var("DBBALANCE_SOAK_BINARY").unwrap_or(built);
        let mut command = Command::new(Path::new(&binary).canonicalize().unwrap());
        command
            .args(["run", "--listen-address", PROBES, "--lease-namespace", HOME])
            .env("KUBECONFIG", &kubeconfig)
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL_RDS", self.relay.endpoint())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("DBBALANCE_LOG_FORMAT", "json");
        server
            .testbed
            .spawn(PROGRAM, &command)
            .expect("the operator")
    }

    /// Waits for a state; fails with what the operator said last.
    pub fn until(&self, what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
        let reached = wait::poll_until(what, limit, || Ok(probe().then_some(())));
        if let Err(e) = reached {
            panic!("{e:#}\n{}", self.last_words());
        }
    }

    /// Waits as [`SoakFixture::until`] does, and looks once a second only: a list of a whole fleet is work for the API
    /// server that the operator shares.
    pub fn until_seldom(&self, what: &str, limit: Duration, mut probe: impl FnMut() -> bool) {
        self.until(what, limit, || {
            let reached = probe();
            if !reached {
                std::thread::sleep(Duration::from_secs(1));
            }
            reached
        });
    }

    /// Lets time pass in which `holds` must stay true.
    pub fn keep(&self, what: &str, time: Duration, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assert!(holds(), "{what}\n{}", self.last_words());
            let alive = self.server.testbed.spawned(PROGRAM).is_some();
            assert!(alive, "the operator has ended\n{}", self.last_words());
            // The time itself is what is tested.
            std::thread::sleep(Duration::from_secs(1).min(time));
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.server.testbed.layout().log(PROGRAM)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// What the API server noted of the operator, from this line of its log on, and the next line.
    pub fn noted(&self, from: usize) -> (Vec<Noted>, usize) {
        let log = BufReader::new(fs::File::open(self.server.testbed.audit_log()).unwrap());
        let (mut noted, mut next) = (Vec::new(), from);
        for line in log.lines().skip(from) {
            let Ok(event) = serde_json::from_str::<Value>(&line.unwrap()) else {
                break; // being written
            };
            next += 1;
            if event["user"]["username"] == USER && event["stage"] == "ResponseComplete" {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                noted.push(Noted {
                    verb: text(&event["verb"]),
                    resource: text(&event["objectRef"]["resource"]),
                    name: text(&event["objectRef"]["name"]),
                });
            }
        }
        (noted, next)
    }

    /// A cluster with a writer and a reader.
    pub fn cluster(&self, name: &str) {
        self.rds.create_cluster(name, "aurora-postgresql").unwrap();
        for number in [1, 2] {
            let instance = format!("{name}-{number}");
            self.rds
                .add_instance(name, &instance, "db.r6g.large")
                .unwrap();
        }
    }

    /// A Deployment of that many pods.
    pub fn deployment_object(name: &str, replicas: usize) -> Value {
        let labels = json!({"app": name});
        let container = json!({"name": "app", "image": "localhost/none:1"});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        })
    }

    /// Waits for that many pods in all namespaces, says, as a kubelet would, that they run, and waits until their
    /// Deployments know.
    pub fn run_all_pods(&self, count: usize, limit: Duration) {
        let list = |path: &str| {
            let list = self.server.call(Method::GET, path, &json!({})).unwrap();
            list["items"].as_array().cloned().unwrap_or_default()
        };
        self.until_seldom("pods", limit, || list("/api/v1/pods").len() == count);
        let runs = list("/api/v1/pods").into_iter().map(|pod| {
            let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default().to_owned();
            let (namespace, name) = (text("namespace"), text("name"));
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/status");
            (Method::PATCH, path, running_status(&pod))
        });
        self.server.call_all(runs.collect());
        let is_complete = |d: &Value| d["status"]["readyReplicas"] == d["spec"]["replicas"];
        self.until_seldom("Deployments", limit, || {
            list("/apis/apps/v1/deployments").iter().all(is_complete)
        });
    }

    /// How often the operator has said this.
    pub fn count_log_lines(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.server.testbed.layout().log(PROGRAM)).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

/// The status of a pod that runs since it was created.
fn running_status(pod: &Value) -> Value {
    let created = &pod["metadata"]["creationTimestamp"];
    json!({"status": {
        "phase": "Running", "startTime": created, "podIP": "198.18.3.1",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": created},
            {"type": "ContainersReady", "status": "True", "lastTransitionTime": created}
        ],
        "containerStatuses": [{
            "name": "app", "image": "localhost/none:1", "imageID": "none", "ready": true, "started": true,
            "restartCount": 0, "state": {"running": {"startedAt": created}}
        }]
    }})
}

/// Status and reason of a condition.
pub fn condition(policy: &Value, name: &str) -> (String, String) {
    let all = policy["status"]["conditions"].as_array();
    let found = all.into_iter().flatten().find(|c| c["type"] == name);
    found.map_or_else(Default::default, |c| {
        let text = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
        (text("status"), text("reason"))
    })
}

/// A policy that follows a cluster with one Deployment of the same name as itself.
pub fn policy(namespace: &str, name: &str, cluster: &str) -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "cluster": {"identifier": cluster},
            // The relay's endpoints lead nowhere.
            "dns": {"onTimeout": "Proceed", "timeoutSeconds": 0},
            "targets": [{
                "name": "app",
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": 2}, {"endpoint": "Writer", "connectionsPerPod": 2}],
                "recycle": {"method": "Annotate"}
            }],
            "pacing": {"maxUnavailable": "100%", "intervalSeconds": 1}
        }
    })
}

/// Memory and CPU time of a process.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub rss_kib: u64,
    pub cpu_seconds: f64,
}

/// What a process has used so far.
pub fn used(process: &ProcessIdentity) -> Used {
    /// What the kernel counts CPU time in, for programs: `USER_HZ`.
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", process.pid)).unwrap();
    let status = read("status");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss_kib = rss.and_then(|text| text.split_whitespace().next()?.parse().ok());
    let stat = read("stat");
    // After the name, which may hold spaces: state is the first, utime and stime the 12th and 13th.
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    Used {
        rss_kib: rss_kib.unwrap(),
        cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
    }
}
