//! The assessment of a measured target: whether its evidence can be relied on, and what the balance decides by it.
//!
//! Gates are not taken into account.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::inputs::{BalanceInputs, gather_inputs};
use crate::target::{Stage, TargetContext};
use dbbalance_api::spec::Endpoint;
use dbbalance_core::balance::{BalanceVerdict, Decision, Wait, count_misplaced, decide_balance};
use dbbalance_core::evidence::{Evidence, attribute_connections};
use dbbalance_core::pod::PodFacts;
use dbbalance_core::stamp::Attempt;
use dbbalance_core::topology::{InstanceId, Topology};
use dbbalance_core::weights::ReaderWeights;

/// What a target's evidence says.
pub(crate) struct Assessment {
    /// The evidence, attributed.
    pub evidence: Evidence,
    /// What the balance decides by it; `None` if the evidence cannot be relied on.
    pub usable: Option<UsableEvidence>,
    /// The state in one word.
    pub reason: &'static str,
    /// The same with figures.
    pub message: String,
}

/// Evidence that can be relied on, with what the balance decides by it.
pub(crate) struct UsableEvidence {
    /// What is decided if no pod is free.
    pub decision: Decision,
    inputs: BalanceInputs,
}

impl UsableEvidence {
    /// Decides again, with so many pods free.
    pub(crate) fn decide_with_free(&self, free: usize, now: Timestamp) -> Decision {
        decide_balance(&self.inputs.lend(free, now))
    }

    /// Whether its pods move by a narrowed name.
    pub(crate) fn is_by_name(&self) -> bool {
        self.inputs.name.is_some()
    }

    /// Returns how many Ready pods are being recycled.
    pub(crate) fn count_in_flight(&self) -> usize {
        let pods = self.inputs.pods.iter();
        pods.filter(|p| p.ready && p.in_flight).count()
    }

    /// Returns the weights that it rests on.
    pub(crate) fn weights(&self) -> &ReaderWeights {
        &self.inputs.weights
    }

    /// Whether pods hold connections to a reader that a user drains.
    pub(crate) fn drains(&self) -> bool {
        let drained = &self.inputs.drained;
        let holds = |id: &InstanceId| {
            let mut held = self.inputs.pods.iter().filter_map(|p| p.holds.as_ref());
            held.any(|held| held.connections_to(id) > 0)
        };
        drained.iter().any(holds)
    }

    /// Whether a user drains a reader.
    pub(crate) fn has_drain(&self) -> bool {
        !self.inputs.drained.is_empty()
    }

    /// Returns the UIDs of pods whose recycle has not ended.
    pub(crate) fn changing_pods(&self) -> Vec<String> {
        let pods = self.inputs.pods.iter();
        pods.filter(|p| p.in_flight).map(|p| p.id.clone()).collect()
    }

    /// Whether each stale pod was read since the epoch opened.
    pub(crate) fn is_measured_since_opened(&self, ctx: &TargetContext) -> bool {
        let opened = ctx.status.open_time.as_ref().map(|t| t.0);
        ctx.stale.iter().all(|stale| {
            let mut pods = self.inputs.pods.iter().filter(|p| p.id == stale.uid);
            pods.any(|p| p.read_at.is_some_and(|at| Some(at) >= opened))
        })
    }

    /// Returns the UIDs of pods with connections to the wrong role or to no member, with their number.
    pub(crate) fn misplaced_pods(&self) -> BTreeMap<String, u32> {
        count_misplaced(&self.inputs.lend(0, Timestamp::UNIX_EPOCH))
    }

    /// Whether pods are misplaced since a failover that the run in progress has not tried yet.
    pub(crate) fn has_untried_pods(&self, ctx: &TargetContext) -> bool {
        let misplaced = self.misplaced_pods();
        let is_untried = |p: &&PodFacts| {
            ctx.stage(p) == Stage::Due(Attempt::First) && ctx.moved_in_run(p).is_none()
        };
        let mut pods = ctx.counted.iter().filter(|p| ctx.is_urgent(p));
        pods.any(|p| misplaced.contains_key(&p.uid) && is_untried(p))
    }

    /// Whether every connection of this pod is where it should be, as measured since.
    pub(crate) fn is_placed(&self, uid: &str, since: Timestamp) -> bool {
        let pod = self.inputs.pods.iter().find(|p| p.id == uid);
        pod.is_some_and(|p| p.read_at.is_some_and(|at| at >= since))
            && !count_misplaced(&self.inputs.lend(0, since)).contains_key(uid)
    }
}

/// Assesses a target; `None` if it is not measured, or no topology has settled.
pub(crate) fn assess_target(
    ctx: &TargetContext,
    topology: Option<&Topology>,
) -> Option<Assessment> {
    if !ctx.pass.policy.evidence.is_measured() {
        return None;
    }
    let (topology, world) = (topology?, ctx.pass.world);
    let counted = ctx.counted.iter().map(|p| p.uid.as_str());
    let measured = &ctx.found.evidence.measured;
    let evidence = attribute_connections(counted, measured, &world.dns.book, topology);
    if let Some((reason, message)) = check_usable(ctx, &evidence) {
        return Some(Assessment {
            evidence,
            usable: None,
            reason,
            message,
        });
    }
    let inputs = gather_inputs(ctx, topology.clone(), &evidence);
    let decision = decide_balance(&inputs.lend(0, ctx.pass.now));
    let (reason, message) = describe_verdict(&decision);
    let (reason, message) = describe_weights(ctx, &inputs.weights, &decision, reason, message);
    let known = !matches!(decision.verdict, BalanceVerdict::Unknown { .. });
    let usable = known.then_some(UsableEvidence { decision, inputs });
    Some(Assessment {
        evidence,
        usable,
        reason,
        message,
    })
}

