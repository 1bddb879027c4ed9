//! A connection to the writer that every pod opens again, such as that of a driver's topology monitor: no recycle removes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dbbalance_api::conditions::ConditionType;
use dbbalance_testbed::aurora::api::{ApiOptions, start_api};
use dbbalance_testbed::aurora::dns::{DnsOptions, start_dns};
use dbbalance_testbed::aurora::inventory::{ControlPlane as _, NewCluster, NewInstance};
use dbbalance_testbed::aurora::static_control_plane::StaticControlPlane;
use dbbalance_testbed::kubernetes::NODE_IP;
use dbbalance_testbed::rds::client::CLASS;
use serde_json::{Value, json};

use super::server::{PORT, Server};
use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{
    evict_recycle, find_condition, has_condition, policy_object, target_object,
};
use dbbalance_testkit::workloads::workload_object;
use dbbalance_testkit::{TestCase, TestSuite};

/// How long evictions are counted.
const WATCHED: Duration = Duration::from_mins(1);
/// Evictions that may show that the connections come back.
const MOST_EVICTIONS: usize = 2;

const ENGINE: &str = "aurora-postgresql";

/// A cluster with a writer and two readers, which never changes.
fn control_plane(cluster: &str) -> Arc<StaticControlPlane> {
    let plane = Arc::new(StaticControlPlane::new());
    let new = NewCluster {
        identifier: cluster.to_owned(),
        engine: ENGINE.to_owned(),
    };
    plane.create_cluster(&new).unwrap();
    for n in 1..=3 {
        let new = NewInstance {
            identifier: format!("{cluster}-{n}"),
            cluster: Some(cluster.to_owned()),
            class: CLASS.to_owned(),
            engine: ENGINE.to_owned(),
            tier: 1,
        };
        plane.create_instance(&new).unwrap();
    }
    plane
}

/// Pods whose app holds one connection to each of these servers, and opens it again when it is lost.
fn holding_app(replicas: u32, servers: &[Server]) -> Value {
    let mut app = workload_object("Deployment", "web", replicas);
    let holds = servers.iter().map(|server| {
        let address = server.address;
        format!("(while :; do sleep 100000 | nc {address} {PORT}; sleep 1; done) & ")
    });
    let command: String = holds.collect::<String>() + "exec /usr/local/bin/testapp";
    app["spec"]["template"]["spec"]["containers"][0]["command"] = json!(["sh", "-c", command]);
    app
}

/// Pods of a reader pool whose connection to the writer comes back are evicted twice at most, and the policy says why.
pub async fn connections_that_come_back_are_not_recycled_for_ever(suite: &TestSuite) {
    let case = TestCase::bare(suite, "ev-stray").await;
    let plane = control_plane(&case.name);
    let zone = plane.dns_zone();
    let hosts = [1, 2, 3].map(|n| zone.instances[&format!("{}-{n}", case.name)].octets()[3]);
    let servers = Server::start_all(suite, hosts).await;
    let free = || SocketAddr::new(NODE_IP.parse().unwrap(), 0);
    let api = start_api(free(), plane.clone(), ApiOptions::default()).unwrap();
    let dns = start_dns(free(), plane, &DnsOptions::default()).unwrap();
    case.create_workload(holding_app(6, &servers)).await;
    let settings = OperatorSettings {
        rds_url: Some(api.endpoint()),
        arguments: vec![
            format!("--evidence-namespaces={}", case.name),
            format!("--dns-servers={}", dns.address()),
        ],
        ..OperatorSettings::default()
    };
    let _operator = OperatorProcess::with(&case, "one", &settings).await;
    let target = target_object("Deployment", "web", &evict_recycle());
    let mut policy = policy_object("p", &case.name, &[target]);
    policy["spec"]["pacing"] = json!({});
    policy["spec"]["evidence"] = json!({"source": "ProcNet"});

    let begun = Instant::now();
    case.create_with_baseline(policy).await;
    let policy = case
        .wait_policy("p", "Incurable", |p| {
            has_condition(p, ConditionType::Balanced, "False", "Incurable")
        })
        .await;
    println!(
        "a connection that comes back: after {:.1} s: {}",
        begun.elapsed().as_secs_f64(),
        find_condition(&policy, ConditionType::Balanced)
            .unwrap()
            .message
    );
    tokio::time::sleep(WATCHED.saturating_sub(begun.elapsed())).await;
    let evictions = || case.changes().iter().filter(|c| c.is_eviction()).count();
    let counted = evictions();
    println!("figures: a connection that comes back: {counted} evictions of 6 pods in a minute");
    assert!(counted <= MOST_EVICTIONS, "{counted} evictions");
    tokio::time::sleep(WATCHED / 3).await;
    assert_eq!(evictions(), counted, "and none follows");
}
