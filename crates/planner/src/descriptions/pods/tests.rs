#![allow(clippy::unwrap_used)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::testing::{at, owner, pod, target};
use dbbalance_api::spec::Method;

fn refused(name: &str) -> PodFacts {
    PodFacts {
        method_refusal: Some("the pod has 2 containers (app, proxy), and none is named".into()),
        ..pod(name, 0)
    }
}

#[test]
fn a_method_that_no_pod_s_spec_allows_is_said_before_a_failover() {
    let spec = target("web", Method::Signal);
    let text = describe_refused_method(&spec, &[refused("web-1"), refused("web-2")]).unwrap();
    assert_eq!(
        text,
        "spec.targets[web].recycle: Signal recycles none of its pods: the pod has 2 containers (app, proxy), and none \
         is named"
    );
}

#[test]
fn a_method_that_works_on_one_template_is_not_refused() {
    let spec = target("web", Method::Signal);
    let during_a_rollout = [refused("web-1"), pod("web-2", 0)];
    assert_eq!(describe_refused_method(&spec, &during_a_rollout), None);
    let leaving = PodFacts {
        terminating: true,
        ..refused("web-1")
    };
    assert_eq!(describe_refused_method(&spec, &[leaving]), None);
    assert_eq!(describe_refused_method(&spec, &[]), None);
}

fn job(name: &str, created: i64) -> PodFacts {
    PodFacts {
        owner: Some(owner("Job", "backup")),
        ..pod(name, created)
    }
}

/// Due for an epoch that opened at 1000.
fn due(pods: i32) -> TargetStatus {
    TargetStatus {
        baseline_epoch: 1,
        due_epoch: 2,
        open_time: Some(Time(at(1000))),
        pods,
        ..TargetStatus::default()
    }
}

fn untaken(method: Method, pods: &[PodFacts]) -> Option<UntakenPods> {
    let mark = PolicyMark::from_uid("p");
    let counted = pods.iter().filter(|p| p.is_counted());
    let counted = counted.filter(|p| method != Method::Evict || p.eviction_refusal().is_none());
    let status = due(i32::try_from(counted.count()).unwrap());
    describe_untaken_pods(&target("web", method), &status, &mark, pods)
}

#[test]
fn stale_pods_that_may_not_be_evicted_are_named() {
    let found = untaken(Method::Evict, &[pod("web-1", 2000), job("backup-1", 500)]).unwrap();
    assert!(!found.is_fresh);
    assert_eq!(
        found.message,
        "web: 1 of its stale pods are not evicted: backup-1 (Job backup may not recreate it)"
    );
    let many: Vec<PodFacts> = (0..5).map(|n| job(&format!("backup-{n}"), 500)).collect();
    let found = untaken(Method::Evict, &many).unwrap();
    assert!(found.message.ends_with(" and 2 more"), "{}", found.message);
}

#[test]
fn methods_that_leave_the_pod_in_place_take_pods_of_any_owner() {
    for method in [Method::Signal, Method::Http, Method::Annotate] {
        assert_eq!(untaken(method, &[job("backup-1", 500)]), None);
    }
}

#[test]
fn pods_that_match_and_are_not_counted_are_never_called_no_pods() {
    let down = PodFacts {
        started: None,
        ..pod("web-1", 500)
    };
    let ignored = PodFacts {
        ignored: true,
        ..pod("web-2", 500)
    };
    let finished = PodFacts {
        finished: true,
        ..job("backup-1", 500)
    };
    let pods = [down, ignored, finished, job("backup-2", 2000)];
    let found = untaken(Method::Evict, &pods).unwrap();
    assert!(found.is_fresh);
    assert_eq!(
        found.message,
        "web: none of the 4 pods that match is recycled: 1 finished, 1 ignored, 1 without a running container, 1 \
         that Evict may not take"
    );
    assert_eq!(untaken(Method::Evict, &[]), None, "no pods indeed");
}

#[test]
fn an_eviction_that_no_pod_allows_is_said_before_a_failover() {
    let spec = target("kafka", Method::Evict);
    let text = describe_refused_method(&spec, &[job("backup-1", 500)]).unwrap();
    assert!(text.ends_with("Evict recycles none of its pods: Job backup may not recreate it"));
}
