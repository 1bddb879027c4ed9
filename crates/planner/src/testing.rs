//! Builders for tests of the plan: views, pods, workloads, worlds, in few words.
//!
//! What they leave out is as in a quiet, healthy cluster. `model` moves such a world on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod describe;
pub(crate) mod disturb;
pub(crate) mod kube;
pub(crate) mod measured;
pub(crate) mod model;
pub(crate) mod pools;
pub(crate) mod random;
pub(crate) mod recorder;
pub(crate) mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{Gate, Plan, PodStep, Step, plan};
use crate::name::StandingName;
use crate::policy::{ParsedPolicy, Policy, PolicyFindings};
use crate::target::{PassContext, TargetContext};
use crate::world::{ClusterPeers, PolicyFacts, TargetWorld, TopologyState, World};
use dbbalance_api::spec::{DbBalancePolicySpec, Method, OnTimeout, TargetSpec, WorkloadKind};
use dbbalance_api::status::{DbBalancePolicyStatus, ReaderChangeStatus, ReaderDirection, Trigger};
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::dns::{DnsSample, DnsView};
use dbbalance_core::pod::{OwnerRef, PodFacts, SinceClaim};
use dbbalance_core::stamp::{Attempt, Claim, PolicyMark, Stamp};
use dbbalance_core::testing::topology;
use dbbalance_core::topology::{ClusterView, Endpoints, Fingerprint, InstanceId, MemberFacts};
use dbbalance_core::workload::{RolloutStrategy, WorkloadFacts};

/// The UID of the policy in tests.
pub(crate) const UID: &str = "0a1b2c3d-0000-4000-8000-000000000000";
const ZERO: i64 = 1_780_000_000;

/// So many seconds after the tests' beginning of time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(ZERO + seconds).unwrap()
}

/// A duration in seconds.
pub(crate) fn seconds(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// A view of members named by letters, the writer first; 1600 connections each.
pub(crate) fn view(names: &str) -> ClusterView {
    let topology = topology(names);
    let fact = MemberFacts {
        class: Some("db.r6g.large".into()),
        endpoint: None,
        serverless: None,
        is_available: true,
    };
    let facts = topology
        .members()
        .map(|(m, _)| (m.instance.clone(), fact.clone()))
        .collect();
    ClusterView {
        topology,
        engine: "aurora-postgresql".into(),
        endpoints: Endpoints::default(),
        facts,
        leaving: BTreeSet::new(),
    }
}

/// What DNS has answered at both endpoints, eight times a second and last at `end`, by letters; `-` failed.
pub(crate) fn dns_view(end: i64, writer: &str, reader: &str) -> DnsView {
    let looks = |letters: &str| {
        let first = i64::try_from(letters.len()).unwrap() - 1;
        let look = |(n, letter): (i64, char)| {
            let found = (letter != '-').then(|| InstanceId(letter.to_string()));
            DnsSample {
                at: at(end) - SignedDuration::from_millis((first - n) * 125),
                address: found.as_ref().map(|_| [10, 0, 0, letter as u8].into()),
                failure: found.is_none().then_some("NXDOMAIN"),
                instance: found,
                ttl: 1,
            }
        };
        (0..).zip(letters.chars()).map(look).collect()
    };
    DnsView {
        writer: looks(writer),
        reader: looks(reader),
        // Another answer than these was never seen.
        since: Some(at(end) - SignedDuration::from_hours(1)),
        ..DnsView::default()
    }
}

/// A reader that came and went four times from this time on, a second apart: it flaps.
pub(crate) fn restless_readers(from: Timestamp) -> Vec<ReaderChangeStatus> {
    let directions = [ReaderDirection::Added, ReaderDirection::Removed];
    let changes = (0..5).zip(directions.into_iter().cycle());
    changes
        .map(|(n, direction)| ReaderChangeStatus {
            instance: "d".into(),
            direction,
            time: Time(from + seconds(n)),
        })
        .collect()
}

/// A target with a Reader and a Writer pool of 10 connections each.
pub(crate) fn target(name: &str, method: Method) -> TargetSpec {
    let mut recycle = json!({ "method": method.as_str() });
    match method {
        Method::Signal => recycle["signal"] = json!({ "name": "HUP" }),
        Method::Http => recycle["http"] = json!({ "port": 8080, "path": "/recycle" }),
        Method::Evict | Method::Rollout | Method::Annotate => {}
    }
    serde_json::from_value(json!({
        "name": name,
        "workloadRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": name },
        "pools": [
            { "endpoint": "Reader", "connectionsPerPod": 10 },
            { "endpoint": "Writer", "connectionsPerPod": 10 },
        ],
        "recycle": recycle,
    }))
    .unwrap()
}

