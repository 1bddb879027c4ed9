//! One pod of an app, as a test sees it: its connections, its counters, its hosts file.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use dbbalance_testbed::image::app::AppImage;
use dbbalance_testbed::kubernetes::Testbed;
use dbbalance_testbed::program;
use serde_json::{Value, json};

use super::database::ONE;
use super::wait_eventually;

pub const READERS: usize = 10;
pub const WRITERS: usize = 5;
/// Queries a second of the reader pool.
pub const RATE: u64 = 100;

pub struct AppPod<'a> {
    testbed: &'a Testbed,
    name: String,
    pub ip: String,
}

/// A connection: the pod's port, and the database's address.
pub type Connection = (String, String);

impl<'a> AppPod<'a> {
    /// Runs the app; its database's names lead to [`ONE`].
    pub fn run(
        testbed: &'a Testbed,
        app: &AppImage,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let env: Vec<Value> = [
            ("DB_READER_HOST", "reader.test"),
            ("DB_WRITER_HOST", "writer.test"),
            ("POOL_SIZE", &READERS.to_string()),
            ("WRITER_POOL_SIZE", &WRITERS.to_string()),
            ("READ_RATE", &RATE.to_string()),
            ("WRITE_RATE", "20"),
        ]
        .iter()
        .chain(settings)
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect();
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "hostAliases": [{"ip": ONE, "hostnames": ["reader.test", "writer.test"]}],
                "containers": [{
                    "name": "app", "image": app.image(), "imagePullPolicy": "Never", "env": env,
                    "ports": [{"containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false},
                }],
            },
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest.to_string()).unwrap();
        testbed
            .kubectl(&["apply", "-f", file.path().to_str().unwrap()])
            .unwrap();
        testbed
            .kubectl(&[
                "wait",
                "--for=condition=Ready",
                &format!("pod/{name}"),
                "--timeout=60s",
            ])
            .unwrap();
        let ip = testbed
            .kubectl(&["get", "pod", name, "-o", "jsonpath={.status.podIP}"])
            .unwrap();
        Self {
            testbed,
            name: name.to_owned(),
            ip,
        }
    }

    fn process(&self) -> String {
        self.testbed
            .container_pid("default", &self.name, "app")
            .unwrap()
            .to_string()
    }

    /// Leads the database's names to another address.
    pub fn rename(&self, address: &str) {
        let file = format!("/proc/{}/root/etc/hosts", self.process());
        let text = std::fs::read_to_string(&file).unwrap();
        let other: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("reader.test"))
            .collect();
        // In place: the file is a mount.
        std::fs::write(
            file,
            format!("{}\n{address} reader.test writer.test\n", other.join("\n")),
        )
        .unwrap();
    }

    /// Established ones, as the kernel tells them.
    pub fn connections(&self) -> BTreeSet<Connection> {
        let told = program::run_output(
            Command::new("nsenter")
                .args(["-t", &self.process(), "-n", "ss", "-Htn"])
                .args(["state", "established", "dport", "=", ":5432"]),
        )
        .unwrap();
        told.lines()
            .map(|line| {
                let plain = line.replace("[::ffff:", "").replace(']', "");
                let mut ends = plain.split_whitespace().skip(2);
                let mut end = || ends.next().unwrap().rsplit_once(':').unwrap();
                let ((_, port), (address, _)) = (end(), end());
                (port.to_owned(), address.to_owned())
            })
            .collect()
    }

    /// Waits until there are all connections, at this address, and none of the old ones.
    pub fn await_all_at(&self, address: &str, old: &BTreeSet<Connection>) -> BTreeSet<Connection> {
        let mut now = BTreeSet::new();
        wait_eventually(&format!("{} with all at {address}", self.name), || {
            now = self.connections();
            now.len() == READERS + WRITERS
                && now.is_disjoint(old)
                && now.iter().all(|(_, at)| at == address)
        });
        now
    }

    fn call(&self, method: &str, path: &str) -> String {
        let uri = format!("http://{}:8080{path}", self.ip);
        self.testbed
            .enter(|| {
                let agent: ureq::Agent = ureq::Agent::config_builder()
                    .timeout_global(Some(Duration::from_secs(5)))
                    .build()
                    .into();
                let answer = if method == "POST" {
                    agent.post(&uri).send_empty()
                } else {
                    agent.get(&uri).call()
                };
                answer.unwrap().body_mut().read_to_string().unwrap()
            })
            .unwrap()
    }

    pub fn stats(&self) -> Value {
        serde_json::from_str(&self.call("GET", "/stats")).unwrap()
    }

    /// A number of a pool's.
    pub fn number(&self, pool: &str, name: &str) -> u64 {
        self.stats()["pools"][pool][name].as_u64().unwrap()
    }

    pub fn failed(&self) -> u64 {
        self.number("reader", "failed") + self.number("writer", "failed")
    }

    /// Events and errors after this one.
    pub fn log(&self, since: u64) -> Vec<Value> {
        self.call("GET", &format!("/log?since={since}"))
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn renew_by_http(&self, app: &AppImage) {
        assert_eq!(self.call("POST", &app.recycle.path), "begun\n");
    }

    /// As an operator sends it: from inside, after a look whether the process catches it.
    pub fn renew_by_signal(&self, app: &AppImage) {
        let status = self.exec("cat /proc/1/status");
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        assert_eq!(app.recycle.signal, "HUP", "the bit below is that of HUP");
        assert_eq!(u64::from_str_radix(caught.trim(), 16).unwrap() & 1, 1);
        self.exec("kill -HUP 1");
    }

    fn exec(&self, script: &str) -> String {
        self.testbed
            .kubectl(&["exec", &self.name, "--", "sh", "-c", script])
            .unwrap()
    }
}
