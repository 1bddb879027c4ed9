//! One target in one pass: its pods, sorted into counted and stale, and how far the recycle of each has come.

mod effects;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::name::StandingName;
use crate::policy::{Policy, TargetPolicy};
use crate::world::{TargetWorld, World, recorded_topology};
use dbbalance_api::spec::{Fallback, Method};
use dbbalance_api::status::{DbBalancePolicyStatus, RunResult, RunStatus, TargetStatus};
use dbbalance_core::balance::{OtherConnections, Settings};
use dbbalance_core::budget::Load;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::hash::StableHash;
use dbbalance_core::pod::{OwnerRef, PodFacts};
use dbbalance_core::stamp::{Attempt, Claim, MoveCounter, PolicyMark, Stamp};
use dbbalance_core::topology::{Fingerprint, Topology};

/// How long the first pod is watched at least (docs/adr/0010-canary-and-halting.md): a kubelet reports a container's end one or
/// two seconds late.
pub(crate) const CANARY_WATCH: SignedDuration = SignedDuration::from_secs(5);

/// How long after a recycle, and the watch of a first pod, an end of its app is laid to it
/// (docs/adr/0010-canary-and-halting.md). What ends later has another cause.
const BLAMED_FOR: SignedDuration = SignedDuration::from_mins(1);

/// How long before the epoch opened an app may have restarted by the change that raised it: a failover takes a minute or
/// two, and DNS another (docs/adr/0010-canary-and-halting.md).
const RESTARTED_BEFORE: SignedDuration = SignedDuration::from_mins(5);

/// What all targets of a pass share.
#[derive(Clone, Copy)]
pub(crate) struct PassContext<'a> {
    pub world: &'a World,
    pub policy: &'a Policy,
    /// The status, after epochs have advanced in this pass.
    pub status: &'a DbBalancePolicyStatus,
    /// Since when differences have been there, this pass included.
    pub settling: &'a SettlingChanges,
    /// What the name of `spec.dns.steering` tells.
    pub name: &'a StandingName,
    pub now: Timestamp,
}

impl PassContext<'_> {
    /// Returns the topology that has settled, this pass included.
    pub(crate) fn settled_topology(&self) -> Option<Topology> {
        self.status.topology.as_ref().and_then(recorded_topology)
    }
}

/// One target with all that its plan depends on.
pub(crate) struct TargetContext<'a> {
    pub pass: PassContext<'a>,
    pub policy: &'a TargetPolicy,
    pub found: &'a TargetWorld,
    /// Its status, which the pass changes.
    pub status: TargetStatus,
    pub mark: PolicyMark,
    pub counted: Vec<&'a PodFacts>,
    pub stale: Vec<&'a PodFacts>,
    /// Pods that would be counted, but that its method may not take: with `Evict`, those that are never evicted.
    pub refused: Vec<&'a PodFacts>,
    /// What other targets and policies hold of the readers.
    pub others: OtherConnections,
    /// The most connections that were measured on any of its pods.
    most_measured: u64,
}

/// How far the recycle of a stale pod has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It may be claimed for this attempt.
    Due(Attempt),
    /// A recycle has started and may still end.
    InFlight,
    /// The method has failed; the fallback may be used, for this attempt.
    FallbackDue(Attempt),
    /// All that may be tried has failed.
    Failed,
}

impl<'a> TargetContext<'a> {
    /// Sorts the pods of the target at this index of the spec.
    pub(crate) fn new(pass: PassContext<'a>, index: usize, status: TargetStatus) -> Self {
        let found = &pass.world.targets[index];
        let mark = pass.world.policy.mark();
        let policy = &pass.policy.targets[index];
        let evicts = policy.recycle.method == Method::Evict;
        let (refused, counted): (Vec<_>, Vec<_>) = if owns_pods(found, &status) {
            let pods = found.pods.iter().filter(|p| p.is_counted());
            pods.partition(|p| evicts && p.eviction_refusal().is_some())
        } else {
            (Vec::new(), Vec::new())
        };
        let stale = counted
            .iter()
            .filter(|p| !p.is_fresh(&mark, &status))
            .copied()
            .collect();
        Self {
            policy,
            pass,
            found,
            status,
            mark,
            counted,
            stale,
            refused,
            others: OtherConnections::default(),
            most_measured: max_measured(found),
        }
    }

    /// Returns the run in progress.
    pub(crate) fn running(&self) -> Option<&RunStatus> {
        let run = self.status.run.as_ref();
        run.filter(|r| r.result == RunResult::Running)
    }

    /// Returns when the run in progress started, in seconds since 1970, if it is recorded: that names it.
    pub(crate) fn recorded_run(&self) -> Option<i64> {
        let run = self.running().filter(|_| self.is_run_recorded())?;
        Some(run.start_time.0.as_second())
    }

    /// Returns the run in progress, to change it.
    pub(crate) fn running_mut(&mut self) -> Option<&mut RunStatus> {
        let run = self.status.run.as_mut();
        run.filter(|r| r.result == RunResult::Running)
    }