/// A spec with these targets and defaults otherwise.
pub(crate) fn spec(targets: Vec<TargetSpec>) -> DbBalancePolicySpec {
    let mut spec: DbBalancePolicySpec = serde_json::from_value(json!({
        "cluster": { "identifier": "orders" }, "targets": [],
    }))
    .unwrap();
    spec.targets = targets;
    // Most tests are not about DNS: without a resolver, every change would be held.
    spec.dns.on_timeout = OnTimeout::Proceed;
    spec.dns.timeout_seconds = 0;
    spec
}

/// A pod's controller.
pub(crate) fn owner(kind: &str, name: &str) -> OwnerRef {
    OwnerRef {
        kind: kind.into(),
        name: name.into(),
    }
}

/// A Ready pod, created and started at this time.
pub(crate) fn pod(name: &str, created: i64) -> PodFacts {
    PodFacts {
        name: name.into(),
        uid: format!("uid-{name}"),
        resource_version: "1".into(),
        created: at(created),
        started: Some(at(created)),
        last_started: Some(at(created)),
        restarts: 0,
        ready: true,
        terminating: false,
        finished: false,
        ignored: false,
        stamp: None,
        claim: None,
        recycles: 0,
        moved: None,
        since_claim: None,
        has_topology: true,
        template: "t1".into(),
        method_refusal: None,
        disruption_veto: None,
        owner: Some(owner("ReplicaSet", "rs")),
        labels: BTreeMap::new(),
    }
}

/// What is seen of a pod whose containers all run on since this claim.
pub(crate) fn since_claim(claim: &Claim, was_ready: bool) -> SinceClaim {
    SinceClaim {
        refused: false,
        policy: claim.policy.clone(),
        epoch: claim.epoch,
        claimed: claim.time,
        was_ready,
        ended: Vec::new(),
        ended_at: None,
    }
}

/// A Deployment that is complete.
pub(crate) fn workload(name: &str, wanted: usize) -> WorkloadFacts {
    WorkloadFacts {
        kind: WorkloadKind::Deployment,
        name: name.into(),
        uid: format!("uid-{name}"),
        generation: 1,
        wanted,
        present: wanted,
        updated: wanted,
        observed: true,
        paused: false,
        rollout_failed: false,
        strategy: RolloutStrategy::RollingUpdate {
            max_unavailable: IntOrString::String("25%".into()),
            max_surge: IntOrString::String("25%".into()),
        },
        template_stamp: None,
        owner: None,
        ignored: false,
    }
}

/// A Deployment with its pods, all an hour old.
pub(crate) fn found(name: &str, pods: usize) -> TargetWorld {
    TargetWorld {
        workload: Some(workload(name, pods)),
        pods: (0..pods)
            .map(|n| pod(&format!("{name}-{n}"), -3600))
            .collect(),
        disruption_budgets: vec![],
        header_problem: None,
        owned_by: None,
        backoff: None,
        left_of_step: 0,
        evidence: crate::world::TargetEvidence::default(),
    }
}

