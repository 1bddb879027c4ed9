//! Which status is written before a step and after it, against an API server that sees each request.
#![allow(clippy::unwrap_used, clippy::panic)]
use std::pin::pin;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower_test::mock;

use super::*;
use crate::controller::apply::TargetApplied;
use crate::controller::state_cache::StateCache;
use crate::k8s::events::Events;
use crate::k8s::lease::{Leadership, LeaseState};
use crate::metrics::Metrics;
use dbbalance_api::spec::Method;
use dbbalance_core::balance::ReaderShares;
use dbbalance_core::budget::Load;
use dbbalance_core::narrow::NameAction;
use dbbalance_core::pod::PodKey;
use dbbalance_core::stamp::{Attempt, Claim, Stamp};
use dbbalance_planner::PodStep;
use dbbalance_planner::policy::{Policy, PolicyFindings};
use dbbalance_planner::world::{ClusterPeers, PolicyFacts, TargetWorld, TopologyState};

const NOW: &str = "2026-11-29T03:00:00Z";

fn policy() -> DbBalancePolicy {
    serde_json::from_value(json!({
        "apiVersion": "dbbalance.io/v1alpha1", "kind": "DbBalancePolicy",
        "metadata": {"namespace": "shop", "name": "load-test", "uid": "u", "resourceVersion": "7", "generation": 1},
        "spec": {
            "cluster": {"identifier": "orders-db"},
            "targets": [{
                "name": "web", "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "pools": [{"endpoint": "Reader", "connectionsPerPod": 10}], "recycle": {"method": "Annotate"}
            }]
        },
        "status": {
            "epoch": 2,
            "targets": [{
                "name": "web", "owned": true, "pods": 4, "stale": 4, "dueEpoch": 2,
                "run": {
                    "target": "web", "epoch": 2, "triggers": ["ReaderAdded"], "startTime": "2026-11-29T02:59:00Z",
                    "lastProgressTime": "2026-11-29T02:59:00Z", "pods": 4, "stale": 4, "recycled": 0, "failed": 0,
                    "result": "Running"
                }
            }]
        }
    }))
    .unwrap()
}

fn world(policy: &DbBalancePolicy) -> World {
    World {
        policy: PolicyFacts {
            namespace: "shop".into(),
            name: "load-test".into(),
            uid: "u".into(),
            generation: Some(1),
            token: None,
            pause_until: None,
            drain: None,
            deleting: false,
        },
        spec: policy.spec.clone(),
        status: policy.status.clone().unwrap(),
        topology: TopologyState::Pending,
        dns: Arc::default(),
        settling: dbbalance_core::debounce::SettlingChanges::default(),
        targets: vec![TargetWorld {
            workload: None,
            pods: Vec::new(),
            disruption_budgets: vec![],
            header_problem: None,
            owned_by: None,
            backoff: None,
            left_of_step: 0,
            evidence: dbbalance_planner::world::TargetEvidence::default(),
        }],
        peers: ClusterPeers::default(),
        highest_stamp: None,
        effects_not_before: None,
        role_allowed: true,
        cluster_allowed: true,
        signal_allowed: true,
        evidence_allowed: true,
        overlaps: Vec::new(),
        steered_name: None,
    }
}

/// A plan that takes this step and changes nothing else.
fn plan_of(world: &World, step: Option<Step>) -> Plan {
    Plan {
        status: world.status.clone(),
        settling: world.settling.clone(),
        open: None,
        name_action: NameAction::Keep,
        targets: vec![TargetPlan {
            target: "web".into(),
            action: "recycle web-1".into(),
            held: None,
            step,
            annotate: Vec::new(),
            in_flight: Load::default(),
            shares: ReaderShares::Unmeasured,
            running: true,
            max_reading_age: None,
            watch_pods: Vec::new(),
            boost_dns: false,
        }],
        notices: Vec::new(),
        wake: None,
    }
}

fn stamp() -> Stamp {
    Stamp::parse("0a1b2c3d/2-3f9c").unwrap()
}

fn recycle_one() -> Step {
    Step::Pods {
        pods: vec![PodStep {
            name: "web-1".into(),
            uid: "p1".into(),
            resource_version: "3".into(),
            claim: Claim {
                policy: stamp().policy,
                epoch: 2,
                attempt: Attempt::First,
                time: NOW.parse().unwrap(),
            },
            method: Method::Annotate,
            recycles: 1,
            moved: None,
        }],
        stamp: stamp(),
        canary: true,
        verify_key: "k".into(),
    }
}

