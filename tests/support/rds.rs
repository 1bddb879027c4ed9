//! RDS servers for contract tests, a client to change them with, and the operator's source on top.
//!
//! moto and microburst are started alone on loopback, and end with their value. A missing one is an error that
//! names the command, never a skip.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_rds::Client;
use aws_sdk_rds::config::{BehaviorVersion, Region};
use dbbalance::aurora::factory::{RdsFactory, RdsOptions};
use dbbalance::aurora::{
    ClusterSource, ReadingError, RoleAllowList, SourceError, SourceFactory as _, SourceKey,
};
use dbbalance::domain::topology::ClusterId;
use dbbalance::domain::tracker::Reading;
use serde_json::Value;

/// Where everything is, so that nothing depends on the machine's settings.
pub const REGION: &str = "eu-west-1";

/// The environment's folder in the cache, named by the versions that the tests were written against.
const ENVIRONMENT: &str = "moto-5.2.5-microburst-0.10.0";

/// Python starts slowly on a busy machine; alone it takes under two seconds.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Runs a module's `main`, and ends when standard input does: so it ends with the test, however that ends.
const WRAPPER: &str = "
import os, runpy, sys, threading
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
";

/// An RDS server that the contract is held against. moto is one; others run the same tests.
pub struct RdsUnderTest {
    /// Its address, such as `http://127.0.0.1:41234`.
    pub endpoint: String,
    /// Changes what it tells about.
    pub admin: Client,
}

impl RdsUnderTest {
    /// The server at this address.
    pub fn at(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            admin: admin(endpoint),
        }
    }

    /// A cluster with these members; the first one is the writer.
    pub async fn create(&self, cluster: &str, members: &[&str]) {
        self.create_cluster(cluster, "aurora-postgresql").await;
        for member in members {
            self.add(cluster, member).await;
        }
    }

    /// A cluster without members.
    pub async fn create_cluster(&self, cluster: &str, engine: &str) {
        let call = self
            .admin
            .create_db_cluster()
            .db_cluster_identifier(cluster)
            .engine(engine);
        let call = call
            .master_username("root")
            .master_user_password("hunter2-hunter2");
        // Multi-AZ clusters need these, Aurora ignores them.
        let call = call
            .db_cluster_instance_class("db.r6gd.large")
            .allocated_storage(100)
            .iops(1000);
        call.storage_type("io1")
            .send()
            .await
            .expect("create a cluster");
    }

    /// One more member.
    pub async fn add(&self, cluster: &str, member: &str) {
        let call = self
            .admin
            .create_db_instance()
            .db_cluster_identifier(cluster);
        let call = call
            .db_instance_identifier(member)
            .db_instance_class("db.r6g.large");
        call.engine("aurora-postgresql")
            .send()
            .await
            .expect("create an instance");
    }

    /// One member less.
    pub async fn remove(&self, member: &str) {
        let call = self
            .admin
            .delete_db_instance()
            .db_instance_identifier(member);
        call.skip_final_snapshot(true)
            .send()
            .await
            .expect("delete an instance");
    }

    /// Another writer.
    pub async fn failover(&self, cluster: &str, target: &str) {
        let call = self
            .admin
            .failover_db_cluster()
            .db_cluster_identifier(cluster);
        call.target_db_instance_identifier(target)
            .send()
            .await
            .expect("fail over");
    }
}

/// A client as an administrator has it, with retries.
fn admin(endpoint: &str) -> Client {
    let config = aws_sdk_rds::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

/// Credentials that an emulator accepts.
pub fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new("AKIDLAB", "lab", None, None, "lab"))
}

/// The operator's source at this address, in the operator's own right.
pub async fn source(endpoint: &str) -> Arc<dyn ClusterSource> {
    factory(endpoint, RoleAllowList::default())
        .source(&own())
        .await
        .expect("make a source")
}

/// A factory whose sources are at this address.
pub fn factory(endpoint: &str, allowed: RoleAllowList) -> RdsFactory {
    let options = RdsOptions {
        rds_endpoint: Some(endpoint.to_owned()),
        sts_endpoint: Some(endpoint.to_owned()),
        credentials: Some(credentials()),
    };
    RdsFactory::new(options, allowed)
}

/// The operator's own identity.
pub fn own() -> SourceKey {
    SourceKey {
        role: None,
        region: REGION.to_owned(),
    }
}

/// What a source answers.
pub type Answers = BTreeMap<ClusterId, Result<Reading, ReadingError>>;

/// Reads these clusters once.
pub async fn read(source: &dyn ClusterSource, ids: &[&str]) -> Result<Answers, SourceError> {
    let ids: BTreeSet<ClusterId> = ids.iter().map(|id| ClusterId((*id).to_owned())).collect();
    source.read(&ids).await
}

/// Reads one cluster once; it must be whole.
pub async fn read_one(source: &dyn ClusterSource, id: &str) -> Reading {
    let mut answers = read(source, &[id]).await.expect("read a cluster");
    answers
        .remove(&ClusterId(id.to_owned()))
        .expect("an answer")
        .expect("a whole reading")
}

