//! Owners: whose pods a method takes, and which it leaves as they are.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::testing::{
    baseline, claim, due, due_at, look, owner, parse_policy, record, target, unseen, verified,
    verify,
};
use crate::world::{TopologyState, World};
use dbbalance_api::spec::{Fallback, Method};
use dbbalance_api::status::Trigger;
use dbbalance_core::pod::{DisruptionVeto, OwnerRef};

const FAILOVER: Trigger = Trigger::Failover;

/// A target by selector whose pods are due, all of this owner.
fn owned(method: Method, by: Option<&OwnerRef>) -> World {
    let mut spec = target("web", method);
    spec.workload_ref = None;
    spec.selector = Some(LabelSelector {
        match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
        ..LabelSelector::default()
    });
    let mut world = unseen(vec![spec], 4);
    world.targets[0].workload = None;
    for pod in &mut world.targets[0].pods {
        pod.owner = by.cloned();
    }
    record(due_at(baseline(world), 2, 100, &[FAILOVER]), 110)
}

#[test]
fn methods_that_leave_pods_in_place_take_pods_of_any_owner() {
    let owners = [
        Some(owner("StrimziPodSet", "kafka")),
        Some(owner("ReplicationController", "pay-3")),
        Some(owner("Job", "backup")),
        None,
    ];
    for method in [Method::Signal, Method::Http, Method::Annotate] {
        for by in &owners {
            let world = owned(method, by.as_ref());
            assert_eq!(look(&world, 111).takes(), ["web-0"], "{method:?} {by:?}");
        }
    }
}

#[test]
fn an_eviction_takes_pods_of_controllers_that_recreate_them_alone() {
    let controller = owner("ReplicationController", "pay-3");
    assert_eq!(
        look(&owned(Method::Evict, Some(&controller)), 111).takes(),
        ["web-0"]
    );
    for by in [Some(owner("StrimziPodSet", "kafka")), None] {
        let world = owned(Method::Evict, by.as_ref());
        for second in [111, 200, 2000] {
            assert!(look(&world, second).takes().is_empty(), "{by:?}");
        }
    }
}

#[test]
fn a_pod_that_is_not_evicted_is_named_in_the_plan_and_holds_no_other() {
    let mut world = due(Method::Evict, 4, FAILOVER);
    world.targets[0].pods[0].disruption_veto = Some(DisruptionVeto::Karpenter);
    let mut world = record(world, 110);
    verify(&mut world);
    let plan = look(&world, 111);
    assert_eq!(plan.takes(), ["web-1"]);
    assert_eq!(
        (plan.status.targets[0].pods, plan.status.targets[0].stale),
        (3, 3)
    );
    let action = &plan.targets[0].action;
    assert!(
        action.ends_with(
            "; 1 of its stale pods are not evicted: web-0 (its annotation karpenter.sh/do-not-disrupt: \"true\" \
             forbids it)"
        ),
        "{action}"
    );
}

#[test]
fn a_fallback_does_not_evict_a_pod_that_nobody_recreates() {
    let mut world = verified(Method::Signal, 4, FAILOVER);
    world.spec.targets[0].recycle.fallback = Some(Fallback::Evict);
    for pod in &mut world.targets[0].pods {
        pod.claim = Some(claim(2, 3, 111));
    }
    verify(&mut world);
    assert!(!look(&world, 200).takes().is_empty(), "by the fallback");
    for pod in &mut world.targets[0].pods {
        pod.owner = Some(owner("StrimziPodSet", "kafka"));
    }
    assert!(look(&world, 200).takes().is_empty());
}

#[test]
fn connections_of_pods_that_are_not_evicted_count_in_the_budget() {
    let with_job = |jobs: usize| {
        let mut world = verified(Method::Evict, 4, Trigger::ReaderAdded);
        let mut job = world.targets[0].pods[0].clone();
        job.owner = Some(owner("Job", "backup"));
        for n in 0..jobs {
            job.name = format!("backup-{n}");
            job.uid = format!("uid-backup-{n}");
            world.targets[0].pods.push(job.clone());
        }
        world.spec.budget.headroom_percent = 0;
        world.spec.budget.max_connections = Some(55);
        look(&world, 111)
    };
    assert!(!with_job(0).takes().is_empty());
    assert!(with_job(1).takes().is_empty(), "{:?}", with_job(1).targets);
}

#[test]
fn two_targets_that_name_one_workload_are_refused_before_anything_is_known() {
    let mut second = target("jobs", Method::Signal);
    second
        .workload_ref
        .clone_from(&target("web", Method::Evict).workload_ref);
    let mut world = unseen(vec![target("web", Method::Evict), second], 0);
    world.topology = TopologyState::Pending;
    let problems = parse_policy(&world).unwrap_err().list;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].reason, "InvalidSpec");
    assert_eq!(
        problems[0].message,
        "spec.targets[1].workloadRef: web names Deployment web already: give its pools in one target"
    );
}
