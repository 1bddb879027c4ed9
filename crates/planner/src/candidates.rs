//! Candidates: the pods of a target that could go next, by why, in the order in which they go.
//!
//! How many of them go, and when, is decided in `steps`.

use jiff::Timestamp;

use super::PodStep;
use super::pods::{Scene, Stage};
use dbbalance_api::spec::Method;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Claim;

/// Keeps what is free to be taken. Pods whose recycle has begun are counted already.
pub(super) fn take(candidates: &mut Vec<Candidate>, free: &mut usize) {
    candidates.retain(|c| {
        let fits = c.begun || *free > 0;
        *free -= usize::from(fits && !c.begun);
        fits
    });
}

/// A pod that could go next.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub pod: &'a PodFacts,
    /// The attempt to claim.
    pub attempt: u8,
    /// Its recycle has begun before, so that it counts as in flight already.
    pub begun: bool,
}

/// The pods that could go next, by why.
pub(super) struct Candidates<'a> {
    /// Not Ready: they neither wait for the canary nor count against `maxUnavailable`.
    pub broken: Vec<Candidate<'a>>,
    /// Begun, and never stamped: once more.
    pub redo: Vec<Candidate<'a>>,
    /// Ready, and untouched in this epoch.
    pub ready: Vec<Candidate<'a>>,
    /// The method has failed on them.
    pub fallback: Vec<Candidate<'a>>,
}

impl<'a> Candidates<'a> {
    pub(super) fn of(scene: &Scene<'a>, only_urgent: bool, now: Timestamp) -> Self {
        let mut found = Self {
            broken: vec![],
            redo: vec![],
            ready: vec![],
            fallback: vec![],
        };
        let mut stale: Vec<&PodFacts> = scene.stale.clone();
        if only_urgent {
            stale.retain(|p| p.is_urgent(&scene.mark, &scene.target));
        }
        // Urgent pods first, then what an older epoch has begun, then the oldest, then by name, so that every pass agrees.
        stale.sort_by_key(|p| {
            (
                !p.is_urgent(&scene.mark, &scene.target),
                !scene.is_begun(p, now),
                p.created,
                p.name.clone(),
            )
        });
        for pod in stale {
            let stands = scene.stage(pod, now);
            let list = match stands {
                Stage::Due(_) if !pod.ready => &mut found.broken,
                Stage::Due(1) => &mut found.ready,
                Stage::Due(_) => &mut found.redo,
                Stage::FallbackDue(_) => &mut found.fallback,
                Stage::InFlight | Stage::Failed => continue,
            };
            if let Stage::Due(attempt) | Stage::FallbackDue(attempt) = stands {
                list.push(Candidate {
                    pod,
                    attempt,
                    begun: scene.is_begun(pod, now),
                });
            }
        }
        found
    }

    pub(super) fn len(&self) -> usize {
        self.broken.len() + self.redo.len() + self.ready.len() + self.fallback.len()
    }

    pub(super) fn is_fallback_alone(&self) -> bool {
        self.len() > 0 && self.len() == self.fallback.len()
    }

    /// All, in the order in which they go.
    pub(super) fn all(&self) -> impl Iterator<Item = &Candidate<'a>> {
        self.broken
            .iter()
            .chain(&self.redo)
            .chain(&self.ready)
            .chain(&self.fallback)
    }

    /// The steps, each with whether it adds to what is in flight.
    pub(super) fn into_steps(self, scene: &Scene, now: Timestamp) -> Vec<(PodStep, bool)> {
        let by_method = self.len() - self.fallback.len();
        let step = |(index, c): (usize, &Candidate)| {
            let step = PodStep {
                name: c.pod.name.clone(),
                uid: c.pod.uid.clone(),
                resource_version: c.pod.resource_version.clone(),
                claim: Claim {
                    policy: scene.mark.clone(),
                    epoch: scene.target.due_epoch,
                    attempt: c.attempt,
                    time: now,
                },
                method: if index < by_method {
                    scene.spec.recycle.method
                } else {
                    Method::Evict
                },
                recycles: c.pod.recycles.saturating_add(1),
                moved: scene.moved(c.pod, now),
            };
            (step, !c.begun)
        };
        self.all().enumerate().map(step).collect()
    }
}