    /// Returns how many pods there should be. Without a workload: those that exist, and terminating ones whose
    /// successors start only after them.
    pub(crate) fn wanted(&self) -> usize {
        if let Some(workload) = &self.found.workload {
            return workload.wanted;
        }
        let leaves_a_gap = |p: &PodFacts| {
            !p.terminating || p.owner.as_ref().is_some_and(OwnerRef::is_replacing_after)
        };
        let pods = self.found.pods.iter();
        pods.filter(|p| !p.finished && !p.ignored && leaves_a_gap(p))
            .count()
    }

    /// Whether it has a single pod that may not be evicted, as no other would serve meanwhile.
    pub(crate) fn is_single_replica(&self) -> bool {
        self.wanted() <= 1 && !self.policy.recycle.allow_single_replica
    }

    /// Returns how many pods serve. Ignored pods of a workload count: they are among the wanted ones.
    pub(crate) fn serving(&self) -> usize {
        let of_workload = self.found.workload.is_some();
        let pods = self.found.pods.iter();
        pods.filter(|p| p.ready && p.started.is_some() && !p.terminating && !p.finished)
            .filter(|p| of_workload || !p.ignored)
            .count()
    }

    /// Returns how many wanted pods do not serve.
    pub(crate) fn missing(&self) -> usize {
        self.wanted().saturating_sub(self.serving())
    }

    /// Returns how many of its pods may be unavailable at once.
    pub(crate) fn max_unavailable(&self) -> usize {
        self.pass.policy.pacing.max_unavailable(self.wanted())
    }

    /// Returns how far the recycle of a pod has come.
    pub(crate) fn stage(&self, pod: &PodFacts) -> Stage {
        let Some(claim) = self.current_claim(pod) else {
            return Stage::Due(Attempt::First);
        };
        match (claim.attempt, self.is_over(claim)) {
            (Attempt::First, true) => Stage::Due(Attempt::Retry),
            (Attempt::Retry, true) | (Attempt::Failed, _) => {
                self.fallback_stage(pod, Attempt::Fallback)
            }
            (Attempt::Fallback, true) => self.fallback_stage(pod, Attempt::FallbackRetry),
            (Attempt::FallbackRetry, true) | (Attempt::FallbackFailed, _) => Stage::Failed,
            (
                Attempt::First | Attempt::Retry | Attempt::Fallback | Attempt::FallbackRetry,
                false,
            ) => Stage::InFlight,
        }
    }

    fn fallback_stage(&self, pod: &PodFacts, attempt: Attempt) -> Stage {
        match self.policy.recycle.fallback {
            Some(Fallback::Evict) if self.is_verified() && pod.eviction_refusal().is_none() => {
                Stage::FallbackDue(attempt)
            }
            _ => Stage::Failed,
        }
    }

