//! Describes a workload as the planner sees it, and decides whether the operator may roll it out: what a rollout
//! would cost, and why it is refused.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pacing::{resolve_rounded_down, resolve_rounded_up};
use super::stamp::Stamp;
use dbbalance_api::spec::WorkloadKind;

/// How a workload replaces its pods.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutStrategy {
    /// Replaces a few pods at a time.
    RollingUpdate {
        /// How many pods may be missing.
        max_unavailable: IntOrString,
        /// How many pods may exist beyond the wanted number.
        max_surge: IntOrString,
    },
    /// Replaces all pods at once; refused.
    Recreate,
    /// Replaces a pod only when a user deletes it; refused.
    OnDelete,
    /// A `StatefulSet` that updates only some of its pods; refused.
    Partition(i32),
}

/// A workload, reduced to what decisions need.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)] // each is a fact of its own, not a state
pub struct WorkloadFacts {
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// Number of pods wanted.
    pub wanted: usize,
    /// Number of pods that exist.
    pub present: usize,
    /// Number of pods of the newest template.
    pub updated: usize,
    /// Whether its controller has seen its newest generation.
    pub observed: bool,
    /// Whether a Deployment's `spec.paused` is set.
    pub paused: bool,
    /// Whether its rollout has failed: its controller reports that it has made no progress within its deadline.
    pub rollout_failed: bool,
    /// How the workload replaces its pods.
    pub strategy: RolloutStrategy,
    /// The stamp on its pod template.
    pub template_stamp: Option<Stamp>,
    /// The controller that owns it, as kind and name.
    pub owner: Option<String>,
    /// Whether the workload carries `dbbalance.io/ignore`.
    pub ignored: bool,
}

impl WorkloadFacts {
    /// Returns whether its pods are being replaced now, regardless of who started it.
    #[must_use]
    pub fn is_rolling(&self) -> bool {
        !self.observed
            || self.updated < self.present
            || self.updated < self.wanted.min(self.present)
    }

    /// Returns whether pods of two templates stay until a user acts: those below a partition that is reached, or those
    /// that `OnDelete` leaves alone. Its controller moves none of them, so this is no rollout in progress.
    #[must_use]
    pub fn is_held_by_strategy(&self) -> bool {
        let partition = match self.strategy {
            RolloutStrategy::OnDelete => usize::MAX,
            RolloutStrategy::Partition(n) => usize::try_from(n).unwrap_or(0),
            RolloutStrategy::RollingUpdate { .. } | RolloutStrategy::Recreate => return false,
        };
        self.observed && self.updated >= self.wanted.saturating_sub(partition)
    }

    /// Returns whether its controller replaces pods now, as far as it can.
    #[must_use]
    pub fn is_moving_pods(&self) -> bool {
        self.is_rolling() && !self.is_held_by_strategy() && !self.rollout_failed
    }

    /// Returns kind and name, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{:?} {}", self.kind, self.name)
    }

    /// Returns how many pods beyond the wanted number a rollout would create.
    #[must_use]
    pub fn surge_pods(&self) -> usize {
        match &self.strategy {
            RolloutStrategy::RollingUpdate { max_surge, .. } => {
                resolve_rounded_up(max_surge, self.wanted).unwrap_or(0)
            }
            RolloutStrategy::Recreate
            | RolloutStrategy::OnDelete
            | RolloutStrategy::Partition(_) => 0,
        }
    }

    /// Returns why a rollout is refused, with what to do about it; `None` if it is allowed.
    #[must_use]
    pub fn rollout_refusal(&self, max_unavailable: usize) -> Option<String> {
        let name = self.describe();
        if let Some(owner) = &self.owner {
            return Some(format!(
                "{name} is owned by {owner}, which would undo a stamp on its template: use Signal, HTTP or Evict"
            ));
        }
        match &self.strategy {
            RolloutStrategy::Recreate => Some(format!(
                "{name} has strategy Recreate, which stops all pods at once: use RollingUpdate or another method"
            )),
            RolloutStrategy::OnDelete => Some(format!(
                "{name} has strategy OnDelete, which never rolls by itself: use Evict or another method"
            )),
            RolloutStrategy::Partition(n) => Some(format!(
                "{name} has partition {n}, which keeps the pods below it: set it to 0 or use another method"
            )),
            RolloutStrategy::RollingUpdate {
                max_unavailable: own,
                ..
            } => {
                let own = resolve_rounded_down(own, self.wanted).unwrap_or(self.wanted);
                (own > max_unavailable).then(|| {
                    format!(
                        "{name} rolls with {own} pods unavailable, pacing.maxUnavailable allows {max_unavailable}: lower the one or raise the other"
                    )
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