/// A policy that nobody has planned yet, on the topology `abc`.
pub(crate) fn unseen(targets: Vec<TargetSpec>, pods: usize) -> World {
    let worlds = targets.iter().map(|t| found(&t.name, pods)).collect();
    World {
        policy: PolicyFacts {
            namespace: "shop".into(),
            name: "orders".into(),
            uid: UID.into(),
            generation: Some(1),
            token: None,
            pause_until: None,
            drain: None,
            deleting: false,
        },
        spec: spec(targets),
        status: DbBalancePolicyStatus::default(),
        topology: TopologyState::Current(view("abc")),
        dns: Arc::default(),
        settling: SettlingChanges::default(),
        targets: worlds,
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

/// A policy with the one target `web` after its baseline at time 0: epoch 1, nothing to do.
pub(crate) fn quiet(method: Method, pods: usize) -> World {
    baseline(unseen(vec![target("web", method)], pods))
}

/// Takes the baseline at time 0.
pub(crate) fn baseline(mut world: World) -> World {
    world.status = look(&world, 0).status;
    world
}

/// As [`quiet`], with epoch 2 open for every target since time 100.
pub(crate) fn due(method: Method, pods: usize, trigger: Trigger) -> World {
    due_at(quiet(method, pods), 2, 100, &[trigger])
}

/// Makes an epoch due for every target.
pub(crate) fn due_at(mut world: World, epoch: i64, opened: i64, triggers: &[Trigger]) -> World {
    let status = &mut world.status;
    status.epoch = Some(epoch);
    for t in &mut status.targets {
        t.due_epoch = epoch;
        t.open_time = Some(Time(at(opened)));
        t.triggers = triggers.to_vec();
        if triggers.iter().any(|g| g.is_urgent()) {
            t.urgent_epoch = epoch;
            t.urgent_open_time = t.open_time.clone();
        }
    }
    world
}

/// As [`due`], with the run begun and recorded at time 110.
pub(crate) fn running(method: Method, pods: usize, trigger: Trigger) -> World {
    record(due(method, pods, trigger), 110)
}

/// As [`running`], with the method verified for the pods' template.
pub(crate) fn verified(method: Method, pods: usize, trigger: Trigger) -> World {
    let mut world = running(method, pods, trigger);
    verify(&mut world);
    world
}

/// Marks every target's method as verified.
pub(crate) fn verify(world: &mut World) {
    for index in 0..world.spec.targets.len() {
        let key = verify_key(world, index);
        world.status.targets[index].method_verified = Some(key);
    }
}

fn verify_key(world: &World, index: usize) -> String {
    let policy = parse_policy(world);
    let pass = PassContext {
        world,
        policy: crate::policy::readable_policy(&policy),
        status: &world.status,
        settling: &world.settling,
        name: &StandingName::Unsteered,
        now: at(0),
    };
    TargetContext::new(pass, index, world.status.targets[index].clone()).verify_key()
}

/// Parses the policy of a world.
pub(crate) fn parse_policy(world: &World) -> ParsedPolicy {
    Policy::try_from_spec(&world.spec, PolicyFindings::of(world))
}

/// Plans the world at a time.
pub(crate) fn look(world: &World, second: i64) -> Plan {
    plan(world, &parse_policy(world), at(second))
}

/// Plans and records, without effects.
pub(crate) fn record(mut world: World, second: i64) -> World {
    let plan = look(&world, second);
    world.status = plan.status;
    world.settling = plan.settling;
    world
}

/// The stamp of the tests' policy at an epoch.
pub(crate) fn stamp(epoch: i64) -> Stamp {
    Stamp {
        policy: PolicyMark::from_uid(UID),
        epoch,
        fingerprint: Fingerprint("ffff".into()),
    }
}

/// A claim of the tests' policy.
pub(crate) fn claim(epoch: i64, attempt: u8, time: i64) -> Claim {
    Claim {
        policy: PolicyMark::from_uid(UID),
        epoch,
        attempt: Attempt::from_number(attempt).unwrap(),
        time: at(time),
    }
}

impl Plan {
    /// The gate that holds the first target.
    pub(crate) fn gate(&self) -> Option<Gate> {
        self.targets[0].held.as_ref().map(|h| h.gate)
    }

    /// The words of the gate that holds the first target.
    pub(crate) fn why(&self) -> &str {
        self.targets[0].held.as_ref().map_or("", |h| &h.message)
    }

    /// The pods of the first target's step.
    pub(crate) fn takes(&self) -> Vec<&str> {
        pods_of(self.targets[0].step.as_ref())
            .iter()
            .map(|p| p.name.as_str())
            .collect()
    }
}

/// The pods of a step.
pub(crate) fn pods_of(step: Option<&Step>) -> &[PodStep] {
    match step {
        Some(Step::Pods { pods, .. }) => pods,
        Some(Step::Rollout { .. } | Step::Stamp { .. }) | None => &[],
    }
}
