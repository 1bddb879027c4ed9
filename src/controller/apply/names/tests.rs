#![allow(clippy::unwrap_used, clippy::panic)]
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::controller::observe::{cluster_key, observe_world};
use crate::controller::testing::{context, policy};
use crate::k8s::lease::{Leadership, LeaseState};
use crate::k8s::steering::testing::{ObjectServer, key, service, state_of};
use crate::k8s::steering::{DEFAULT_ALLOWED_CIDRS, NameState};
use crate::k8s::watch::testing::FilledStores;
use dbbalance_api::annotations;
use dbbalance_planner::plan;
use dbbalance_planner::policy::{Policy, PolicyFindings};

/// The endpoints of the cluster in `controller::testing`.
const READER: &str = "orders-db.cluster-ro-x.zone";
const INSTANCE: &str = "b.zone";

fn claim_by(uid: &str, time: Timestamp) -> NarrowClaim {
    NarrowClaim {
        policy: PolicyMark::from_uid(uid),
        run: 1,
        generation: 1,
        instance: InstanceId("b".to_owned()),
        time,
    }
}

fn steering_policy() -> DbBalancePolicy {
    let mut policy = policy("shop", "orders", "web", 10);
    policy.spec.dns.steering = Some(
        serde_json::from_value(json!({"via": "Service", "reader": "orders-ro", "holdSeconds": 60}))
            .unwrap(),
    );
    policy
}

/// The Service as its claim left it.
fn narrowed(claim: &NarrowClaim) -> Value {
    let mut object = service(INSTANCE);
    object["metadata"]["annotations"] = json!({
        annotations::NARROWED: claim.to_string(), annotations::WIDENS_TO: READER,
    });
    object
}

fn host(server: &ObjectServer) -> String {
    let object = server.object();
    object["spec"]["externalName"].as_str().unwrap().to_owned()
}

/// A leader with these policies, and its API server that holds the Service.
struct Bed {
    ctx: Context,
    server: ObjectServer,
}

impl Bed {
    fn new(object: Value, policies: &[DbBalancePolicy]) -> Self {
        let mut stores = FilledStores::new();
        for policy in policies {
            stores.policy(policy);
        }
        let server = ObjectServer::holding(object);
        let mut ctx = context(stores.stores.clone(), true);
        ctx.clients.effects = server.client();
        ctx.names
            .record(&key(SteeringVia::Service), state_of(&server.object()));
        Self { ctx, server }
    }

    /// Takes the lease away.
    fn depose(&mut self) {
        let (_, state) = watch::channel(LeaseState {
            holder: Some("b".into()),
            valid_until: Instant::now(),
        });
        self.ctx.leadership = Leadership::from_states("a", state);
    }

