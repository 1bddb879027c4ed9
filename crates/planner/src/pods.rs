//! The pods of one target, sorted out: counted, stale, in flight, failed.
//!
//! Reads claims and stamps; takes no decision on gates.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::world::{TargetWorld, World};
use dbbalance_api::spec::{Fallback, TargetSpec};
use dbbalance_api::status::{DbBalancePolicyStatus, RunResult, RunStatus, TargetStatus};
use dbbalance_core::balance::Settings;
use dbbalance_core::budget::Load;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::hash::StableHash;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::{Claim, MoveCounter, PolicyMark};

/// How much longer than the method's time-out a claim is left alone: its maker may be slow, and
/// another replica may have to take the lease first.
const CLAIM_GRACE: SignedDuration = SignedDuration::from_secs(30);

/// The time-out of methods that have none of their own, in seconds.
pub const METHOD_TIMEOUT_SECONDS: i32 = 10;

/// One target with all that bears on it.
pub(super) struct Scene<'a> {
    pub spec: &'a TargetSpec,
    pub world: &'a TargetWorld,
    pub status: &'a DbBalancePolicyStatus,
    pub settling: &'a SettlingChanges,
    pub target: TargetStatus,
    pub mark: PolicyMark,
    pub counted: Vec<&'a PodFacts>,
    pub stale: Vec<&'a PodFacts>,
    /// Whether the policy has its connections measured.
    pub is_measured: bool,
    /// The most connections that was measured on any of its pods.
    pub most_measured: u64,
}

/// Where a stale pod stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody has begun; this is the attempt to claim.
    Due(u8),
    /// A recycle has begun and may still end.
    InFlight,
    /// The method has failed and the fallback may be used.
    FallbackDue(u8),
    /// All that may be tried has failed.
    Failed,
}

impl<'a> Scene<'a> {
    pub(super) fn new(
        spec: &'a TargetSpec,
        world: &'a TargetWorld,
        status: &'a DbBalancePolicyStatus,
        settling: &'a SettlingChanges,
        target: TargetStatus,
        mark: PolicyMark,
        is_measured: bool,
    ) -> Self {
        let ignored = world.workload.as_ref().is_some_and(|w| w.ignored);
        let counted: Vec<_> = if ignored || !target.owned {
            Vec::new()
        } else {
            world.pods.iter().filter(|p| p.is_counted()).collect()
        };
        let stale = counted
            .iter()
            .filter(|p| !p.is_fresh(&mark, &target))
            .copied()
            .collect();
        Self {
            spec,
            world,
            status,
            settling,
            target,
            mark,
            counted,
            stale,
            is_measured,
            most_measured: most_measured(world),
        }
    }

    /// The run in progress.
    pub(super) fn running(&self) -> Option<&RunStatus> {
        self.target
            .run
            .as_ref()
            .filter(|r| r.result == RunResult::Running)
    }

    /// The pods that there should be. Without a workload: those that are there, and those on their
    /// way out whose successors come only after them.
    pub(super) fn wanted(&self) -> usize {
        let leaves_a_gap = |p: &PodFacts| {
            !p.terminating
                || p.owner
                    .as_ref()
                    .is_some_and(|(kind, _)| kind != "ReplicaSet")
        };
        self.world.workload.as_ref().map_or_else(
            || {
                self.world
                    .pods
                    .iter()
                    .filter(|p| !p.finished && !p.ignored && leaves_a_gap(p))
                    .count()
            },
            |w| w.wanted,
        )
    }

    /// Whether its only pod may not be evicted: nobody would serve meanwhile.
    pub(super) fn is_lone(&self) -> bool {
        self.wanted() <= 1 && self.spec.recycle.allow_single_replica != Some(true)
    }

    /// Pods that serve, ignored ones of a workload included: they are wanted too.
    pub(super) fn serving(&self) -> usize {
        let of_workload = self.world.workload.is_some();
        self.world
            .pods
            .iter()
            .filter(|p| p.ready && p.started.is_some() && !p.terminating && !p.finished)
            .filter(|p| of_workload || !p.ignored)
            .count()
    }

    /// How long after a claim it is redone, or has failed.
    pub(super) fn claim_limit(&self) -> SignedDuration {
        let timeout = self
            .spec
            .recycle
            .http
            .as_ref()
            .map_or(METHOD_TIMEOUT_SECONDS, |h| h.timeout_seconds);
        SignedDuration::from_secs(timeout.into()) + CLAIM_GRACE
    }

    /// Where a stale pod stands.
    pub(super) fn stage(&self, pod: &PodFacts, now: Timestamp) -> Stage {
        let Some(claim) = self.claim(pod, now) else {
            return Stage::Due(1);
        };
        let over = self.is_over(claim, now);
        match claim.attempt {
            1 if over => Stage::Due(Claim::LAST_ATTEMPT),
            1 => Stage::InFlight,
            Claim::LAST_ATTEMPT if !over => Stage::InFlight,
            Claim::LAST_ATTEMPT | Claim::FAILED => self.fallback(Claim::FALLBACK),
            Claim::FALLBACK if over => self.fallback(Claim::FALLBACK_REDO),
            Claim::FALLBACK_REDO if over => Stage::Failed,
            Claim::FALLBACK | Claim::FALLBACK_REDO => Stage::InFlight,
            _ => Stage::Failed,
        }
    }

    fn fallback(&self, attempt: u8) -> Stage {
        match self.spec.recycle.fallback {
            Some(Fallback::Evict) if self.is_verified() => Stage::FallbackDue(attempt),
            _ => Stage::Failed,
        }
    }

