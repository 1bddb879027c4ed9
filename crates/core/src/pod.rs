//! Describes a pod as the planner sees it, and decides whether it is fresh by its stamp and its creation time.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::stamp::{Claim, MoveCounter, PolicyMark, Stamp};
use dbbalance_api::status::TargetStatus;

/// How much later than the open time a container must have started to count as started after it. The start is set by
/// the node's clock and the open time by the API server's.
pub const NODE_CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRef {
    /// Kind, for example `ReplicaSet`.
    pub kind: String,
    /// Name.
    pub name: String,
}

impl OwnerRef {
    /// Returns whether this controller replaces a pod that is evicted, so that an eviction is a recycle.
    #[must_use]
    pub fn is_recreating(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "ReplicaSet" | "StatefulSet" | "DaemonSet"
        )
    }

    /// Returns whether the controller starts a successor only after a pod is gone.
    #[must_use]
    pub fn is_replacing_after(&self) -> bool {
        self.kind != "ReplicaSet"
    }
}

/// One version of a pod, as the precondition of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodKey {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The resource version that was seen.
    pub version: String,
}

/// A pod, reduced to what decisions need.
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, not a state
#[derive(Clone, Debug, PartialEq)]
pub struct PodFacts {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// The version that a claim tests.
    pub resource_version: String,
    /// Creation, by the API server's clock.
    pub created: Timestamp,
    /// The earliest start among the running app containers, by the node's clock; `None` while an
    /// app container is not running.
    pub started: Option<Timestamp>,
    /// The pod's Ready condition.
    pub ready: bool,
    /// Whether deletion has started.
    pub terminating: bool,
    /// Whether the phase is Succeeded or Failed.
    pub finished: bool,
    /// Whether the pod carries `dbbalance.io/ignore`.
    pub ignored: bool,
    /// The stamp; `None` if it is missing or cannot be read.
    pub stamp: Option<Stamp>,
    /// The claim; `None` if it is missing or cannot be read.
    pub claim: Option<Claim>,
    /// How often the pod was recycled.
    pub recycles: u32,
    /// How often the pod was recycled within one run; `None` if the annotation is missing or cannot be read.
    pub moved: Option<MoveCounter>,
    /// Whether the topology annotations are present.
    pub has_topology: bool,
    /// `pod-template-hash` or `controller-revision-hash`.
    pub template: String,
    /// The controller that owns the pod.
    pub owner: Option<OwnerRef>,
    /// Labels, matched by selectors.
    pub labels: BTreeMap<String, String>,
}

impl PodFacts {
    /// Returns the version of the pod that these facts were read from.
    #[must_use]
    pub fn key(&self) -> PodKey {
        PodKey {
            name: self.name.clone(),
            uid: self.uid.clone(),
            version: self.resource_version.clone(),
        }
    }

    /// Returns whether the pod is counted: its app containers run and it is not terminating or finished.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.started.is_some() && !self.terminating && !self.finished && !self.ignored
    }

    /// Returns whether the pod's pools are as new as the target's due epoch.
    #[must_use]
    pub fn is_fresh(&self, policy: &PolicyMark, target: &TargetStatus) -> bool {
        self.is_as_new_as(
            policy,
            target.baseline_epoch,
            target.due_epoch,
            open_time(target),
        )
    }

    /// Returns whether the pod is older than the target's last failover or replacement, regardless of later epochs.
    #[must_use]
    pub fn is_urgent(&self, policy: &PolicyMark, target: &TargetStatus) -> bool {
        let opened = target.urgent_open_time.as_ref().map(|t| t.0);
        !self.is_as_new_as(policy, target.baseline_epoch, target.urgent_epoch, opened)
    }

    fn is_as_new_as(
        &self,
        policy: &PolicyMark,
        baseline: i64,
        epoch: i64,
        opened: Option<Timestamp>,
    ) -> bool {
        if baseline >= epoch {
            return true;
        }
        if self
            .stamp
            .as_ref()
            .is_some_and(|s| s.policy == *policy && s.epoch >= epoch)
        {
            return true;
        }
        opened.is_some_and(|opened| {
            self.created >= opened
                || self
                    .started
                    .is_some_and(|s| s.duration_since(opened) > NODE_CLOCK_MARGIN)
        })
    }

    /// Returns whether the pod was created after the target's due epoch (or baseline) opened.
    #[must_use]
    pub fn is_born_since(&self, target: &TargetStatus) -> bool {
        open_time(target).is_some_and(|opened| self.created >= opened)
    }
}

fn open_time(target: &TargetStatus) -> Option<Timestamp> {
    target.open_time.as_ref().map(|t| t.0)
}

#[cfg(test)]
mod tests {
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
            ready: true,
            terminating: false,
            finished: false,
            ignored: false,
            stamp: None,
            claim: None,
            recycles: 0,
            moved: None,
            has_topology: false,
            template: String::new(),
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
}
