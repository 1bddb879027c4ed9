#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use super::*;
use crate::aurora::ClusterBindings;
use crate::controller::testing::{ROLE, add_deployment, context, policy};
use crate::k8s::watch::PodChange;
use crate::k8s::watch::testing::FilledStores;
use dbbalance_api::spec::Mode;
use dbbalance_planner::policy::{Policy, PolicyFindings};

/// One pass over a policy up to its plan, without a request to the API server.
async fn pass(ctx: &Context, policy: &DbBalancePolicy) -> World {
    ctx.state.update(&policy.uid().unwrap(), |_| {});
    let (_, mut world) = observe_world(policy, ctx).await.unwrap();
    let parsed = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world));
    plan_among_peers(&mut world, &parsed, (ctx.clock)(), ctx);
    world
}

/// Nobody holds anything of the cluster, as far as an operator knows that has just started.
fn nobody() -> ClusterPeers {
    ClusterPeers {
        is_young: true,
        ..ClusterPeers::default()
    }
}

/// A policy `mine` of 10 connections a pod on 3 pods of its own, beside others.
struct Bed {
    stores: FilledStores,
    ctx: Context,
    mine: DbBalancePolicy,
}

impl Bed {
    fn new() -> Self {
        let mut stores = FilledStores::new();
        let mine = policy("shop", "mine", "mine", 10);
        add_deployment(&mut stores, "shop", "mine", 3);
        add_deployment(&mut stores, "dev", "web", 2);
        stores.policy(&mine);
        let ctx = context(stores.stores.clone(), true);
        Self { stores, ctx, mine }
    }

    /// Adds a policy, lets the topology be confirmed and every policy have a pass, and returns what counts for `mine`.
    async fn peers_beside(&mut self, other: &DbBalancePolicy) -> ClusterPeers {
        self.stores.policy(other);
        self.peers_after(other).await
    }

