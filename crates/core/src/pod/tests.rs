#![allow(clippy::unwrap_used)]
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;
use crate::topology::Fingerprint;

const OPEN: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or_default()
}

fn pod(created: i64, started: i64) -> PodFacts {
    PodFacts {
        name: "web-1".into(),
        uid: "u".into(),
        resource_version: "1".into(),
        created: at(created),
        started: Some(at(started)),
        last_started: Some(at(started)),
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
        has_topology: false,
        template: String::new(),
        method_refusal: None,
        disruption_veto: None,
        owner: None,
        labels: BTreeMap::new(),
    }
}

fn target() -> TargetStatus {
    TargetStatus {
        baseline_epoch: 1,
        due_epoch: 3,
        open_time: Some(Time(at(OPEN))),
        ..TargetStatus::default()
    }
}

fn stamped(policy: &str, epoch: i64) -> PodFacts {
    let stamp = Stamp {
        policy: PolicyMark::from_uid(policy),
        epoch,
        fingerprint: Fingerprint("ffff".into()),
    };
    PodFacts {
        stamp: Some(stamp),
        ..pod(OPEN - 100, OPEN - 100)
    }
}

#[test]
fn an_old_pod_without_a_stamp_is_stale() {
    assert!(!pod(OPEN - 1, OPEN - 1).is_fresh(&PolicyMark::from_uid("p"), &target()));
}

#[test]
fn a_pod_created_at_the_open_time_is_fresh() {
    assert!(pod(OPEN, OPEN).is_fresh(&PolicyMark::from_uid("p"), &target()));
}

#[test]
fn a_container_restarted_well_after_the_open_time_is_fresh() {
    assert!(!pod(OPEN - 100, OPEN + 30).is_fresh(&PolicyMark::from_uid("p"), &target()));
    assert!(pod(OPEN - 100, OPEN + 31).is_fresh(&PolicyMark::from_uid("p"), &target()));
}

#[test]
fn a_stamp_counts_only_from_the_same_policy_and_at_or_past_the_due_epoch() {
    assert!(stamped("p", 3).is_fresh(&PolicyMark::from_uid("p"), &target()));
    assert!(stamped("p", 4).is_fresh(&PolicyMark::from_uid("p"), &target()));
    assert!(!stamped("p", 2).is_fresh(&PolicyMark::from_uid("p"), &target()));
    assert!(!stamped("q", 3).is_fresh(&PolicyMark::from_uid("p"), &target()));
}

#[test]
fn everything_is_fresh_at_the_baseline() {
    let target = TargetStatus {
        baseline_epoch: 3,
        ..target()
    };
    assert!(pod(0, 0).is_fresh(&PolicyMark::from_uid("p"), &target));
}

#[test]
fn containers_count_as_ended_for_the_policy_and_epoch_of_the_claim_alone() {
    let policy = PolicyMark::from_uid("p");
    let since = SinceClaim {
        policy: policy.clone(),
        epoch: 3,
        claimed: at(OPEN),
        was_ready: true,
        refused: false,
        ended: vec!["app".to_owned()],
        ended_at: None,
    };
    let pod = PodFacts {
        since_claim: Some(since),
        ..pod(OPEN, OPEN)
    };
    assert_eq!(pod.ended_containers(&policy, 3), ["app"]);
    assert!(pod.ended_containers(&policy, 4).is_empty());
    let other = PolicyMark::from_uid("q");
    assert!(pod.ended_containers(&other, 3).is_empty());
}

fn owned(kind: &str) -> PodFacts {
    PodFacts {
        owner: Some(OwnerRef {
            kind: kind.to_owned(),
            name: "pay-3".to_owned(),
        }),
        ..pod(OPEN, OPEN)
    }
}

#[test]
fn only_pods_that_a_controller_recreates_are_evicted() {
    for kind in [
        "ReplicaSet",
        "ReplicationController",
        "StatefulSet",
        "DaemonSet",
    ] {
        assert_eq!(owned(kind).eviction_refusal(), None, "{kind}");
    }
    let text = |pod: PodFacts| pod.eviction_refusal().map(|r| r.to_string());
    let job = text(owned("Job"));
    assert_eq!(job.as_deref(), Some("Job pay-3 may not recreate it"));
    assert!(text(owned("StrimziPodSet")).is_some());
    assert_eq!(
        text(pod(OPEN, OPEN)).as_deref(),
        Some("no controller would recreate it")
    );
}

#[test]
fn a_pod_that_forbids_its_disruption_is_not_evicted() {
    for (veto, words) in [
        (
            DisruptionVeto::Karpenter,
            "its annotation karpenter.sh/do-not-disrupt: \"true\" forbids it",
        ),
        (
            DisruptionVeto::ClusterAutoscaler,
            "its annotation cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\" forbids it",
        ),
    ] {
        let pod = PodFacts {
            disruption_veto: Some(veto),
            ..owned("ReplicaSet")
        };
        assert_eq!(pod.eviction_refusal().unwrap().to_string(), words);
    }
}