    /// Applies a name action on the world as it is once the topology is read.
    async fn apply(&self, policy: &DbBalancePolicy, action: NameAction) -> NameApplied {
        let ctx = &self.ctx;
        for _ in 0..3 {
            ctx.state
                .update(policy.metadata.uid.as_deref().unwrap(), |_| {});
            observe_world(policy, ctx).await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let (_, world) = observe_world(policy, ctx).await.unwrap();
        assert!(world.topology.current().is_some());
        let parsed = Policy::try_from_spec(&world.spec, PolicyFindings::of(&world));
        let mut plan = plan(&world, &parsed, (ctx.clock)());
        plan.name_action = action;
        let cluster = cluster_key(&world.spec.cluster, ctx);
        apply_name_action(policy, &world, &plan, &cluster, ctx.for_effects()).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_is_narrowed_to_the_endpoint_that_the_rds_api_gave_and_widened_to_the_readers() {
    let policy = steering_policy();
    let bed = Bed::new(service(READER), std::slice::from_ref(&policy));
    let claim = claim_by("shop-orders", Timestamp::now());
    let narrow = NameAction::Narrow(claim.clone());
    assert_eq!(bed.apply(&policy, narrow).await, NameApplied::Written);
    assert_eq!(host(&bed.server), INSTANCE);
    assert_eq!(bed.ctx.names.claims().len(), 1);
    let widen = NameAction::Widen(WidenReason::Reached);
    assert_eq!(bed.apply(&policy, widen).await, NameApplied::Written);
    assert_eq!(host(&bed.server), READER);
    assert!(bed.ctx.names.claims().is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_narrowed_that_has_changed_since_it_was_planned() {
    let policy = steering_policy();
    let narrow = NameAction::Narrow(claim_by("shop-orders", Timestamp::now()));
    // The Service was led elsewhere, and the cache does not know it yet.
    let bed = Bed::new(service(READER), std::slice::from_ref(&policy));
    bed.server.put(service("proxy.example.com"));
    assert_eq!(
        bed.apply(&policy, narrow.clone()).await,
        NameApplied::Failed
    );
    assert_eq!(host(&bed.server), "proxy.example.com");
    // The policy is gone.
    let bed = Bed::new(service(READER), &[]);
    assert_eq!(bed.apply(&policy, narrow).await, NameApplied::Failed);
    assert_eq!(host(&bed.server), READER);
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_does_not_lead_writes_nothing() {
    let policy = steering_policy();
    let claim = claim_by("shop-orders", Timestamp::now());
    for (object, action) in [
        (service(READER), NameAction::Narrow(claim.clone())),
        (narrowed(&claim), NameAction::Widen(WidenReason::Reached)),
    ] {
        let mut bed = Bed::new(object, std::slice::from_ref(&policy));
        bed.depose();
        assert_eq!(bed.apply(&policy, action).await, NameApplied::Failed);
        assert!(bed.server.seen().is_empty(), "{:?}", bed.server.seen());
        widen_orphans(&bed.ctx).await;
        widen_before_exit(&bed.ctx).await;
        assert!(bed.server.seen().is_empty(), "{:?}", bed.server.seen());
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_client_has_touched_is_read_again_and_widened() {
    let policy = steering_policy();
    let claim = claim_by("shop-orders", Timestamp::now());
    let bed = Bed::new(narrowed(&claim), std::slice::from_ref(&policy));
    let mut touched = narrowed(&claim);
    touched["metadata"]["labels"] = json!({"touched": "yes"});
    bed.server.put(touched);
    let widen = NameAction::Widen(WidenReason::Reached);
    assert_eq!(bed.apply(&policy, widen).await, NameApplied::Written);
    assert_eq!(host(&bed.server), READER);
}

#[tokio::test(start_paused = true)]
async fn before_the_exit_all_names_are_widened_and_none_is_narrowed_any_more() {
    let policy = steering_policy();
    let claim = claim_by("shop-orders", Timestamp::now());
    let bed = Bed::new(narrowed(&claim), std::slice::from_ref(&policy));
    widen_before_exit(&bed.ctx).await;
    assert_eq!(host(&bed.server), READER);
    let narrow = NameAction::Narrow(claim);
    assert_eq!(bed.apply(&policy, narrow).await, NameApplied::Failed);
    assert_eq!(host(&bed.server), READER);
}

#[tokio::test(start_paused = true)]
async fn an_exit_waits_for_seconds_at_most() {
    let claim = claim_by("shop-orders", Timestamp::now());
    let bed = Bed::new(narrowed(&claim), &[]);
    bed.server.refuse(Some(500));
    let began = Instant::now();
    widen_before_exit(&bed.ctx).await;
    assert!(began.elapsed() <= LAST_WIDENING + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_name_of_a_policy_that_is_gone_is_widened_without_a_topology() {
    let claim = claim_by("gone", Timestamp::now());
    let bed = Bed::new(narrowed(&claim), &[]);
    widen_orphans(&bed.ctx).await;
    assert_eq!(host(&bed.server), READER);
    assert_eq!(
        bed.server.object()["metadata"]["annotations"],
        json!({}),
        "the claim is gone too"
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_its_policy_will_widen_is_left_to_it() {
    let policy = steering_policy();
    let claim = claim_by("shop-orders", Timestamp::now());
    let bed = Bed::new(narrowed(&claim), &[policy]);
    widen_orphans(&bed.ctx).await;
    assert!(bed.server.seen().is_empty());
}

#[test]
fn a_claim_is_an_orphan_without_its_policy_its_steering_or_after_its_hold() {
    let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1000);
    let ago = |seconds: i64| now - SignedDuration::from_secs(seconds);
    let orphan = |uid: &str, age: i64, policies: &[&DbBalancePolicy]| {
        let claim = claim_by(uid, ago(age));
        find_orphan(&key(SteeringVia::Service), &claim, policies, now)
    };
    let own = steering_policy();
    assert_eq!(orphan("shop-orders", 60, &[&own]), None);
    assert_eq!(
        orphan("shop-orders", 66, &[&own]),
        Some(WidenReason::HoldOver)
    );
    assert_eq!(orphan("other", 0, &[&own]), Some(WidenReason::Deleted));
    assert_eq!(orphan("shop-orders", 0, &[]), Some(WidenReason::Deleted));
    let not_steering = policy("shop", "orders", "web", 10);
    assert_eq!(
        orphan("shop-orders", 0, &[&not_steering]),
        Some(WidenReason::NotSteered)
    );
    let mut elsewhere = steering_policy();
    elsewhere.metadata.namespace = Some("pay".to_owned());
    assert_eq!(
        orphan("shop-orders", 0, &[&elsewhere]),
        Some(WidenReason::NotSteered)
    );
}

#[test]
fn an_address_outside_the_allowed_ranges_is_refused_by_name() {
    let ranges = AllowedRanges::parse(DEFAULT_ALLOWED_CIDRS).unwrap();
    let instance = InstanceId("orders-4".to_owned());
    let choose = |addresses: &[&str]| {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        choose_address(&instance, &addresses, &ranges)
    };
    assert_eq!(choose(&["10.0.0.4"]), Ok(Ipv4Addr::new(10, 0, 0, 4)));
    assert_eq!(
        choose(&["fd00::1", "10.0.0.4"]),
        Ok(Ipv4Addr::new(10, 0, 0, 4))
    );
    for address in ["8.8.8.8", "127.0.0.1", "169.254.169.254", "fd00::1"] {
        let message = choose(&[address]).unwrap_err();
        assert!(
            message.contains("orders-4") && message.contains("steering.allowedCIDRs"),
            "{message}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_cannot_be_read_is_not_widened_by_guess() {
    let bed = Bed::new(service(READER), &[]);
    bed.ctx
        .names
        .record(&key(SteeringVia::Service), NameState::Missing);
    widen_before_exit(&bed.ctx).await;
    assert!(bed.server.seen().is_empty());
}