/// `orders-1* orders-2 orders-3:stopped`: all members by name, the writer starred, with their words.
pub fn shown(reading: &Reading) -> String {
    let members = reading.members.iter().map(|(id, facts)| {
        let star = if reading.writer.as_ref() == Some(id) {
            "*"
        } else {
            ""
        };
        let word = if facts.status == "available" {
            String::new()
        } else {
            format!(":{}", facts.status)
        };
        format!("{}{star}{word}", id.instance)
    });
    members.collect::<Vec<_>>().join(" ")
}

/// A Python server on loopback.
struct Server {
    child: Child,
    endpoint: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts `module`, and waits until `path` answers with a success.
    async fn start(module: &str, path: &str, arguments: &[&str]) -> Self {
        // Somebody else may take the free port before the child does.
        for _ in 0..3 {
            if let Some(server) = Self::try_start(module, path, arguments).await {
                return server;
            }
        }
        panic!(
            "{module} ends as soon as it is started; try: {} -m {module}",
            python().display()
        );
    }

    async fn try_start(module: &str, path: &str, arguments: &[&str]) -> Option<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|l| l.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new(python())
            .args([
                "-c",
                WRAPPER,
                module,
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .args(arguments)
            .env("NO_PROXY", "*")
            .env("no_proxy", "*")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start Python");
        let mut server = Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        // A pipe that nobody reads fills up and stops the server.
        let mut stderr = server.child.stderr.take().expect("its standard error");
        std::thread::spawn(move || while stderr.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if call("GET", &format!("{}{path}", server.endpoint), None)
                .await
                .is_ok()
            {
                return Some(server);
            }
            if server.child.try_wait().expect("look at Python").is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "{module} does not answer within {} s",
            START_LIMIT.as_secs()
        );
    }
}

/// The interpreter that has moto and microburst.
fn python() -> PathBuf {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("DBBALANCE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|p| p.join("dbbalance")))
        .or_else(|| set("HOME").map(|p| p.join(".cache/dbbalance")))
        .expect("HOME is set");
    let python = cache.join(ENVIRONMENT).join("bin/python");
    assert!(
        python.exists(),
        "{} is missing: install moto and microburst with: make tools",
        python.display()
    );
    python
}

/// One plain HTTP call; an error unless it answers with a success.
async fn call(method: &str, url: &str, body: Option<&Value>) -> Result<String, String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build();
    let client = client.map_err(|e| e.to_string())?;
    let method = method.parse().expect("a method");
    let mut request = client.request(method, url);
    if let Some(body) = body {
        request = request
            .header("Content-Type", "application/json")
            .body(body.to_string());
    }
    let answer = request.send().await.map_err(|e| e.to_string())?;
    let status = answer.status();
    let text = answer.text().await.map_err(|e| e.to_string())?;
    if status.is_success() {
        Ok(text)
    } else {
        Err(format!("{status}: {text}"))
    }
}

/// moto: the AWS emulator that nobody here wrote.
pub struct Moto(Server);

impl Moto {
    /// Starts one with empty accounts.
    pub async fn start() -> Self {
        Self(Server::start("moto.server", "/moto-api/", &[]).await)
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }
}

/// microburst: answers instead of its upstream, in AWS's own words, when a rule says so.
pub struct Microburst(Server);

impl Microburst {
    /// Starts one without rules.
    pub async fn start(upstream: &str) -> Self {
        let arguments = ["--upstream", upstream];
        let proxy = Self(Server::start("microburst", "/_microburst/health", &arguments).await);
        proxy
            .warm_up("rds", "Action=DescribeDBClusters&Version=2014-10-31")
            .await;
        proxy
    }

    /// Makes proxy and upstream load what they need for a service: seconds at first on a busy machine, more than
    /// the source waits for an answer, and no test is about that.
    pub async fn warm_up(&self, service: &str, form: &str) {
        let scope = format!("AKIDLAB/20260101/{REGION}/{service}/aws4_request");
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(START_LIMIT)
            .build()
            .unwrap();
        let request = client
            .post(&self.0.endpoint)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header(
                "Authorization",
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
            )
            .body(form.to_owned());
        let answer = request.send().await.expect("warm the proxy up");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// Replaces all rules by this list.
    pub async fn set_rules(&self, rules: &Value) {
        let url = format!("{}/_microburst/rules", self.0.endpoint);
        call("POST", &url, Some(rules))
            .await
            .expect("set microburst's rules");
        let url = format!("{}/_microburst/fired", self.0.endpoint);
        call("DELETE", &url, None)
            .await
            .expect("forget what microburst fired");
    }

    /// How often a rule has acted since the rules were set.
    pub async fn fired(&self) -> usize {
        let url = format!("{}/_microburst/fired", self.0.endpoint);
        let text = call("GET", &url, None)
            .await
            .expect("ask microburst what it fired");
        serde_json::from_str::<Vec<Value>>(&text)
            .expect("microburst's list")
            .len()
    }
}
