//! The testbed of the cases: clusters, caches, apps with real pools, and the operator that watches them.

use std::time::Duration;

use dbbalance_api::DbBalancePolicy;
use dbbalance_testbed::aurora::address::{CLUSTER_DNS, RDS_API, RDS_API_PORT};
use dbbalance_testbed::aurora::control::AuroraControl;
use dbbalance_testbed::aurora::coredns::{self, CacheTopology};
use dbbalance_testbed::aurora::daemon;
use dbbalance_testbed::aurora::fleet::AuroraClusterSpec;
use dbbalance_testbed::aurora::inventory::{cluster_endpoint, reader_endpoint};
use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::image;
use dbbalance_testbed::kubernetes::Testbed;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::pool_apps::{PoolApp, pool_app_deployment};
use dbbalance_testkit::workloads::is_ready;
use dbbalance_testkit::{TestCase, TestSuite, wait_until};

const TESTBED: &str = "dbb-convergence";
/// The operator's program.
const OPERATOR: &str = env!("CARGO_BIN_EXE_dbbalance");
/// Replicas of `CoreDNS`: their answers differ.
const CACHES: u8 = 2;
/// Sixteen pods that start on two cores.
const STARTED: Duration = Duration::from_secs(400);
/// A settle time, and the round of claims, effects and measurements that follows.
pub const CONVERGED: Duration = Duration::from_mins(5);

/// What all cases share.
pub struct ConvergenceFixture {
    pub suite: TestSuite,
}

/// Reads through `HikariCP`; the JVM keeps no addresses.
pub const SHOP: PoolApp = PoolApp {
    namespace: "shop",
    cluster: "orders",
    image: "hikaricp",
    pods: 10,
    environment: &[
        ("WRITER_POOL", "off"),
        ("POOL_SIZE", "10"),
        ("READ_RATE", "10"),
        ("JVM_DNS_TTL", "0"),
    ],
};

/// Reads and writes through `ActiveRecord`; half-open sockets hang but for what the renewal ends.
pub const BANK: PoolApp = PoolApp {
    namespace: "bank",
    cluster: "ledger",
    image: "activerecord",
    pods: 6,
    environment: &[
        ("POOL_SIZE", "5"),
        ("WRITER_POOL_SIZE", "5"),
        ("READ_RATE", "5"),
        ("WRITE_RATE", "5"),
        ("RENEW_GRACE", "2"),
    ],
};

fn name() -> String {
    std::env::var("DBBALANCE_E2E_TESTBED").unwrap_or_else(|_| TESTBED.to_owned())
}

/// With `DBBALANCE_CONVERGENCE_KEEP=1` the testbed stays, and is taken again.
fn keeps() -> bool {
    std::env::var("DBBALANCE_CONVERGENCE_KEEP").is_ok_and(|keep| keep == "1")
}

fn kept() -> Option<Testbed> {
    if keeps() {
        Testbed::open(&name()).ok()
    } else {
        None
    }
}

impl ConvergenceFixture {
    pub fn up() -> Self {
        if let Some(testbed) = kept() {
            return Self {
                suite: TestSuite::of(testbed, OPERATOR.as_ref()),
            };
        }
        let suite = TestSuite::bare(name(), OPERATOR.as_ref());
        let cache = ToolCache::locate().unwrap();
        for app in [&SHOP, &BANK] {
            let built = image::build_app_image(&cache, app.image).unwrap();
            suite.testbed.load_image(&built.archive).unwrap();
            daemon::create_cluster(
                &suite.testbed,
                &AuroraClusterSpec {
                    cluster: app.cluster.to_owned(),
                    readers: 2,
                    profile: "quick".to_owned(),
                    max_connections: 300,
                },
            )
            .unwrap();
        }
        coredns::start_caches(&suite.testbed, CacheTopology::Replicas(CACHES)).unwrap();
        Self { suite }
    }

    pub fn down() {
        if keeps() {
            return;
        }
        if let Err(error) = Testbed::down(&name()) {
            eprintln!("cannot take the testbed away: {error:#}");
        }
    }

    /// The app's namespace with its pods, all of them Ready; made by the first case that needs it.
    pub async fn case(&self, app: &PoolApp) -> TestCase<'_> {
        let mut case = TestCase::bare(&self.suite, app.namespace).await;
        case.is_shared = true;
        if case.pods("app").await.is_empty() {
            let hosts = (reader_endpoint(app.cluster), cluster_endpoint(app.cluster));
            let object = pool_app_deployment("app", app, (&hosts.0, &hosts.1), app.pods);
            case.create::<Deployment>(object).await;
        }
        let wanted = usize::try_from(app.pods).unwrap();
        wait_until("the app's pods", STARTED, async || {
            let pods = case.pods("app").await;
            (pods.len() == wanted && pods.iter().all(is_ready)).then_some(())
        })
        .await;
        for policy in case
            .api::<DbBalancePolicy>()
            .list(&ListParams::default())
            .await
            .unwrap()
        {
            case.delete_policy(&policy.name_any()).await;
        }
        case
    }

    /// Orders to the databases, from inside the testbed's network.
    #[allow(clippy::unused_self)] // only who has a fixture has its databases
    pub fn control(&self) -> AuroraControl {
        AuroraControl::inside()
    }

    pub async fn operator<'a>(
        &self,
        case: &'a TestCase<'a>,
        identity: &str,
    ) -> OperatorProcess<'a> {
        let settings = OperatorSettings {
            rds_url: Some(format!("http://{RDS_API}:{RDS_API_PORT}")),
            arguments: vec![
                format!("--evidence-namespaces={}", case.name),
                format!("--dns-servers={CLUSTER_DNS}"),
            ],
            ..OperatorSettings::default()
        };
        OperatorProcess::with(case, identity, &settings).await
    }
}

/// A policy for an app's cluster with evidence, quick to settle, with few batches and nothing to wait for between runs.
pub fn policy(name: &str, app: &PoolApp, target: &str, pools: &Value, recycle: &Value) -> Value {
    json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy", "metadata": {"name": name},
        "spec": {
            "cluster": {"identifier": app.cluster},
            "targets": [{
                "name": target,
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
                "pools": pools,
                "recycle": recycle,
            }],
            "triggers": {
                "readerAdded": {"settleSeconds": 1},
                "readerRemoved": {"settleSeconds": 1},
            },
            "pacing": {"maxUnavailable": "40%"},
            "limits": {"cooldownSeconds": 0, "maxRunsPerHour": 60},
            "budget": {"maxConnections": 1000},
            "evidence": {"source": "ProcNet"},
        },
    })
}

/// How often each pod was recycled between two counts.
pub fn since(before: &[(String, u64)], after: &[(String, u64)]) -> Vec<u64> {
    let was = |name: &str| before.iter().find(|(n, _)| n == name).map_or(0, |b| b.1);
    after.iter().map(|(n, count)| count - was(n)).collect()
}
