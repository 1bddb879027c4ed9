#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use dbbalance_core::topology::ClusterView;
use dbbalance_kube::pods::extract_facts;
use dbbalance_planner::world::{ClusterPeers, PolicyFacts, TargetEvidence, TargetWorld};

/// A world with one target by Evict, which one pod matches.
fn world(pod: &Pod) -> World {
    let spec = json!({"cluster": {"identifier": "pay-prod"}, "targets": [{
        "name": "pay", "selector": {"matchLabels": {"app": "pay"}},
        "pools": [{"endpoint": "Writer", "connectionsPerPod": 8}],
        "recycle": {"method": "Evict"}
    }]});
    let spec: dbbalance_api::spec::DbBalancePolicySpec = serde_json::from_value(spec).unwrap();
    let facts = extract_facts(pod, &spec.targets[0]).unwrap();
    World {
        policy: PolicyFacts {
            namespace: "bank".into(),
            name: "pay".into(),
            uid: "u".into(),
            generation: Some(1),
            token: None,
            pause_until: None,
            drain: None,
            deleting: false,
        },
        spec,
        status: DbBalancePolicyStatus::default(),
        topology: TopologyState::Pending,
        dns: Arc::default(),
        settling: dbbalance_core::debounce::SettlingChanges::default(),
        targets: vec![TargetWorld {
            workload: None,
            pods: vec![facts],
            disruption_budgets: vec![],
            header_problem: None,
            owned_by: None,
            backoff: None,
            left_of_step: 0,
            evidence: TargetEvidence::default(),
        }],
        peers: ClusterPeers::default(),
        highest_stamp: None,
        effects_not_before: None,
        cluster_allowed: true,
        role_allowed: true,
        signal_allowed: true,
        evidence_allowed: true,
        overlaps: vec![],
        steered_name: None,
    }
}

fn pod_of(kind: &str, state: &serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "pay-1", "uid": "p", "resourceVersion": "7",
            "creationTimestamp": "2026-05-04T03:00:00Z", "labels": {"app": "pay"},
            "ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": "pay", "uid": "o", "controller": true}]
        },
        "spec": {"containers": [{"name": "app"}]},
        "status": {"containerStatuses": [{
            "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state
        }]}
    }))
    .unwrap()
}

/// The status of a target that counts no pod, due for an epoch that opened at this time.
fn status(opened: &str) -> DbBalancePolicyStatus {
    serde_json::from_value(json!({
        "epoch": 2,
        "targets": [{
            "name": "pay", "owned": true, "pods": 0, "stale": 0, "baselineEpoch": 1, "dueEpoch": 2,
            "urgentEpoch": 0, "openTime": opened, "fingerprint": "ffff", "reference": "r"
        }]
    }))
    .unwrap()
}

const BEFORE_THE_POD: &str = "2026-05-04T02:00:00Z";
const AFTER_THE_POD: &str = "2026-05-04T04:00:00Z";

#[test]
fn no_pods_never_stands_over_pods_that_match() {
    let running = json!({"running": {"startedAt": "2026-05-04T03:00:05Z"}});
    let job = world(&pod_of("Job", &running));
    let (value, reason, message) = fresh_condition(&status(AFTER_THE_POD), &job);
    assert_eq!((value, reason), (ConditionStatus::False, "NotEvictable"));
    assert!(message.contains("pay-1 (Job pay may not recreate it)"));
    let (value, reason, _) = fresh_condition(&status(BEFORE_THE_POD), &job);
    assert_eq!((value, reason), (ConditionStatus::True, "NoneCounted"));

    let down = world(&pod_of("ReplicaSet", &json!({"waiting": {}})));
    let (_, reason, message) = fresh_condition(&status(AFTER_THE_POD), &down);
    assert_eq!(reason, "NoneCounted");
    assert!(
        message.contains("1 without a running container"),
        "{message}"
    );

    let mut none = down;
    none.targets[0].pods.clear();
    assert_eq!(fresh_condition(&status(AFTER_THE_POD), &none).1, "NoPods");
}

#[test]
fn a_cluster_that_the_namespace_may_not_name_makes_the_policy_not_ready() {
    let mut world = world(&pod_of("ReplicaSet", &json!({"waiting": {}})));
    world.cluster_allowed = false;
    world.topology = TopologyState::Failing {
        error: TopologyError {
            reason: TopologyError::CLUSTER_NOT_ALLOWED,
            message: "not allowed".into(),
        },
        last: None,
    };
    let now = AFTER_THE_POD.parse().unwrap();
    let findings = dbbalance_planner::policy::PolicyFindings::of(&world);
    let parsed = dbbalance_planner::policy::Policy::try_from_spec(&world.spec, findings);
    let plan = dbbalance_planner::plan(&world, &parsed, now);
    let mut status = plan.status.clone();
    set_conditions(&mut status, &world, &parsed, &plan, now);
    for (type_, value) in [
        (ConditionType::Ready, "False"),
        (ConditionType::TopologyObserved, "False"),
        (ConditionType::Stalled, "True"),
    ] {
        let condition = conditions::find_condition(&status.conditions, type_).unwrap();
        let shown = (condition.status.as_str(), condition.reason.as_str());
        assert_eq!(shown, (value, "ClusterNotAllowed"), "{type_:?}");
    }
}

