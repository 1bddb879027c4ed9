//! What a pass waits for, with pods that do not answer.

#![allow(clippy::unwrap_used)]
use http::{Method as HttpMethod, Request, Response};
use kube::client::Body;
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::*;
use crate::controller::context::Context;
use crate::controller::observe::observe_world;
use crate::controller::testing::{add_deployment, context, policy};
use crate::k8s::watch::testing::FilledStores;
use dbbalance_core::balance::ReaderShares;
use dbbalance_core::budget::Load;
use dbbalance_core::narrow::NameAction;
use dbbalance_core::stamp::{Attempt, Claim};
use dbbalance_core::topology::Fingerprint;
use dbbalance_planner::PodStep;

/// An API server that answers every patch, and whose kubelets never answer an exec.
fn deaf_kubelets() -> Client {
    let (client, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some((request, answer)) = handle.next_request().await {
            if request.method() == HttpMethod::PATCH {
                let body = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {}});
                let body = Body::from(serde_json::to_vec(&body).unwrap());
                answer.send_response(Response::builder().status(200).body(body).unwrap());
            } else {
                unanswered.push(answer);
            }
        }
    });
    Client::new(client, "default")
}

/// A policy with the targets `web` by Signal and `pay` by Annotate, each of one Deployment of two pods.
fn two_targets() -> DbBalancePolicy {
    let mut two = policy("shop", "mine", "web", 10);
    let target = |name: &str, recycle: serde_json::Value| {
        serde_json::from_value(json!({
            "name": name,
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "pools": [{"endpoint": "Writer", "connectionsPerPod": 10}],
            "recycle": recycle,
        }))
        .unwrap()
    };
    two.spec.targets = vec![
        target(
            "web",
            json!({"method": "Signal", "signal": {"name": "HUP"}}),
        ),
        target("pay", json!({"method": "Annotate"})),
    ];
    two
}

fn step(world: &World, target: usize) -> TargetPlan {
    let (spec, now) = (&world.spec.targets[target], Timestamp::now());
    let stamp = Stamp {
        policy: world.policy.mark(),
        epoch: 2,
        fingerprint: Fingerprint("f".to_owned()),
    };
    let pods = world.targets[target].pods.iter().map(|pod| PodStep {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        resource_version: pod.resource_version.clone(),
        claim: Claim {
            policy: world.policy.mark(),
            epoch: 2,
            attempt: Attempt::First,
            time: now,
        },
        method: spec.recycle.method,
        recycles: 1,
        moved: None,
    });
    TargetPlan {
        target: spec.name.clone(),
        action: String::new(),
        held: None,
        step: Some(Step::Pods {
            pods: pods.collect(),
            stamp,
            canary: false,
            verify_key: String::new(),
        }),
        annotate: vec![],
        in_flight: Load::default(),
        shares: ReaderShares::Unmeasured,
        running: true,
        max_reading_age: None,
        watch_pods: vec![],
        boost_dns: false,
    }
}

/// Applies a step of all pods of both targets, while the pods of the first do not answer.
async fn apply_two() -> (Applied, Duration, Arc<Context>) {
    let mut stores = FilledStores::new();
    let two = two_targets();
    add_deployment(&mut stores, "shop", "web", 2);
    add_deployment(&mut stores, "shop", "pay", 2);
    stores.policy(&two);
    let mut ctx: Context = context(stores.stores.clone(), true);
    ctx.clients.effects = deaf_kubelets();
    ctx.state.update(&two.uid().unwrap(), |_| {});
    let ctx = Arc::new(ctx);
    let (current, world) = observe_world(&two, &ctx).await.unwrap();
    assert_eq!(world.targets.iter().map(|t| t.pods.len()).sum::<usize>(), 4);
    let plan = Plan {
        status: world.status.clone(),
        settling: world.settling.clone(),
        open: None,
        targets: vec![step(&world, 0), step(&world, 1)],
        notices: vec![],
        name_action: NameAction::Keep,
        wake: None,
    };
    let began = Instant::now();
    let applied = apply_plan(&current, &world, &plan, true, &ctx).await;
    let took = began.elapsed();
    (applied.unwrap(), took, ctx)
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_pods_hang_does_not_keep_the_targets_after_it_from_their_step() {
    let (applied, _, _) = apply_two().await;
    let pay = &applied.targets["pay"];
    assert_eq!(
        (pay.stepped, pay.left),
        (true, 0),
        "both pods of target pay are left to the next pass, and the next, as long as one of web hangs"
    );
}

#[tokio::test(start_paused = true)]
async fn a_pass_over_pods_that_hang_gives_its_place_to_other_policies_within_six_seconds() {
    let (_, took, _) = apply_two().await;
    assert!(
        took < Duration::from_secs(6),
        "one of the 16 places of all policies is taken for {took:?} (HTTP: up to timeoutSeconds, 60)"
    );
}

#[tokio::test(start_paused = true)]
async fn an_effect_that_lasts_longer_than_its_pass_goes_on_and_the_next_pass_takes_up_its_result() {
    let (applied, _, ctx) = apply_two().await;
    assert!(applied.targets["web"].stepped, "its pods are claimed");
    assert!(applied.targets["web"].failure.is_none());
    let uid = two_targets().uid().unwrap();
    let state = ctx.state.get(&uid).unwrap();
    assert_eq!(
        (
            state.unfinished,
            state.claimed.len(),
            state.late_results.len()
        ),
        (2, 4, 0)
    );
    ctx.effect_tasks.close();
    ctx.effect_tasks.wait().await;
    let state = ctx.state.get(&uid).unwrap();
    assert_eq!((state.unfinished, state.late_results.len()), (0, 2));
    let (current, mut world) = observe_world(&two_targets(), &ctx).await.unwrap();
    for name in ["web", "pay"] {
        let target = dbbalance_api::status::TargetStatus {
            name: name.to_owned(),
            due_epoch: 2,
            ..dbbalance_api::status::TargetStatus::default()
        };
        world.status.targets.push(target);
    }
    let mut steps = vec![step(&world, 0), step(&world, 1)];
    for target in &mut steps {
        target.step = None;
    }
    let rest = Plan {
        status: world.status.clone(),
        settling: world.settling.clone(),
        open: None,
        targets: steps,
        notices: vec![],
        name_action: NameAction::Keep,
        wake: None,
    };
    let applied = apply_plan(&current, &world, &rest, true, &ctx).await;
    let web = &applied.unwrap().targets["web"];
    assert!(web.failure.is_some() && !web.stepped, "{web:?}");
    assert!(ctx.state.get(&uid).unwrap().late_results.is_empty());
}