    /// Returns the refused pods that are stale, sorted by name.
    pub(crate) fn refused_stale(&self) -> Vec<&'a PodFacts> {
        let mut stale = self.refused.clone();
        stale.retain(|p| !p.is_fresh(&self.mark, &self.status));
        stale.sort_by(|a, b| a.name.cmp(&b.name));
        stale
    }

    /// Returns the claim that counts: ours, for the due epoch, and not from before the run was resumed by an edit,
    /// unless the recycle that it started may still end.
    fn current_claim<'p>(&self, pod: &'p PodFacts) -> Option<&'p Claim> {
        let run = self.status.run.as_ref();
        let resumed = run.and_then(|r| r.resumed_time.as_ref()).map(|t| t.0);
        pod.claim.as_ref().filter(|c| {
            c.policy == self.mark
                && c.epoch == self.status.due_epoch
                && (resumed.is_none_or(|r| c.time >= r) || self.may_end(c))
        })
    }

    /// Whether a recycle of this pod has started and may still end, or will be retried: it counts as in flight,
    /// whichever epoch it was started for.
    pub(crate) fn is_started(&self, pod: &PodFacts) -> bool {
        self.may_still_end(pod) || self.stage(pod) == Stage::Due(Attempt::Retry)
    }

    /// Whether a recycle of this pod has started, for any epoch, and may still end by itself.
    pub(crate) fn may_still_end(&self, pod: &PodFacts) -> bool {
        let older = pod.claim.as_ref().is_some_and(|c| {
            c.policy == self.mark && c.epoch < self.status.due_epoch && self.may_end(c)
        });
        older || self.stage(pod) == Stage::InFlight
    }

    fn is_over(&self, claim: &Claim) -> bool {
        self.pass.now.duration_since(claim.time) > self.policy.recycle.claim_limit
    }

    fn may_end(&self, claim: &Claim) -> bool {
        claim.attempt.is_acting() && !self.is_over(claim)
    }

    /// Returns when the first claim in flight runs out.
    pub(crate) fn next_claim_end(&self) -> Option<Timestamp> {
        let limit = self.policy.recycle.claim_limit + SignedDuration::from_secs(1);
        self.stale
            .iter()
            .filter(|p| self.is_started(p))
            .filter_map(|p| p.claim.as_ref())
            .filter(|c| !self.is_over(c))
            .filter_map(|c| c.time.checked_add(limit).ok())
            .min()
    }

    /// Whether a pod is older than the target's last failover.
    pub(crate) fn is_urgent(&self, pod: &PodFacts) -> bool {
        pod.is_urgent(&self.mark, &self.status)
    }

    /// Whether pods are stale that are older than the last failover, and can still be helped.
    pub(crate) fn has_urgent_pods(&self) -> bool {
        let mut stale = self.stale.iter();
        stale.any(|p| self.is_urgent(p) && self.stage(p) != Stage::Failed)
    }

    /// Returns how this pod was moved within the run that counts: the one in progress; or the last one, so that pods
    /// which no recycle helps do not start run after run. It counts no longer when something is due since, nor after
    /// as long as a failed episode rests.
    pub(crate) fn moved_in_run<'p>(&self, pod: &'p PodFacts) -> Option<&'p MoveCounter> {
        let run = self.status.run.as_ref()?;
        if let Some(end) = &run.end_time {
            let old = self.pass.now.duration_since(end.0) >= Settings::default().rest;
            if run.epoch != self.status.due_epoch || old {
                return None;
            }
        }
        pod.moved.as_ref().filter(|m| {
            m.policy == self.mark && m.epoch == run.epoch && m.run == run.start_time.0.as_second()
        })
    }

    /// Returns the mark of moves for one more recycle of this pod, where connections are measured.
    pub(crate) fn next_moved(&self, pod: &PodFacts) -> Option<MoveCounter> {
        let measured = self.pass.policy.evidence.is_measured();
        let run = self.running().filter(|_| measured)?;
        let count = self.moved_in_run(pod).map_or(0, |m| m.count);
        Some(MoveCounter {
            policy: self.mark.clone(),
            epoch: run.epoch,
            run: run.start_time.0.as_second(),
            count: count.saturating_add(1),
            time: self.pass.now,
        })
    }

    /// Returns the stamp of the due epoch.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            policy: self.mark.clone(),
            epoch: self.status.due_epoch,
            fingerprint: Fingerprint(self.status.fingerprint.clone()),
        }
    }

    /// Returns what the method was verified for: the method with its settings, and the pods' templates.
    pub(crate) fn verify_key(&self) -> String {
        let recipe = &self.policy.recycle;
        let parts = std::iter::once(recipe.settings.as_str()).chain(self.distinct_templates());
        format!(
            "{}/{}",
            recipe.method.as_str(),
            StableHash::from_texts(parts).short_hex()
        )
    }

    /// Returns a hash of the counted pods' templates.
    pub(crate) fn hash_templates(&self) -> String {
        StableHash::from_texts(self.distinct_templates()).short_hex()
    }

    fn distinct_templates(&self) -> impl Iterator<Item = &str> {
        let templates: BTreeSet<&str> = self.counted.iter().map(|p| p.template.as_str()).collect();
        templates.into_iter()
    }

    /// Whether the method was seen to work for these templates.
    pub(crate) fn is_verified(&self) -> bool {
        self.status.method_verified.as_ref() == Some(&self.verify_key())
    }

    /// Returns the target's status as it was recorded before this pass.
    pub(crate) fn recorded(&self) -> Option<&'a TargetStatus> {
        let mut recorded = self.pass.world.status.targets.iter();
        recorded.find(|t| t.name == self.status.name)
    }

    /// Whether the due epoch is recorded, so that it may be acted on.
    pub(crate) fn is_due_epoch_recorded(&self) -> bool {
        let recorded = self.recorded();
        recorded.is_some_and(|t| t.due_epoch == self.status.due_epoch)
    }

    /// Whether a run for the due epoch is recorded as in progress, so that it may be acted on.
    pub(crate) fn is_run_recorded(&self) -> bool {
        let due = self.status.due_epoch;
        self.recorded().is_some_and(|t| {
            let mut run = t.run.iter();
            t.due_epoch == due && run.any(|r| r.epoch == due && r.result == RunResult::Running)
        })
    }

    /// Returns what so many of its pods may open: by what its pools declare, or by what was measured where they
    /// declare nothing.
    pub(crate) fn load(&self, pods: usize) -> Load {
        Load::from_pools(&self.policy.pool_loads(self.most_measured), pods)
    }

    /// Returns how many pods were Ready when the run started, as far as that many are still wanted.
    pub(crate) fn ready_before_run(&self, run: &RunStatus) -> usize {
        usize::try_from(run.ready).unwrap_or(0).min(self.wanted())
    }
}

/// Whether the pods of a target are the policy's to recycle.
fn owns_pods(found: &TargetWorld, status: &TargetStatus) -> bool {
    status.owned && !found.workload.as_ref().is_some_and(|w| w.ignored)
}

/// Returns a number of pods as the status holds it.
pub(crate) fn status_count(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

/// Returns the most connections that one of the target's pods was seen to hold.
fn max_measured(found: &TargetWorld) -> u64 {
    let readings = found.evidence.measured.pods.values();
    let held = readings
        .filter_map(|m| m.reading())
        .map(|r| r.sockets.iter().filter(|s| s.is_connection()).count());
    held.max().unwrap_or(0) as u64
}