#[test]
fn a_failover_that_would_be_held_is_said_and_said_again_in_the_same_words() {
    let running = json!({"running": {"startedAt": "2026-05-04T03:00:05Z"}});
    let mut world = world(&pod_of("ReplicaSet", &running));
    world.topology = TopologyState::Current(ClusterView {
        topology: dbbalance_core::testing::topology("abc"),
        engine: "aurora-postgresql".into(),
        endpoints: dbbalance_core::topology::Endpoints::default(),
        facts: std::collections::BTreeMap::default(),
        leaving: std::collections::BTreeSet::default(),
    });
    let mut written = Vec::new();
    for second in 0..3 {
        let now = format!("2026-05-04T04:00:0{second}Z").parse().unwrap();
        let findings = dbbalance_planner::policy::PolicyFindings::of(&world);
        let parsed = dbbalance_planner::policy::Policy::try_from_spec(&world.spec, findings);
        let plan = dbbalance_planner::plan(&world, &parsed, now);
        let mut status = plan.status.clone();
        set_conditions(&mut status, &world, &parsed, &plan, now);
        let prepared =
            conditions::find_condition(&status.conditions, ConditionType::Prepared).unwrap();
        let shown = (prepared.status.as_str(), prepared.reason.as_str());
        assert_eq!(shown, ("False", "LonePod"));
        written.push(prepared.clone());
        world.status = status;
    }
    written.dedup();
    assert_eq!(written.len(), 1, "{written:?}");
}

#[test]
fn evictions_that_are_refused_for_minutes_are_a_stalled_condition_that_names_the_budget() {
    let running = json!({"running": {"startedAt": "2026-05-04T03:00:05Z"}});
    let world = world(&pod_of("ReplicaSet", &running));
    let now: Timestamp = "2026-05-04T04:00:00Z".parse().unwrap();
    let findings = dbbalance_planner::policy::PolicyFindings::of(&world);
    let parsed = dbbalance_planner::policy::Policy::try_from_spec(&world.spec, findings);
    let plan = dbbalance_planner::plan(&world, &parsed, now);
    let mut written: DbBalancePolicyStatus = status("2026-05-04T03:50:00Z");
    written.targets[0].run = serde_json::from_value(json!({
        "target": "pay", "epoch": 2, "triggers": ["Failover"], "startTime": "2026-05-04T03:54:00Z",
        "lastProgressTime": "2026-05-04T03:54:00Z", "pods": 1, "ready": 1, "stale": 1, "recycled": 0,
        "failed": 0, "result": "Running"
    }))
    .unwrap();
    written.plan = serde_json::from_value(json!([{
        "target": "pay", "action": "recycle", "waitingFor": "DisruptionBudget",
        "message": "evicting pod bank/pay-1: the budget pay needs 1 healthy pod"
    }]))
    .unwrap();
    let stalled = |now: &str| {
        let mut status = written.clone();
        set_conditions(&mut status, &world, &parsed, &plan, now.parse().unwrap());
        let found = conditions::find_condition(&status.conditions, ConditionType::Stalled);
        found.map(|c| (c.reason.clone(), c.message.clone()))
    };
    assert_eq!(stalled("2026-05-04T03:58:59Z"), None);
    let (reason, message) = stalled("2026-05-04T03:59:00Z").unwrap();
    assert_eq!(reason, "EvictionsRefused");
    assert!(message.contains("budget pay"), "{message}");
}

#[test]
fn the_condition_of_a_drain_is_there_while_a_drain_is_asked_for() {
    let running = json!({"running": {"startedAt": "2026-05-04T03:00:05Z"}});
    let mut world = world(&pod_of("ReplicaSet", &running));
    world.policy.drain = Some("no instance".into());
    let mut status = DbBalancePolicyStatus::default();
    let conditions_of = |world: &World, status: &mut DbBalancePolicyStatus| {
        let now = AFTER_THE_POD.parse().unwrap();
        let findings = dbbalance_planner::policy::PolicyFindings::of(world);
        let parsed = dbbalance_planner::policy::Policy::try_from_spec(&world.spec, findings);
        let plan = dbbalance_planner::plan(world, &parsed, now);
        set_conditions(status, world, &parsed, &plan, now);
        let found = conditions::find_condition(&status.conditions, ConditionType::Drained);
        found.map(|c| (c.status.clone(), c.reason.clone()))
    };
    let shown = conditions_of(&world, &mut status);
    assert_eq!(shown, Some(("Unknown".into(), "Pending".into())));
    world.policy.drain = None;
    assert_eq!(conditions_of(&world, &mut status), None);
}
