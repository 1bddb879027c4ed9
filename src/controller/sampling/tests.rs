#![allow(clippy::unwrap_used)]

use std::time::Duration;

use kube::ResourceExt as _;

use serde_json::json;

use super::*;
use crate::controller::observe::observe_world;
use crate::controller::testing::{add_deployment, context, policy};
use crate::k8s::watch::testing::FilledStores;
use dbbalance_planner::world::{TopologyError, TopologyState};

#[tokio::test(start_paused = true)]
async fn pods_are_read_at_the_same_port_while_the_topology_cannot_be_read() {
    let mut stores = FilledStores::new();
    let mine = policy("shop", "mine", "mine", 10);
    add_deployment(&mut stores, "shop", "mine", 3);
    stores.policy(&mine);
    let ctx = context(stores.stores.clone(), true);
    ctx.state.update(&mine.uid().unwrap(), |_| {});
    observe_world(&mine, &ctx).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (_, mut world) = observe_world(&mine, &ctx).await.unwrap();
    let view = world.topology.current().cloned().unwrap();
    let spec = mine.spec.targets[0].clone();
    // A cluster of MySQL.
    assert_eq!(database_port(&world, &spec), Some(3306));
    // Two polls were throttled, as they are in a failover. Pods that are read at another port hold no connection there,
    // and pods without a connection are stamped as placed.
    let error = TopologyError {
        reason: "Throttled",
        message: "slow down".to_owned(),
    };
    world.topology = TopologyState::Failing {
        error,
        last: Some(view),
    };
    assert_eq!(database_port(&world, &spec), Some(3306));
    // Another process led until now, and it has recorded the port.
    world.topology = TopologyState::Pending;
    world.status.topology = None;
    assert_eq!(database_port(&world, &spec), None, "nothing is guessed");
    world.status.topology = serde_json::from_value(json!({
        "fingerprint": "f", "clusterARN": "arn", "clusterResourceID": "r", "readerCount": 0, "port": 6033, "members": [],
    }))
    .unwrap();
    assert_eq!(database_port(&world, &spec), Some(6033));
}