    async fn peers_after(&mut self, other: &DbBalancePolicy) -> ClusterPeers {
        for _ in 0..3 {
            pass(&self.ctx, &self.mine).await;
            pass(&self.ctx, other).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        pass(&self.ctx, &self.mine).await.peers
    }
}

/// A policy of another namespace with 20 connections a pod on 2 pods.
fn other() -> DbBalancePolicy {
    policy("dev", "other", "web", 20)
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_acts_counts_with_its_pods() {
    let peers = Bed::new().peers_beside(&other()).await;
    assert_eq!(peers.held.estimated.reader, 40);
    assert_eq!(peers.holders, [("dev/other".to_owned(), 40)]);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_act_counts_nowhere() {
    let changed = |change: &dyn Fn(&mut DbBalancePolicy)| {
        let mut policy = other();
        change(&mut policy);
        policy
    };
    let idle = [
        changed(&|p| p.spec.mode = Mode::Observe),
        changed(&|p| p.spec.suspend = true),
        changed(&|p| {
            p.spec.cluster.role_arn = Some("arn:aws:iam::1:role/not-allowed".to_owned());
        }),
        changed(&|p| {
            p.spec.windows = vec![
                serde_json::from_value(serde_json::json!({
                    "name": "w", "type": "Deny", "schedule": "nonsense", "durationSeconds": 60,
                }))
                .unwrap(),
            ];
        }),
        changed(&|p| p.spec.targets[0].workload_ref.as_mut().unwrap().name = "gone".to_owned()),
    ];
    for policy in idle {
        let peers = Bed::new().peers_beside(&policy).await;
        assert_eq!(peers, nobody(), "{:?}", policy.spec);
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_stops_to_act_counts_no_longer_before_its_next_pass() {
    let mut bed = Bed::new();
    bed.peers_beside(&other()).await;
    let mut observed = other();
    observed.spec.mode = Mode::Observe;
    bed.stores.policy(&observed);
    assert_eq!(pass(&bed.ctx, &bed.mine).await.peers, nobody());
    bed.stores.policy(&other());
    assert_eq!(
        pass(&bed.ctx, &bed.mine).await.peers.held.estimated.reader,
        40
    );
    bed.stores.remove_policy(&other());
    assert_eq!(pass(&bed.ctx, &bed.mine).await.peers, nobody());
}

#[tokio::test(start_paused = true)]
async fn pods_of_an_older_policy_count_once() {
    let mut bed = Bed::new();
    let mut younger = policy("shop", "younger", "mine", 10);
    younger.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            "2026-05-05T03:00:00Z".parse().unwrap(),
        ));
    let peers = bed.peers_beside(&younger).await;
    assert_eq!(peers, nobody());
    let for_younger = pass(&bed.ctx, &younger).await.peers;
    assert_eq!(for_younger.held.estimated.reader, 30);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_has_one_account_however_it_is_spelled() {
    let mut by_role = other();
    by_role.spec.cluster.role_arn = Some(ROLE.to_owned());
    by_role.spec.cluster.external_id = Some("x".to_owned());
    let peers = Bed::new().peers_beside(&by_role).await;
    assert_eq!(peers.held.estimated.reader, 40);
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_had_no_pass_yet_counts_nevertheless() {
    let mut bed = Bed::new();
    bed.stores.policy(&other());
    for _ in 0..2 {
        pass(&bed.ctx, &bed.mine).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    let peers = pass(&bed.ctx, &bed.mine).await.peers;
    assert_eq!(peers.held.estimated.reader, 40);
}

/// Binds the cluster to these namespaces.
fn bind(ctx: &mut Context, cluster: &serde_json::Value, namespaces: &[&str]) {
    let mut binding = cluster.clone();
    binding["namespaces"] = serde_json::json!(namespaces);
    let list = serde_json::json!([binding]).to_string();
    ctx.bindings = ClusterBindings::parse(&list).unwrap();
}

fn pollers_of(ctx: &Context, policy: &DbBalancePolicy) -> Option<jiff::Timestamp> {
    let key = cluster_key(&policy.spec.cluster, ctx);
    ctx.pollers.snapshot(&key).last_read_ok
}

#[tokio::test(start_paused = true)]
async fn a_cluster_is_not_polled_for_a_namespace_that_may_not_name_it() {
    let mut bed = Bed::new();
    let cluster = serde_json::json!({"identifier": "orders-db"});
    bind(&mut bed.ctx, &cluster, &["shop"]);
    for _ in 0..2 {
        pass(&bed.ctx, &other()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    assert_eq!(pollers_of(&bed.ctx, &other()), None);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_may_not_name_a_cluster_sees_nothing_that_others_have_read() {
    let mut bed = Bed::new();
    let cluster = serde_json::json!({"identifier": "orders-db"});
    bind(&mut bed.ctx, &cluster, &["shop"]);
    let peers = bed.peers_beside(&other()).await;
    assert_eq!(peers, nobody(), "and it counts nowhere");
    assert!(pollers_of(&bed.ctx, &bed.mine).is_some());
    let world = pass(&bed.ctx, &other()).await;
    assert!(!world.cluster_allowed && world.dns.book.is_empty());
    let TopologyState::Failing { error, last: None } = &world.topology else {
        panic!("{:?}", world.topology);
    };
    assert_eq!(error.reason, "ClusterNotAllowed");
    assert!(pass(&bed.ctx, &bed.mine).await.topology.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_another_account_than_the_bound_one_shows_nothing_once_it_was_read() {
    let mut bed = Bed::new();
    let arn = "arn:aws:rds:eu-west-1:210987654321:cluster:orders-db";
    bind(&mut bed.ctx, &serde_json::json!({"arn": arn}), &["shop"]);
    bed.peers_beside(&other()).await;
    assert!(!pass(&bed.ctx, &bed.mine).await.cluster_allowed);
    let arn = "arn:aws:rds:eu-west-1:123456789012:cluster:orders-*";
    bind(&mut bed.ctx, &serde_json::json!({"arn": arn}), &["shop"]);
    assert!(pass(&bed.ctx, &bed.mine).await.topology.current().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_whose_labels_are_not_known_yet_is_held_and_loses_no_record() {
    let mut bed = Bed::new();
    let list =
        r#"[{"identifier": "orders-db", "namespaceSelector": {"matchLabels": {"team": "shop"}}}]"#;
    bed.ctx.bindings = ClusterBindings::parse(list).unwrap();
    let world = pass(&bed.ctx, &bed.mine).await;
    assert!(world.cluster_allowed, "its topology stays recorded");
    let TopologyState::Failing { error, last: None } = &world.topology else {
        panic!("{:?}", world.topology);
    };
    assert_eq!(error.reason, "NamespaceNotRead");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(pollers_of(&bed.ctx, &bed.mine), None);
}

#[tokio::test(start_paused = true)]
async fn a_pass_does_not_look_at_the_pods_of_others() {
    const POLICIES: usize = 60;
    const PODS: usize = 50;
    let mut stores = FilledStores::new();
    let policies: Vec<_> = (0..POLICIES)
        .map(|n| policy("shop", &format!("p{n:02}"), &format!("web{n:02}"), 10))
        .collect();
    for (n, policy) in policies.iter().enumerate() {
        stores.policy(policy);
        add_deployment(&mut stores, "shop", &format!("web{n:02}"), PODS);
    }
    let ctx = context(stores.stores.clone(), true);
    for policy in &policies {
        pass(&ctx, policy).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    pass(&ctx, &policies[0]).await;
    let began = Instant::now();
    for policy in &policies {
        let world = pass(&ctx, policy).await;
        assert_eq!(world.targets[0].pods.len(), PODS);
        assert_eq!(
            world.peers.held.estimated.reader,
            u64::try_from((POLICIES - 1) * PODS * 10).unwrap()
        );
    }
    let one = began.elapsed() / u32::try_from(POLICIES).unwrap();
    println!("one pass: {one:?}");
    // In a debug build on a busy machine. Looking at all pods takes more than 200 ms.
    assert!(one < Duration::from_millis(60), "{one:?}");
}

#[test]
fn a_change_of_a_pod_concerns_the_policies_that_may_count_it() {
    let mut stores = FilledStores::new();
    add_deployment(&mut stores, "shop", "web", 1);
    let by_workload = policy("shop", "p", "web", 10);
    let mut by_selector = policy("shop", "s", "web", 10);
    by_selector.spec.targets[0].workload_ref = None;
    by_selector.spec.targets[0].selector =
        Some(serde_json::from_value(serde_json::json!({"matchLabels": {"app": "api"}})).unwrap());
    let concerns = |policy: &DbBalancePolicy, kind: &str, owner: &str, app: &str| {
        let change = PodChange {
            namespace: "shop".into(),
            owner: Some(dbbalance_core::pod::OwnerRef {
                kind: kind.into(),
                name: owner.into(),
            }),
            labels: BTreeMap::from([("app".into(), app.into())]),
        };
        is_concerned_by_pod(policy, &change, &stores.stores)
    };
    assert!(concerns(&by_workload, "ReplicaSet", "web-1", "web"));
    assert!(!concerns(&by_workload, "StatefulSet", "web", "web"));
    assert!(!concerns(&by_workload, "Job", "web-1", "web"));
    assert!(
        concerns(&by_workload, "ReplicaSet", "unknown", "web"),
        "its ReplicaSet may come later"
    );
    assert!(concerns(&by_selector, "ReplicaSet", "unknown", "api"));
    assert!(!concerns(&by_selector, "ReplicaSet", "web-1", "web"));
}
