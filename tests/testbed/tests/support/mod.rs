//! What the testbed's own tests share: a testbed that is taken away whatever happens, and one test at a time.

#![allow(dead_code, clippy::missing_panics_doc, clippy::must_use_candidate)]

pub mod app_pod;
pub mod aurora;
pub mod database;
pub mod dns;
pub mod steered;

use std::fs::File;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::kubernetes::leftovers::{self, MachineSnapshot};
use dbbalance_testbed::kubernetes::{Layout, Testbed, TestbedOptions, lock};
use dbbalance_testbed::{image, wait};

/// For what takes seconds on an idle machine.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Holds the machine: these tests look at all of it, and measure times. Across processes, as test runners use many.
pub struct ExclusiveMachine {
    _lock: File,
    before: MachineSnapshot,
    others: Vec<String>,
}

impl ExclusiveMachine {
    pub fn on_this_machine() -> Self {
        let lock = File::create(ToolCache::locate().unwrap().path(".test.lock")).unwrap();
        lock.lock().unwrap();
        let others = lock::list_testbeds(Layout::of("any").unwrap().root()).unwrap();
        Self {
            _lock: lock,
            before: MachineSnapshot::now(),
            others,
        }
    }

    /// Fails if the testbed left anything, or if the machine is not as before though no other testbed is on it: a
    /// developer's own may have been there all along, or have come meanwhile.
    pub fn assert_nothing_left(&self, name: &str) {
        assert_eq!(
            leftovers::find_leftovers(name).unwrap(),
            Vec::<String>::new()
        );
        let root = Layout::of(name).unwrap().root().to_owned();
        let (now, folder) = (MachineSnapshot::now(), root.exists());
        if self.others.is_empty() && lock::list_testbeds(&root).unwrap().is_empty() {
            assert_eq!(now, self.before);
            assert!(!folder, "{} is left", root.display());
        }
    }
}

/// A testbed of the test's own, taken away at its end.
pub struct OwnTestbed {
    pub testbed: Testbed,
}

impl OwnTestbed {
    pub fn up(name: &str) -> Self {
        Testbed::down(name).unwrap();
        let testbed = Testbed::up(&TestbedOptions {
            name: name.to_owned(),
            ..TestbedOptions::default()
        })
        .unwrap();
        Self { testbed }
    }
}

impl Drop for OwnTestbed {
    fn drop(&mut self) {
        if let Err(e) = Testbed::down(self.testbed.name()) {
            eprintln!("cannot take the testbed away: {e:#}");
        }
    }
}

/// The `testbed` program.
pub fn testbed_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(arguments);
    command
}

pub fn run_testbed(arguments: &[&str]) -> Output {
    testbed_command(arguments).output().unwrap()
}

pub fn spawn_testbed(arguments: &[&str]) -> Child {
    testbed_command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

pub fn utf8_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for something to be true.
pub fn wait_eventually(what: &str, mut probe: impl FnMut() -> bool) {
    wait::poll_until(what, LIMIT, || Ok(probe().then_some(()))).unwrap();
}

/// Runs `replicas` of the test app and waits until they are Ready; gives the pods' names.
pub fn deploy_testapp(testbed: &Testbed, replicas: u32) -> Vec<String> {
    let archive = image::build_testapp_image(&ToolCache::locate().unwrap())
        .unwrap()
        .archive;
    assert_eq!(testbed.load_image(&archive).unwrap(), [image::TESTAPP]);
    let manifest = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "app"}},
            "template": {"metadata": {"labels": {"app": "app"}}, "spec": {"containers": [{
                "name": "app", "image": image::TESTAPP, "imagePullPolicy": "Never",
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
                "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "allowPrivilegeEscalation": false},
            }]}},
        },
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), manifest.to_string()).unwrap();
    testbed
        .kubectl(&["apply", "-f", file.path().to_str().unwrap()])
        .unwrap();
    testbed
        .kubectl(&["rollout", "status", "deployment/app", "--timeout=60s"])
        .unwrap();
    let names = testbed
        .kubectl(&[
            "get",
            "pods",
            "-l",
            "app=app",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ])
        .unwrap();
    names.split_whitespace().map(str::to_owned).collect()
}

/// What glibc finds for a name with a pod's settings, and how long it takes.
pub fn run_getent(testbed: &Testbed, pod: &str, name: &str) -> (String, Duration) {
    let pid = testbed.container_pid("default", pod, "app").unwrap();
    // A copy: a file of another mount namespace cannot be bound.
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(format!("/proc/{pid}/root/etc/resolv.conf"), config.path()).unwrap();
    let script = format!(
        "mount --bind {} /etc/resolv.conf && getent ahosts {name}",
        config.path().display()
    );
    let started = Instant::now();
    let told = Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["unshare", "--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    let took = started.elapsed();
    assert_eq!(utf8_text(&told.stderr), "");
    (utf8_text(&told.stdout), took)
}