    /// The claim that counts: ours, for the due epoch, and not from before the run was taken up
    /// again by an edit, unless what it began may still end.
    fn claim<'p>(&self, pod: &'p PodFacts, now: Timestamp) -> Option<&'p Claim> {
        let resumed = self
            .target
            .run
            .as_ref()
            .and_then(|r| r.resumed_time.as_ref())
            .map(|t| t.0);
        pod.claim.as_ref().filter(|c| {
            c.policy == self.mark
                && c.epoch == self.target.due_epoch
                && (resumed.is_none_or(|r| c.time >= r) || self.may_end(c, now))
        })
    }

    /// Whether a recycle of this pod has begun and may still end, or will be begun once more: it
    /// counts as in flight, whether it was begun for this epoch or an older one.
    pub(super) fn is_begun(&self, pod: &PodFacts, now: Timestamp) -> bool {
        self.may_still_end(pod, now) || self.stage(pod, now) == Stage::Due(Claim::LAST_ATTEMPT)
    }

    /// Whether a recycle of this pod has begun, for whatever epoch, and may still end by itself.
    pub(super) fn may_still_end(&self, pod: &PodFacts, now: Timestamp) -> bool {
        let older = pod.claim.as_ref().is_some_and(|c| {
            c.policy == self.mark && c.epoch < self.target.due_epoch && self.may_end(c, now)
        });
        older || self.stage(pod, now) == Stage::InFlight
    }

    fn is_over(&self, claim: &Claim, now: Timestamp) -> bool {
        now.duration_since(claim.time) > self.claim_limit()
    }

    fn may_end(&self, claim: &Claim, now: Timestamp) -> bool {
        matches!(
            claim.attempt,
            1 | Claim::LAST_ATTEMPT | Claim::FALLBACK | Claim::FALLBACK_REDO
        ) && !self.is_over(claim, now)
    }

    /// When the first claim in flight runs out.
    pub(super) fn next_claim_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.stale
            .iter()
            .filter(|p| self.is_begun(p, now))
            .filter_map(|p| p.claim.as_ref())
            .filter(|c| !self.is_over(c, now))
            .filter_map(|c| {
                c.time
                    .checked_add(self.claim_limit() + SignedDuration::from_secs(1))
                    .ok()
            })
            .min()
    }

    /// What this pod was moved within the run that counts, if it was: the one in progress; or the last one, so
    /// that pods which no recycle helps do not open run after run. It counts no longer when something is due
    /// since, nor after as long as a failed episode rests.
    pub(super) fn moved_in_run<'p>(
        &self,
        pod: &'p PodFacts,
        now: Timestamp,
    ) -> Option<&'p MoveCounter> {
        let run = self.target.run.as_ref()?;
        if let Some(end) = &run.end_time {
            let old = now.duration_since(end.0) >= Settings::default().rest;
            if run.epoch != self.target.due_epoch || old {
                return None;
            }
        }
        pod.moved.as_ref().filter(|m| {
            m.policy == self.mark && m.epoch == run.epoch && m.run == run.start_time.0.as_second()
        })
    }

    /// The mark of moves for one more recycle of this pod, where connections are measured.
    pub(super) fn moved(&self, pod: &PodFacts, now: Timestamp) -> Option<MoveCounter> {
        let run = self.running().filter(|_| self.is_measured)?;
        Some(MoveCounter {
            policy: self.mark.clone(),
            epoch: run.epoch,
            run: run.start_time.0.as_second(),
            count: self
                .moved_in_run(pod, now)
                .map_or(0, |m| m.count)
                .saturating_add(1),
            time: now,
        })
    }

    /// What the method was verified for: the method with its settings, and the pods' templates.
    pub(super) fn verify_key(&self) -> String {
        let recipe = serde_json::to_string(&self.spec.recycle).unwrap_or_default();
        let parts = std::iter::once(recipe.as_str()).chain(self.distinct_templates());
        let method = self.spec.recycle.method.as_str();
        format!("{method}/{}", StableHash::from_texts(parts).short_hex())
    }

    /// The templates of the counted pods, in one word.
    pub(super) fn templates(&self) -> String {
        StableHash::from_texts(self.distinct_templates()).short_hex()
    }

    fn distinct_templates(&self) -> impl Iterator<Item = &str> {
        let templates: BTreeSet<&str> = self.counted.iter().map(|p| p.template.as_str()).collect();
        templates.into_iter()
    }

    /// Whether the due epoch is recorded, so that it may be acted on.
    pub(super) fn is_recorded(&self, world: &World) -> bool {
        let mut recorded = world.status.targets.iter();
        recorded.any(|t| t.name == self.target.name && t.due_epoch == self.target.due_epoch)
    }

    /// What so many of its pods may open: by what its pools say, or by what was measured where they say
    /// nothing.
    pub(super) fn load(&self, pods: usize) -> Load {
        let pools: Vec<_> = self
            .spec
            .pools
            .iter()
            .map(|p| {
                let declared = p.connections_per_pod.and_then(|n| u64::try_from(n).ok());
                (p.endpoint, declared.unwrap_or(self.most_measured))
            })
            .collect();
        Load::from_pools(&pools, pods)
    }

    /// Whether the method was seen to work for these templates.
    pub(super) fn is_verified(&self) -> bool {
        self.target.method_verified.as_ref() == Some(&self.verify_key())
    }
}

/// The most connections that one of the target's pods was seen to hold.
fn most_measured(found: &TargetWorld) -> u64 {
    let readings = found.evidence.measured.pods.values();
    let held = readings
        .filter_map(|m| m.reading())
        .map(|r| r.sockets.iter().filter(|s| s.is_connection()).count());
    held.max().unwrap_or(0) as u64
}
