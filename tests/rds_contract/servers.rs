//! An RDS server for contract tests, a client to change it with, and the operator's source on top.
//!
//! The servers themselves are the testbed's: moto, and microburst's faults in front of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_rds::Client;
use aws_sdk_rds::config::{BehaviorVersion, Region};
use dbbalance::aurora::factory::{RdsFactory, RdsOptions};
use dbbalance::aurora::{
    ClusterSource, ReadingError, RoleAllowList, SourceError, SourceFactory as _, SourceKey,
};
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;
use dbbalance_testbed::aurora::{api, static_control_plane::StaticControlPlane};
use dbbalance_testbed::rds::REGION;
use dbbalance_testbed::rds::microburst::Microburst;
use dbbalance_testbed::rds::moto::Moto;
use serde_json::Value;

/// The servers that the contract is held against.
#[derive(Clone, Copy, Debug)]
pub enum Backend {
    /// moto.
    Moto,
    /// The testbed's own API, over an inventory that changes at once.
    Testbed,
}

/// A running server of either kind, stopped when it is dropped.
#[derive(Debug)]
#[expect(dead_code, reason = "the servers are held only to be dropped")]
pub enum Running {
    /// moto.
    Moto(Moto),
    /// The testbed's own API.
    Testbed(api::ApiServer),
}

impl Backend {
    /// Starts one with empty accounts, alone on loopback.
    pub fn start(self) -> (Running, RdsUnderTest) {
        match self {
            Self::Moto => {
                let moto = moto();
                let rds = RdsUnderTest::at(moto.endpoint());
                (Running::Moto(moto), rds)
            }
            Self::Testbed => {
                let address = ([127, 0, 0, 1], 0).into();
                let plane = Arc::new(StaticControlPlane::new());
                let server = api::start_api(address, plane, api::ApiOptions::default())
                    .expect("start the testbed's RDS API");
                let rds = RdsUnderTest::at(&server.endpoint());
                (Running::Testbed(server), rds)
            }
        }
    }
}

/// An RDS server that the contract is held against.
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
    SharedCredentialsProvider::new(Credentials::new(
        "AKIDLAB", "testbed", None, None, "testbed",
    ))
}

/// The operator's source at this address, in the operator's own right.
pub async fn source(endpoint: &str) -> Arc<dyn ClusterSource> {
    factory(endpoint, RoleAllowList::default())
        .make_source(&own())
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
pub type Answers = BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>;

/// Reads these clusters once.
pub async fn read(source: &dyn ClusterSource, ids: &[&str]) -> Result<Answers, SourceError> {
    let ids: BTreeSet<ClusterId> = ids.iter().map(|id| ClusterId((*id).to_owned())).collect();
    source.read(&ids).await
}

/// Reads one cluster once; it must be whole.
pub async fn read_one(source: &dyn ClusterSource, id: &str) -> ClusterReading {
    let mut answers = read(source, &[id]).await.expect("read a cluster");
    answers
        .remove(&ClusterId(id.to_owned()))
        .expect("an answer")
        .expect("a whole reading")
}

/// `orders-1* orders-2 orders-3:stopped`: all members by name, the writer starred, with their words.
pub fn shown(reading: &ClusterReading) -> String {
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

/// moto, started alone on loopback; it ends with the value. A missing one is an error that says how to get it.
pub fn moto() -> Moto {
    Moto::start().expect("start moto")
}

/// microburst in front of a server, without rules.
pub fn faults(upstream: &RdsUnderTest) -> Microburst {
    let proxy = Microburst::start(&upstream.endpoint).expect("start microburst");
    // The first call makes it load AWS's models, for seconds on a busy machine: more than the source waits for an
    // answer, and no test is about that.
    proxy
        .client()
        .describe_clusters()
        .expect("warm microburst up");
    proxy
}

/// Replaces all rules.
pub fn set_rules(proxy: &Microburst, rules: &Value) {
    proxy.set_rules(rules).expect("set microburst's rules");
    proxy
        .control()
        .forget_fired()
        .expect("forget what microburst fired");
}

/// How often rules have acted since they were set.
pub fn fired(proxy: &Microburst) -> usize {
    proxy
        .control()
        .fired()
        .expect("ask microburst what it fired")
        .len()
}
