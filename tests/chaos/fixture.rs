//! The testbed of both scenarios: an Aurora of real databases, caches, and the apps' images.

use std::path::PathBuf;

use dbbalance_testbed::aurora::address::{CLUSTER_DNS, RDS_API, RDS_API_PORT};
use dbbalance_testbed::aurora::control::AuroraControl;
use dbbalance_testbed::aurora::coredns::{self, CacheTopology};
use dbbalance_testbed::aurora::daemon;
use dbbalance_testbed::aurora::fleet::AuroraClusterSpec;
use dbbalance_testbed::aurora::inventory::{cluster_endpoint, reader_endpoint};
use dbbalance_testbed::aurora::observe::Observation;
use dbbalance_testbed::aurora::status::ClusterStatus;
use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::image;
use dbbalance_testbed::kubernetes::Testbed;
use dbbalance_testkit::database_view::{is_wrong, present};
use dbbalance_testkit::operator::OperatorSettings;
use dbbalance_testkit::pool_apps::{PoolApp, pool_app_deployment};
use dbbalance_testkit::{TestCase, TestSuite};
use serde_json::{Value, json};

/// The cluster of both scenarios, and the namespace of the apps.
pub const CLUSTER: &str = "orders";
/// More than all pools of all apps together, and less than the instances' class would take.
pub const MAX_CONNECTIONS: u16 = 300;
/// Connections of a pod's reader pool and of its writer pool.
pub const POOL: usize = 3;

/// What all apps get. A request that waits longer than the grace for a dead connection is ended by the recipe.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("POOL_SIZE", "3"),
    ("WRITER_POOL_SIZE", "3"),
    ("READ_RATE", "6"),
    ("WRITE_RATE", "6"),
    ("RENEW_GRACE", "2"),
];

/// An app of this image, with both pools.
pub fn app(image: &'static str, pods: u32) -> PoolApp {
    PoolApp {
        namespace: CLUSTER,
        cluster: CLUSTER,
        image,
        pods,
        environment: ENVIRONMENT,
    }
}

/// A Deployment of an app with both pools, at the cluster's endpoints.
pub fn deployment(name: &str, app: &PoolApp) -> Value {
    let hosts = (reader_endpoint(CLUSTER), cluster_endpoint(CLUSTER));
    pool_app_deployment(name, app, (&hosts.0, &hosts.1), app.pods)
}

/// A target with both pools.
pub fn target(name: &str, recycle: &Value) -> Value {
    json!({
        "name": name,
        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "pools": [
            {"endpoint": "Reader", "connectionsPerPod": POOL},
            {"endpoint": "Writer", "connectionsPerPod": POOL},
        ],
        "recycle": recycle,
    })
}

/// The testbed; it is taken away with the value.
pub struct ChaosFixture {
    pub suite: TestSuite,
}

impl ChaosFixture {
    /// Brings it up, with databases that act by this timing profile.
    pub fn up(profile: &str, images: &[&str]) -> Self {
        let name =
            std::env::var("DBBALANCE_CHAOS_TESTBED").unwrap_or_else(|_| "dbb-chaos".to_owned());
        let built = PathBuf::from(env!("CARGO_BIN_EXE_dbbalance"));
        let program = std::env::var_os("DBBALANCE_CHAOS_BINARY").map_or(built, PathBuf::from);
        let fixture = Self {
            suite: TestSuite::bare(name, &program),
        };
        let testbed = &fixture.suite.testbed;
        let cache = ToolCache::locate().unwrap();
        for app in images {
            let built = image::build_app_image(&cache, app).unwrap();
            testbed.load_image(&built.archive).unwrap();
        }
        let spec = AuroraClusterSpec {
            cluster: CLUSTER.to_owned(),
            readers: 2,
            profile: profile.to_owned(),
            max_connections: MAX_CONNECTIONS,
        };
        daemon::create_cluster(testbed, &spec).unwrap();
        coredns::start_caches(testbed, CacheTopology::Replicas(2)).unwrap();
        fixture
    }

    /// The apps' namespace.
    pub async fn case(&self) -> TestCase<'_> {
        let mut case = TestCase::bare(&self.suite, CLUSTER).await;
        // It goes with the testbed.
        case.is_shared = true;
        case
    }
}

impl Drop for ChaosFixture {
    fn drop(&mut self) {
        if let Err(error) = Testbed::down(self.suite.testbed.name()) {
            eprintln!("cannot take the testbed away: {error:#}");
        }
    }
}

/// An operator at the Aurora's API and name server.
pub fn operator_settings() -> OperatorSettings {
    OperatorSettings {
        rds_url: Some(format!("http://{RDS_API}:{RDS_API_PORT}")),
        arguments: vec![
            format!("--evidence-namespaces={CLUSTER}"),
            format!("--dns-servers={CLUSTER_DNS}"),
        ],
        ..OperatorSettings::default()
    }
}

/// The cluster as it is now.
pub fn cluster(control: &AuroraControl) -> ClusterStatus {
    control.status().unwrap().cluster(CLUSTER).unwrap().clone()
}

/// Readers that the reader endpoint may lead to.
pub fn readers(control: &AuroraControl) -> Vec<String> {
    let cluster = cluster(control);
    let serving = |i: &&dbbalance_testbed::aurora::status::InstanceStatus| {
        !i.api_writer && i.dns_reader && i.api_status == "available"
    };
    let serving = cluster.instances.iter().filter(serving);
    serving.map(|i| i.name.clone()).collect()
}

/// Connections of an app's pods: those of reader pools, those of writer pools, and those on the wrong role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldConnections {
    pub reading: usize,
    pub writing: usize,
    pub wrong: usize,
}

/// Counts what the pods of an app hold at the newest sample.
pub fn held(seen: &Observation, app: &str) -> HeldConnections {
    let mut held = HeldConnections::default();
    let prefix = format!("{app}-");
    for record in present(seen).filter(|r| r.application.starts_with(&prefix)) {
        held.reading += usize::from(record.application.ends_with("/reader"));
        held.writing += usize::from(record.application.ends_with("/writer"));
        held.wrong += usize::from(is_wrong(record));
    }
    held
}

/// Whether an app's pools are full, and all on the right role.
pub fn is_right(held: HeldConnections, pods: usize) -> bool {
    held.wrong == 0 && held.reading == pods * POOL && held.writing == pods * POOL
}