/// Returns why the evidence cannot be relied on, as reason and message, if it cannot.
fn check_usable(ctx: &TargetContext, evidence: &Evidence) -> Option<(&'static str, String)> {
    let world = ctx.pass.world;
    if !world.evidence_allowed {
        let message = format!(
            "the operator may not read connections in namespace {}: list it in the chart's value evidence.namespaces",
            world.policy.namespace
        );
        return Some(("EvidenceNotGranted", message));
    }
    if ctx.counted.is_empty() {
        return Some(("NoPods", "there are no pods".to_owned()));
    }
    let verdict = &evidence.verdict;
    Some((verdict.reason()?, verdict.message()?.to_owned()))
}

/// Returns the state by a decision, as reason and message.
fn describe_verdict(decision: &Decision) -> (&'static str, String) {
    match &decision.verdict {
        BalanceVerdict::Unknown { reason } => (reason.reason(), reason.to_string()),
        BalanceVerdict::Balanced {
            figures,
            limited_by: Some(_),
        } => ("PodQuantum", figures.to_string()),
        BalanceVerdict::Balanced { figures, .. } => ("Balanced", figures.to_string()),
        BalanceVerdict::Unbalanced { figures } => {
            let broken = figures.misplaced.wrong_role + figures.misplaced.no_member > 0;
            let reason = match &decision.wait {
                Some(wait @ (Wait::GaveUp(_) | Wait::Incurable(_))) => wait.reason(),
                _ if broken => "Misplaced",
                _ if figures.others > 0 => "ClusterUneven",
                _ => "Uneven",
            };
            let message = match &decision.wait {
                Some(wait @ Wait::Incurable(_)) => format!("{figures}; {wait}"),
                _ => figures.to_string(),
            };
            (reason, message)
        }
    }
}

/// Adds to the state what the user must know of the weights. That shares are equal against the user's wish is the
/// reason of an even target that has no other.
fn describe_weights(
    ctx: &TargetContext,
    weights: &ReaderWeights,
    decision: &Decision,
    reason: &'static str,
    message: String,
) -> (&'static str, String) {
    if decision.verdict.figures().is_none() || !ctx.policy.has_pool(Endpoint::Reader) {
        return (reason, message);
    }
    if let Some(note) = &weights.note {
        let is_even = reason == "Balanced";
        let reason = if is_even { note.reason() } else { reason };
        return (reason, format!("{message}; {note}"));
    }
    match weights.describe_fight_with_dns(ctx.counted.len()) {
        Some(fight) => (reason, format!("{message}; {fight}")),
        None => (reason, message),
    }
}

impl Assessment {
    /// Returns the decision, if there is one.
    pub(crate) fn decision(&self) -> Option<&Decision> {
        self.usable.as_ref().map(|k| &k.decision)
    }

    /// Returns what a run that ends now has reached.
    pub(crate) fn describe_outcome(&self) -> String {
        let verdict = self.decision().map(|d| &d.verdict);
        let limited = matches!(
            verdict,
            Some(BalanceVerdict::Balanced {
                limited_by: Some(_),
                ..
            })
        );
        let is_part_done = self.decision().is_some_and(|d| d.is_done);
        let suffix = if limited {
            ", as even as whole pods allow"
        } else if is_part_done && !verdict.is_some_and(BalanceVerdict::is_balanced) {
            "; what is uneven still is for other targets of the cluster to move"
        } else {
            ""
        };
        format!("{}{suffix}", self.message)
    }

    /// Connections to the wrong role, or to no member, on pods that can still be helped.
    fn is_broken(&self) -> bool {
        self.decision().is_some_and(|d| d.has_open_sweep)
    }

    /// Whether pods have to move: some are broken, or an episode is in progress.
    pub(crate) fn wants_moves(&self, ctx: &TargetContext) -> bool {
        let triggers = &ctx.pass.policy.triggers;
        let sweeps = triggers.failover.enabled || triggers.reader_removed.enabled;
        let episode = self.decision().is_some_and(|d| d.memory.episode.is_some());
        (self.is_broken() && sweeps) || episode
    }

    /// Whether what is broken is so as after a failover, so that it does not wait for windows and limits.
    /// Reader pools on the writer of a cluster that had no reader are not.
    pub(crate) fn is_urgent(&self, ctx: &TargetContext) -> bool {
        let failed_over = ctx.status.urgent_epoch > ctx.status.baseline_epoch;
        let writes = ctx.policy.has_pool(Endpoint::Writer);
        let figures = self.decision().and_then(|d| d.verdict.figures());
        let gone = figures.is_some_and(|f| f.misplaced.no_member > 0);
        self.is_broken() && (failed_over || writes || gone)
    }
}