/// What the API server was sent: the tested version and the status, in turn.
type Written = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server that stores each status, or answers a lost race.
fn api_server(loses: bool) -> (Client, Written) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let written = Written::default();
    let seen = Arc::clone(&written);
    tokio::spawn(async move {
        let mut handle = pin!(handle);
        while let Some((request, send)) = handle.next_request().await {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let patch: Value = serde_json::from_slice(&body).unwrap();
            let version = patch[1]["value"].as_str().unwrap_or_default().to_owned();
            let next = version.parse::<u64>().unwrap_or(0) + 1;
            seen.lock().push((version, patch[2]["value"].clone()));
            let (code, answer) = if loses {
                (
                    422,
                    json!({
                        "kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid", "details": {},
                        "message": "the server rejected our request due to an error in our request"
                    }),
                )
            } else {
                let mut stored = serde_json::to_value(policy()).unwrap();
                stored["metadata"]["resourceVersion"] = next.to_string().into();
                stored["status"] = patch[2]["value"].clone();
                (200, stored)
            };
            let body = Body::from(answer.to_string().into_bytes());
            send.send_response(Response::builder().status(code).body(body).unwrap());
        }
    });
    (Client::new(service, "default"), written)
}

struct Reporter {
    client: Client,
    leadership: Leadership,
    events: Events,
    metrics: Metrics,
    state: StateCache,
    written: Written,
}

impl Reporter {
    fn new(loses: bool) -> Self {
        let (client, written) = api_server(loses);
        let (_, lease) = watch::channel(LeaseState {
            holder: Some("a".into()),
            valid_until: tokio::time::Instant::now() + Duration::from_hours(1),
        });
        Self {
            leadership: Leadership::from_states("a", lease),
            events: Events::new(client.clone(), "a"),
            metrics: Metrics::new(),
            state: StateCache::default(),
            client,
            written,
        }
    }

    fn ctx(&self) -> ReportContext<'_> {
        ReportContext {
            client: &self.client,
            leadership: &self.leadership,
            events: &self.events,
            metrics: &self.metrics,
            state: &self.state,
            clock: || NOW.parse().unwrap(),
        }
    }

    fn written(&self) -> Vec<(String, Value)> {
        self.written.lock().clone()
    }
}

fn parse(world: &World) -> ParsedPolicy {
    Policy::try_from_spec(&world.spec, PolicyFindings::of(world))
}

fn step_time(status: &Value) -> &Value {
    &status["targets"][0]["run"]["lastStepTime"]
}

fn applied(stepped: bool) -> Applied {
    let done = TargetApplied {
        stepped,
        ..TargetApplied::default()
    };
    Applied {
        opened: None,
        targets: [("web".to_owned(), done)].into(),
    }
}

#[tokio::test]
async fn a_step_is_recorded_before_it_is_taken_and_a_step_that_went_well_is_written_once() {
    let reporter = Reporter::new(false);
    let policy = policy();
    let world = world(&policy);
    let (parsed, plan) = (parse(&world), plan_of(&world, Some(recycle_one())));
    let recorded = record_steps(&policy, &world, &parsed, &plan, reporter.ctx())
        .await
        .unwrap();
    let written = reporter.written();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].0, "7", "as it was planned on");
    assert_eq!(step_time(&written[0].1), NOW);

    let applied = applied(true);
    let ctx = reporter.ctx();
    let result = report_results(
        &policy,
        &world,
        &parsed,
        &plan,
        &applied,
        recorded.as_ref(),
        ctx,
    )
    .await
    .unwrap();
    assert!(result.changed);
    assert_eq!(reporter.written().len(), 1);
}

#[tokio::test]
async fn the_record_of_a_step_that_took_no_pod_is_taken_back() {
    let reporter = Reporter::new(false);
    let policy = policy();
    let world = world(&policy);
    let (parsed, plan) = (parse(&world), plan_of(&world, Some(recycle_one())));
    let recorded = record_steps(&policy, &world, &parsed, &plan, reporter.ctx())
        .await
        .unwrap();
    let applied = applied(false);
    let ctx = reporter.ctx();
    report_results(
        &policy,
        &world,
        &parsed,
        &plan,
        &applied,
        recorded.as_ref(),
        ctx,
    )
    .await
    .unwrap();
    let written = reporter.written();
    assert_eq!(written[1].0, "8", "the version of the record");
    assert_eq!(*step_time(&written[1].1), Value::Null);
}

#[tokio::test]
async fn a_policy_that_was_edited_since_it_was_read_gets_no_step() {
    let reporter = Reporter::new(true);
    let policy = policy();
    let world = world(&policy);
    let (parsed, plan) = (parse(&world), plan_of(&world, Some(recycle_one())));
    let error = record_steps(&policy, &world, &parsed, &plan, reporter.ctx())
        .await
        .unwrap_err();
    assert!(matches!(error, ReconcileError::Conflict), "{error:?}");
    assert!(reporter.state.get("u").unwrap().must_read);
}

#[tokio::test]
async fn stamps_and_passes_without_a_step_need_no_record() {
    let reporter = Reporter::new(false);
    let policy = policy();
    let world = world(&policy);
    let pods = vec![PodKey {
        name: "web-1".into(),
        uid: "p1".into(),
        version: "3".into(),
    }];
    let stamps = Step::Stamp {
        pods,
        stamp: stamp(),
    };
    for step in [None, Some(stamps)] {
        let plan = plan_of(&world, step);
        let recorded = record_steps(&policy, &world, &parse(&world), &plan, reporter.ctx()).await;
        assert!(recorded.unwrap().is_none());
    }
    assert!(reporter.written().is_empty());
}
