//! Sets up the demo: Kubernetes, Aurora, name servers, the operator by its chart, and an app under load.
//!
//! Everything it makes is in the testbed, and is deleted with it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::DemoOptions;
use super::screen::Screen;
use crate::aurora::coredns::{self, CacheTopology};
use crate::aurora::{AuroraClusterSpec, AuroraControl, daemon as fleet};
use crate::cache::ToolCache;
use crate::kubernetes::{self, Testbed};
use crate::tools::crate_folder;
use crate::{image, interrupt, program, wait};

/// The cluster.
pub const CLUSTER: &str = "orders";
/// The app's and the policy's namespace.
pub const NAMESPACE: &str = "shop";
/// The policy.
pub const POLICY: &str = "orders";
/// Pods of the app.
pub const PODS: usize = 12;
/// Connections of all of them.
pub const CONNECTIONS: usize = PODS * 10;

/// Where the operator runs.
const OPERATOR_NAMESPACE: &str = "dbbalance";
/// The app with real pools that starts quickest with many pods on few cores.
const APP: &str = "hikaricp";
/// Twelve JVMs on two idle cores take a tenth of it.
const START: Duration = Duration::from_mins(5);

/// Everything that a demo runs on.
#[derive(Debug)]
pub struct DemoSetup {
    /// Kubernetes.
    pub testbed: Testbed,
    /// Aurora.
    pub control: AuroraControl,
    /// Pods of the app and their addresses.
    pub pods: Vec<(String, String)>,
}

impl DemoSetup {
    /// Sets everything up, and prints each step with its duration. The policy is created later.
    pub fn build(options: &DemoOptions, screen: &mut Screen) -> Result<Self> {
        if !options.operator.is_file() {
            bail!(
                "the program {} is missing: build it with: cargo build --locked --release -p dbbalance",
                options.operator.display()
            );
        }
        if Testbed::status(&options.testbed)?.is_some() {
            screen.print_lines(&["Deleting the testbed of an earlier demo.".to_owned()])?;
            Testbed::down(&options.testbed)?;
        }
        let testbed = run_step(screen, "Kubernetes", || {
            Testbed::up(&kubernetes::TestbedOptions {
                name: options.testbed.clone(),
                control_plane_only: false,
            })
        })?;
        let control = run_step(
            screen,
            "Aurora: PostgreSQL, a writer and two readers",
            || {
                let up = AuroraClusterSpec {
                    cluster: CLUSTER.to_owned(),
                    readers: 2,
                    profile: "quick".to_owned(),
                    max_connections: 500,
                };
                fleet::create_cluster(&testbed, &up)
            },
        )?;
        run_step(screen, "DNS: two CoreDNS, which cache 5 s each", || {
            coredns::start_caches(&testbed, CacheTopology::Replicas(2))
        })?;
        run_step(screen, "Images of the operator and the app", || {
            load_images(&testbed, &options.operator)
        })?;
        run_step(
            screen,
            "The operator, by its Helm chart: two replicas",
            || {
                // The app first: the chart's rights are in its namespace, and it starts meanwhile.
                testbed.kubectl(&["apply", "-f", &demo_file("app.yaml")])?;
                install_operator(&testbed)
            },
        )?;
        let pods = run_step(
            screen,
            "The app: 12 pods, 10 connections each, under load",
            || {
                wait_rolled_out(&testbed, NAMESPACE, "web")?;
                list_pods(&testbed)
            },
        )?;
        if pods.len() != PODS {
            bail!("{} pods of the app are running, not {PODS}", pods.len());
        }
        control.observe(CLUSTER)?;
        Ok(Self {
            testbed,
            control,
            pods,
        })
    }

    /// `kubectl` in the app's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.testbed
            .kubectl(&[&["-n", NAMESPACE], arguments].concat())
    }
}

fn run_step<T>(screen: &mut Screen, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if interrupt::is_interrupted() {
        bail!("interrupted");
    }
    screen.begin_step(what)?;
    let began = Instant::now();
    let made = work().with_context(|| what.to_owned())?;
    screen.finish_step(what, began.elapsed())?;
    Ok(made)
}

