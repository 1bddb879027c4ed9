//! The judgement of a measured target: what its evidence is worth, and what the balance makes of it.
//!
//! Pure; takes no gate into account.

use jiff::Timestamp;

use super::inputs::{Gathered, gather};
use crate::pods::Scene;
use crate::world::World;
use dbbalance_api::spec::{Endpoint, EvidenceSource};
use dbbalance_core::balance::{
    BalanceVerdict, Decision, Wait, decide_balance, find_misplaced_pods,
};
use dbbalance_core::evidence::{Evidence, attribute_connections};
use dbbalance_core::topology::Topology;

/// What is made of a target's evidence.
pub(crate) struct Judgement {
    /// The evidence, attributed.
    pub evidence: Evidence,
    /// What the balance makes of it; `None` if the evidence may not be relied on.
    pub known: Option<Known>,
    /// One word for how it stands.
    pub reason: &'static str,
    /// The same with figures.
    pub message: String,
}

/// A decision, and what it was made from.
pub(crate) struct Known {
    /// What is decided if no pod is free.
    pub decision: Decision,
    gathered: Gathered,
}

impl Known {
    /// Decides again, with so many pods free.
    pub(super) fn decide(&self, free: usize, now: Timestamp) -> Decision {
        decide_balance(&self.gathered.inputs(free, now))
    }

    /// Ready pods whose recycle has not ended.
    pub(super) fn in_flight(&self) -> usize {
        let pods = self.gathered.pods.iter();
        pods.filter(|p| p.ready && p.in_flight).count()
    }

    /// UIDs of pods whose recycle has not ended.
    pub(super) fn changing(&self) -> Vec<String> {
        let pods = self.gathered.pods.iter();
        pods.filter(|p| p.in_flight).map(|p| p.id.clone()).collect()
    }

    /// Whether each stale pod was read since the epoch opened.
    pub(super) fn is_measured_since_opened(&self, scene: &Scene) -> bool {
        let opened = scene.target.open_time.as_ref().map(|t| t.0);
        scene.stale.iter().all(|stale| {
            let mut pods = self.gathered.pods.iter().filter(|p| p.id == stale.uid);
            pods.any(|p| p.read_at.is_some_and(|at| Some(at) >= opened))
        })
    }

    /// UIDs of pods with connections to the wrong role or to no member.
    pub(super) fn misplaced(&self) -> std::collections::BTreeSet<String> {
        find_misplaced_pods(&self.gathered.inputs(0, Timestamp::UNIX_EPOCH))
    }

    /// Whether every connection of this pod is where it should be, as measured since.
    pub(super) fn is_placed(&self, uid: &str, since: Timestamp) -> bool {
        let pod = self.gathered.pods.iter().find(|p| p.id == uid);
        pod.is_some_and(|p| p.read_at.is_some_and(|at| at >= since))
            && !find_misplaced_pods(&self.gathered.inputs(0, since)).contains(uid)
    }
}

/// Judges; `None` if the target is not measured, or no topology has settled.
pub(crate) fn judge(
    world: &World,
    scene: &Scene,
    topology: Option<&Topology>,
    now: Timestamp,
) -> Option<Judgement> {
    if world.spec.evidence.source == EvidenceSource::None {
        return None;
    }
    let topology = topology?;
    let found = &scene.world.evidence;
    let counted = scene.counted.iter().map(|p| p.uid.as_str());
    let evidence = attribute_connections(counted, &found.measured, &world.dns.book, topology);
    let unknown = |reason, message: String, evidence| Judgement {
        evidence,
        known: None,
        reason,
        message,
    };
    if !world.evidence_allowed {
        let message = format!(
            "the operator may not read connections in namespace {}: list it in the chart's value evidence.namespaces",
            world.policy.namespace
        );
        return Some(unknown("EvidenceNotGranted", message, evidence));
    }
    if scene.counted.is_empty() {
        return Some(unknown("NoPods", "there are no pods".to_owned(), evidence));
    }
    if let (Some(reason), Some(message)) = (evidence.verdict.reason(), evidence.verdict.message()) {
        let message = message.to_owned();
        return Some(unknown(reason, message, evidence));
    }
    let gathered = gather(world, scene, topology.clone(), found, &evidence, now);
    let decision = decide_balance(&gathered.inputs(0, now));
    let (reason, message) = match &decision.verdict {
        BalanceVerdict::Unknown { reason } => {
            return Some(unknown(reason.reason(), reason.to_string(), evidence));
        }
        BalanceVerdict::Balanced {
            figures,
            limited_by,
        } => (
            if limited_by.is_some() {
                "PodQuantum"
            } else {
                "Balanced"
            },
            figures.to_string(),
        ),
        BalanceVerdict::Unbalanced { figures } => {
            let broken = figures.misplaced.wrong_role + figures.misplaced.no_member > 0;
            let reason = match &decision.wait {
                Some(wait @ Wait::GaveUp(_)) => wait.reason(),
                _ if broken => "Misplaced",
                _ => "Uneven",
            };
            (reason, figures.to_string())
        }
    };
    Some(Judgement {
        evidence,
        known: Some(Known { decision, gathered }),
        reason,
        message,
    })
}

impl Judgement {
    /// The decision, if there is one.
    pub(super) fn decision(&self) -> Option<&Decision> {
        self.known.as_ref().map(|k| &k.decision)
    }

    /// What a run that ends now has come to.
    pub(super) fn outcome(&self) -> String {
        let verdict = self.decision().map(|d| &d.verdict);
        let limited = matches!(
            verdict,
            Some(BalanceVerdict::Balanced {
                limited_by: Some(_),
                ..
            })
        );
        let suffix = if limited {
            ", as even as whole pods allow"
        } else {
            ""
        };
        format!("{}{suffix}", self.message)
    }

    /// Connections to the wrong role, or to no member, on pods that can still be helped.
    fn is_broken(&self) -> bool {
        let Some(decision) = self.decision() else {
            return false;
        };
        let Some(figures) = decision.verdict.figures() else {
            return false;
        };
        let helpless = matches!(decision.wait, Some(Wait::Broken { recent: 0, .. }));
        figures.misplaced.wrong_role + figures.misplaced.no_member > 0 && !helpless
    }

    /// Whether pods have to move: some are broken, or an episode is in progress.
    pub(super) fn wants(&self, world: &World) -> bool {
        let triggers = &world.spec.triggers;
        let sweeps = triggers.failover.enabled || triggers.reader_removed.enabled;
        let episode = self.decision().is_some_and(|d| d.memory.episode.is_some());
        (self.is_broken() && sweeps) || episode
    }

    /// Whether what is broken is so as after a failover, so that it does not wait for windows and limits.
    /// Reader pools on the writer of a cluster that had no reader are not.
    pub(super) fn is_urgent(&self, scene: &Scene) -> bool {
        let failed_over = scene.target.urgent_epoch > scene.target.baseline_epoch;
        let pools = &scene.spec.pools;
        let writes = pools.iter().any(|p| p.endpoint == Endpoint::Writer);
        let figures = self.decision().and_then(|d| d.verdict.figures());
        let gone = figures.is_some_and(|f| f.misplaced.no_member > 0);
        self.is_broken() && (failed_over || writes || gone)
    }
}
