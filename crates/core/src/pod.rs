//! Describes a pod as the planner sees it, and decides whether it is fresh by its stamp and its creation time.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::stamp::{Claim, MoveCounter, PolicyMark, Stamp};
use dbbalance_api::status::TargetStatus;

/// How much later than the open time a container must have started to count as started after it. The start is set by
/// the node's clock and the open time by the API server's.
pub const NODE_CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(30);

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
            "ReplicaSet" | "ReplicationController" | "StatefulSet" | "DaemonSet"
        )
    }

    /// Returns whether the controller starts a successor only after a pod is gone.
    #[must_use]
    pub fn is_replacing_after(&self) -> bool {
        !matches!(self.kind.as_str(), "ReplicaSet" | "ReplicationController")
    }
}

/// An annotation by which a pod asks the tools that move pods between nodes to leave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisruptionVeto {
    /// `karpenter.sh/do-not-disrupt: "true"`.
    Karpenter,
    /// `cluster-autoscaler.kubernetes.io/safe-to-evict: "false"`.
    ClusterAutoscaler,
}

impl DisruptionVeto {
    /// Each annotation, and the value that is the veto.
    pub const ANNOTATIONS: [(Self, &'static str, &'static str); 2] = [
        (Self::Karpenter, "karpenter.sh/do-not-disrupt", "true"),
        (
            Self::ClusterAutoscaler,
            "cluster-autoscaler.kubernetes.io/safe-to-evict",
            "false",
        ),
    ];
}

/// Why a pod is never evicted, whatever the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvictionRefusal {
    /// No controller recreates it.
    Bare,
    /// Its controller is not known to recreate it: a Job may count it as failed, and of other kinds nothing is known.
    Owner(OwnerRef),
    /// It carries this annotation.
    Vetoed(DisruptionVeto),
}

impl fmt::Display for EvictionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare => f.write_str("no controller would recreate it"),
            Self::Owner(owner) => {
                write!(f, "{} {} may not recreate it", owner.kind, owner.name)
            }
            Self::Vetoed(veto) => {
                let all = DisruptionVeto::ANNOTATIONS;
                let mut found = all.iter().filter(|(v, _, _)| v == veto);
                let (_, key, value) = found.next().unwrap_or(&all[0]);
                write!(f, "its annotation {key}: \"{value}\" forbids it")
            }
        }
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

/// What has become of a pod's containers since its last recycle was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinceClaim {
    /// The policy of the claim.
    pub policy: PolicyMark,
    /// The epoch of the claim.
    pub epoch: i64,
    /// When it was claimed, to the second, by the operator's clock.
    pub claimed: Timestamp,
    /// Whether the pod was Ready then.
    pub was_ready: bool,
    /// Whether its app has answered with a failure.
    pub refused: bool,
    /// The containers that ran at the claim and have restarted or ended since, by name.
    pub ended: Vec<String>,
    /// When the first of them has ended last, by its node's clock; `None` if that is not known.
    pub ended_at: Option<Timestamp>,
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
    /// The earliest start among the running containers that may hold pools, by the node's clock; `None` while none runs.
    /// A side container that crashes does not hide the app.
    pub started: Option<Timestamp>,
    /// The latest start among the same containers.
    pub last_started: Option<Timestamp>,
    /// How often the containers that may hold pools have restarted in the pod's life.
    pub restarts: u32,
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
    /// What has become of the containers since the last claim; `None` for a pod that was never claimed, and where the
    /// annotation is missing or cannot be read.
    pub since_claim: Option<SinceClaim>,
    /// Whether the topology annotations are present.
    pub has_topology: bool,
    /// `pod-template-hash` or `controller-revision-hash`.
    pub template: String,
    /// Why the target's method recycles no pod of this spec, with what to do; `None` if nothing is known against it. It is
    /// known before any effect, so that it can be said before a failover.
    pub method_refusal: Option<String>,
    /// The controller that owns the pod.
    pub owner: Option<OwnerRef>,
    /// The annotation that forbids its eviction, if it carries one.
    pub disruption_veto: Option<DisruptionVeto>,
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

    /// Returns whether the pod is counted: a container runs that may hold pools, and the pod is not terminating, finished or
    /// ignored.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.started.is_some() && !self.terminating && !self.finished && !self.ignored
    }

    /// Returns why the pod is never evicted; `None` if it may be. Methods that leave the pod in place take pods of any owner.
    #[must_use]
    pub fn eviction_refusal(&self) -> Option<EvictionRefusal> {
        match &self.owner {
            None => Some(EvictionRefusal::Bare),
            Some(owner) if !owner.is_recreating() => Some(EvictionRefusal::Owner(owner.clone())),
            Some(_) => self.disruption_veto.map(EvictionRefusal::Vetoed),
        }
    }

    /// Returns the containers that have restarted or ended since the pod was claimed for this epoch: the recycle ended
    /// the app instead of renewing its pools. Empty for a pod whose last claim is of another policy or epoch.
    #[must_use]
    pub fn ended_containers(&self, policy: &PolicyMark, epoch: i64) -> &[String] {
        let since = self.since_claim.as_ref();
        since
            .filter(|s| s.policy == *policy && s.epoch == epoch)
            .map_or(&[], |s| &s.ended)
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
mod tests;
