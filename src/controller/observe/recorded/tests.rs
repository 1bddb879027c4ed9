#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::controller::observe::observe_world;
use crate::controller::testing::{context, policy};
use crate::k8s::watch::testing::FilledStores;
use dbbalance_core::topology::InstanceId;

/// A status that records these members: name, resource ID, address.
fn recording(members: &[(&str, &str, &str)]) -> Value {
    let members: Vec<Value> = members
        .iter()
        .enumerate()
        .map(|(n, (instance, resource, address))| {
            let role = if n == 0 { "Writer" } else { "Reader" };
            json!({"instance": instance, "resourceID": resource, "role": role, "address": address})
        })
        .collect();
    json!({"topology": {
        "clusterARN": "arn:aws:rds:eu-west-1:123456789012:cluster:orders-db",
        "clusterResourceID": "cluster-orders-db",
        "fingerprint": "f", "readerCount": 2, "writer": "a", "observedTime": "2026-05-04T03:00:00Z",
        "members": members,
    }})
}

fn policy_with(name: &str, status: Value) -> DbBalancePolicy {
    let mut policy = policy("shop", name, "web", 10);
    policy.status = Some(serde_json::from_value(status).unwrap());
    policy
}

fn honest() -> Value {
    recording(&[
        ("a", "db-a", "10.0.0.1"),
        ("b", "db-b", "10.0.0.2"),
        ("c", "db-c", "10.0.0.3"),
    ])
}

async fn dns_of(ctx: &Context, policy: &DbBalancePolicy) -> Arc<DnsView> {
    ctx.state.update(&policy.uid().unwrap(), |_| {});
    observe_world(policy, ctx).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    observe_world(policy, ctx).await.unwrap().1.dns
}

#[tokio::test(start_paused = true)]
async fn a_recorded_address_serves_the_policy_that_recorded_it_alone() {
    let (teller, listener) = (policy_with("teller", honest()), policy_with("l", json!({})));
    let mut stores = FilledStores::new();
    stores.policy(&teller);
    stores.policy(&listener);
    let ctx = context(stores.stores.clone(), true);
    let own = dns_of(&ctx, &teller).await;
    let address = "10.0.0.2".parse().unwrap();
    let record = own.book.record_of(address).unwrap();
    assert_eq!((record.instance.0.as_str(), record.current), ("b", true));
    assert!(dns_of(&ctx, &listener).await.book.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_recorded_address_never_makes_a_connection_one_to_no_member() {
    // Of an instance that is no member, of another resource under a member's name, and of a member.
    let status = recording(&[
        ("x", "db-x", "10.9.9.9"),
        ("b", "db-other", "10.9.9.8"),
        ("c", "db-c", "10.9.9.7"),
    ]);
    let hostile = policy_with("hostile", status);
    let mut stores = FilledStores::new();
    stores.policy(&hostile);
    let ctx = context(stores.stores.clone(), true);
    let book = dns_of(&ctx, &hostile).await.book.clone();
    for address in ["10.9.9.9", "10.9.9.8"] {
        assert_eq!(book.record_of(address.parse().unwrap()), None, "{address}");
    }
    let member = book.record_of("10.9.9.7".parse().unwrap()).unwrap();
    assert!(member.current);
    let c = InstanceId("c".into());
    assert_eq!(book.current_addresses(&c).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_poller_starts_from_a_recorded_topology_only_if_all_statuses_agree() {
    let agreed = |statuses: &[Value]| {
        let policies: Vec<_> = statuses
            .iter()
            .enumerate()
            .map(|(n, status)| policy_with(&format!("p{n}"), status.clone()))
            .collect();
        let mut stores = FilledStores::new();
        for policy in &policies {
            stores.policy(policy);
        }
        let ctx = context(stores.stores.clone(), true);
        let key = cluster_key(&policies[0].spec.cluster, &ctx);
        agreed_topology(&policies[0], &key, &ctx).is_some()
    };
    let fewer = recording(&[("a", "db-a", "10.0.0.1"), ("b", "db-b", "10.0.0.2")]);
    assert!(agreed(&[honest()]));
    assert!(agreed(&[honest(), honest()]));
    assert!(!agreed(&[honest(), fewer.clone()]));
    assert!(!agreed(&[fewer, honest(), honest()]));
    assert!(!agreed(&[honest(), json!({})]));
}