/// A file of the demo.
#[must_use]
pub fn demo_file(name: &str) -> String {
    crate_folder()
        .join("demo")
        .join(name)
        .to_string_lossy()
        .into_owned()
}

fn load_images(testbed: &Testbed, operator: &Path) -> Result<()> {
    let app = image::build_app_image(&ToolCache::locate()?, APP)?;
    testbed.load_image(&app.archive)?;
    let archive = testbed.layout().path("operator.tar");
    image::build_operator_image(operator, "demo", &archive)?;
    testbed.load_image(&archive)?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    // For `testbed shell`; the plugin is built beside the operator.
    let programs = testbed.programs();
    fs::create_dir_all(&programs).with_context(|| format!("cannot make {}", programs.display()))?;
    let me = std::env::current_exe().context("cannot find the path of this program")?;
    for (name, target) in [
        (
            "kubectl-dbbalance",
            absolute_path(&operator.with_file_name("kubectl-dbbalance"))?,
        ),
        ("testbed", absolute_path(&me)?),
    ] {
        symlink(target, programs.join(name)).with_context(|| format!("cannot link {name}"))?;
    }
    Ok(())
}

fn absolute_path(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))
}

fn install_operator(testbed: &Testbed) -> Result<()> {
    program::run_output(
        testbed
            .command("helm")
            .args(["install", "dbbalance"])
            .arg(crate_folder().join("../../charts/dbbalance"))
            .args(["--namespace", OPERATOR_NAMESPACE, "--create-namespace"])
            .args(["--values", &demo_file("values.yaml")]),
    )?;
    wait_rolled_out(testbed, OPERATOR_NAMESPACE, "dbbalance")
}

fn wait_rolled_out(testbed: &Testbed, namespace: &str, deployment: &str) -> Result<()> {
    wait::poll_until(&format!("the pods of {deployment}"), START, || {
        let output =
            testbed.kubectl(&["-n", namespace, "get", "deploy", deployment, "-o", "json"])?;
        let output: Value = serde_json::from_str(&output)?;
        let wanted = output["spec"]["replicas"].as_i64();
        let ready = output["status"]["readyReplicas"].as_i64();
        Ok((wanted == ready).then_some(()))
    })
}

fn list_pods(testbed: &Testbed) -> Result<Vec<(String, String)>> {
    let lines = r#"jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}"#;
    let output =
        testbed.kubectl(&["-n", NAMESPACE, "get", "pods", "-l", "app=web", "-o", lines])?;
    Ok(output
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(pod, ip)| (pod.to_owned(), ip.to_owned()))
        .collect())
}

/// Collects what may explain a failed chapter.
#[must_use]
pub fn describe_failure(testbed: &Testbed) -> String {
    let asked: [(&str, &[&str]); 4] = [
        ("Pods", &["get", "pods", "-A", "--no-headers"]),
        (
            "The policy's conditions",
            &[
                "-n",
                NAMESPACE,
                "get",
                "dbp",
                POLICY,
                "-o",
                r#"jsonpath={range .status.conditions[*]}{.type} {.status} {.reason}: {.message}{"\n"}{end}"#,
            ],
        ),
        (
            "Its status",
            &[
                "-n",
                NAMESPACE,
                "get",
                "dbp",
                POLICY,
                "-o",
                "jsonpath={.status.balance}{.status.plan}",
            ],
        ),
        (
            "The operator, last lines",
            &[
                "-n",
                OPERATOR_NAMESPACE,
                "logs",
                "-l",
                "app.kubernetes.io/name=dbbalance",
                "--tail=8",
            ],
        ),
    ];
    asked
        .iter()
        .map(|(title, arguments)| match testbed.kubectl(arguments) {
            Ok(output) => format!("{title}\n{}\n", output.trim_end()),
            Err(e) => format!("{title}: {e:#}\n"),
        })
        .collect()
}
