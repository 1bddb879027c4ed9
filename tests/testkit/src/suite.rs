//! Support of the tests on a testbed: one testbed for all, and for each test a namespace, a cluster and clients.
//!
//! Nothing here judges the operator; it makes things, and tells what is there.
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::image;
use dbbalance_testbed::kubernetes::{NODE_IP, Testbed, TestbedOptions};
use dbbalance_testbed::rds::client::{CLASS, RdsClient as Rds};
use dbbalance_testbed::rds::{self, MOTO_PORT, REGION};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::http_client::build_http_client;
use crate::wait::{wait_until, wait_until_blocking};

/// The testbed's name: not a developer's own. Two runs at once on a machine need two.
pub fn testbed_name() -> String {
    std::env::var("DBBALANCE_E2E_TESTBED").unwrap_or_else(|_| "dbb-test".to_owned())
}
/// For what takes seconds on an idle machine.
pub const LIMIT: Duration = Duration::from_secs(90);
/// What all tests share.
#[derive(Debug)]
pub struct TestSuite {
    /// The testbed.
    pub testbed: Testbed,
    /// Folder for kubeconfigs of operators; it ends with the testbed.
    pub folder: PathBuf,
    /// The operator's program.
    pub program: PathBuf,
}

impl TestSuite {
    /// Brings the testbed up, with the app's image, moto, faults and the resource's definition.
    pub fn up(program: &Path) -> Self {
        let suite = Self::bare(testbed_name(), program);
        let app = image::build_testapp_image(&ToolCache::locate().unwrap()).unwrap();
        suite.testbed.load_image(&app.archive).unwrap();
        rds::start_servers(&suite.testbed, true).unwrap();
        suite
    }

    /// Returns the suite of a testbed that is up.
    pub fn of(testbed: Testbed, program: &Path) -> Self {
        Self {
            folder: testbed.layout().path("test"),
            program: program.to_owned(),
            testbed,
        }
    }

    /// A testbed of this name, with the resource's definition and nothing else.
    pub fn bare(name: String, program: &Path) -> Self {
        Testbed::down(&name).unwrap();
        let testbed = Testbed::up(&TestbedOptions {
            name,
            ..TestbedOptions::default()
        })
        .unwrap();
        let suite = Self::of(testbed, program);
        std::fs::create_dir_all(&suite.folder).unwrap();
        suite.run(|| install_crd(&suite)).unwrap();
        suite
    }

    /// Takes everything away.
    pub fn down() {
        if let Err(error) = Testbed::down(&testbed_name()) {
            eprintln!("cannot take the testbed away: {error:#}");
        }
    }

    /// Runs a test inside the testbed's network; a panic is an error with its words.
    pub fn run<T: Send, F: Future<Output = T>>(
        &self,
        test: impl FnOnce() -> F + Send,
    ) -> Result<T, String> {
        let work = || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let body = std::panic::AssertUnwindSafe(|| runtime.block_on(test()));
            let result = std::panic::catch_unwind(body);
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        };
        match self.testbed.enter(work) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => Err(panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "a panic without words".to_owned())),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    /// Returns a client with the administrator's rights.
    pub async fn client(&self) -> Client {
        connect_client(Kubeconfig::read_from(self.testbed.kubeconfig()).unwrap()).await
    }
}

/// Returns a client by a kubeconfig.
pub async fn connect_client(kubeconfig: Kubeconfig) -> Client {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

async fn install_crd(suite: &TestSuite) {
    let client = suite.client().await;
    let crd: CustomResourceDefinition =
        serde_yaml_ng::from_str(&dbbalance_api::crd::render_crd().unwrap()).unwrap();
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let name = crd.metadata.name.clone().unwrap();
    api.create(&PostParams::default(), &crd).await.unwrap();
    wait_until("the definition", LIMIT, async || {
        let found = api.get(&name).await.ok()?;
        let conditions = found.status?.conditions?;
        conditions
            .iter()
            .any(|c| c.type_ == "Established" && c.status == "True")
            .then_some(())
    })
    .await;
}

/// One test's own part of the testbed.
pub struct TestCase<'a> {
    /// The suite.
    pub suite: &'a TestSuite,
    /// Its namespace, and the first part of its clusters' names.
    pub name: String,
    /// A client with the administrator's rights.
    pub client: Client,
    /// A client for pods, which keeps no connection.
    pub http: reqwest::Client,
    /// A client of moto.
    pub rds: Rds,
    /// Others use the namespace after it.
    pub is_shared: bool,
}

impl<'a> TestCase<'a> {
    /// A namespace, and a cluster of the same name with a writer `NAME-1` and a reader `NAME-2`.
    pub async fn new(suite: &'a TestSuite, name: &str) -> Self {
        let case = Self::bare(suite, name).await;
        case.create_cluster(name, 2);
        case
    }

    /// A namespace alone, made unless it is there.
    pub async fn bare(suite: &'a TestSuite, name: &str) -> Self {
        let client = suite.client().await;
        let case = Self {
            suite,
            name: name.to_owned(),
            client: client.clone(),
            http: build_http_client()
                .pool_max_idle_per_host(0)
                .timeout(Duration::from_secs(5))
                .build()
                .unwrap(),
            rds: Rds::new(&format!("http://{NODE_IP}:{MOTO_PORT}"), REGION),
            is_shared: false,
        };
        let namespaces: Api<Namespace> = Api::all(client);
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        match namespaces.create(&PostParams::default(), &namespace).await {
            Err(kube::Error::Api(e)) if e.is_already_exists() => {}
            made => drop(made.unwrap()),
        }
        let accounts: Api<ServiceAccount> = case.api();
        wait_until("the namespace's account", LIMIT, async || {
            accounts.get("default").await.ok().map(drop)
        })
        .await;
        case
    }

    /// A cluster with this many instances, `NAME-1` the writer. moto now and then answers 500 when others write too.
    pub fn create_cluster(&self, name: &str, instances: u32) {
        wait_until_blocking("a cluster", LIMIT, || {
            let made = self.rds.create_cluster(name, "aurora-postgresql");
            made.is_ok() || self.rds.describe_cluster(name).is_ok()
        });
        for n in 1..=instances {
            let instance = format!("{name}-{n}");
            wait_until_blocking("an instance", LIMIT, || {
                let made = self.rds.add_instance(name, &instance, CLASS);
                let found = || self.rds.describe_instances(name).ok();
                made.is_ok()
                    || found().is_some_and(|all| all.iter().any(|i| i.identifier == instance))
            });
        }
    }

    /// Fails the test's cluster over, to this of its instances.
    pub fn failover(&self, to: u32) {
        let to = format!("{}-{to}", self.name);
        self.rds.failover(&self.name, Some(&to)).unwrap();
    }

    /// Returns the objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// Makes an object.
    pub async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        let made = self
            .api::<K>()
            .create(&PostParams::default(), &object)
            .await;
        made.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Merges a patch into an object.
    pub async fn patch<K>(&self, name: &str, patch: Value) -> K
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let patched = self
            .api::<K>()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        patched.unwrap_or_else(|e| panic!("{e}"))
    }
}

/// The pods of tests that are over make room for others; those of a failed one stay to be looked at.
impl Drop for TestCase<'_> {
    fn drop(&mut self) {
        if !self.is_shared && !std::thread::panicking() {
            let arguments = ["delete", "namespace", &self.name, "--wait=false"];
            let _ = self.suite.testbed.kubectl(&arguments);
        }
    }
}
