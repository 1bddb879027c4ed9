//! Advances a target whose connections are measured: the balance decides which pods move, and stamps only record.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{BalanceWait, RECHECK_INTERVAL, SelectedStep, Selector, TargetOutcome, TargetPlanner};
use crate::descriptions::actions::{describe_balance_step, describe_canary};
use crate::descriptions::balance::describe_balance;
use crate::descriptions::waiting::{balance_gate, exhausted_gate};
use crate::gates::halted::check_halted;
use crate::gates::privilege::Privilege;
use crate::gates::topology::check_epoch;
use crate::gates::workload::single_replica_gate;
use crate::runs::canary::{Canary, check_measured_canary};
use crate::runs::lifecycle::{Halt, finish_run, halt_run, mark_progress, mark_verified};
use crate::runs::progress::{ProgressKind, check_progress};
use crate::selection::assessment::{Assessment, UsableEvidence, assess_target};
use crate::selection::by_evidence::{self, Urgency};
use crate::selection::single_pod_method;
use crate::target::TargetContext;
use crate::times::{add_duration, status_time};
use crate::types::{ClosedGate, Gate, Notice, Step};
use dbbalance_api::spec::{Endpoint, Method};
use dbbalance_api::status::{BalanceStatus, HaltReason, RunResult, Trigger};
use dbbalance_core::balance::{Wait, count_repeats};
use dbbalance_core::narrow::WidenReason;
use dbbalance_core::weights::WEIGHTS_FIGHT_DNS;
use dbbalance_core::workload::WorkloadFacts;

/// If evidence is incomplete so long after a failover has opened, stamps decide (docs/adr/0013): its pods are
/// broken now.
const BLIND_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How soon a run that waits for DNS, a reading or a pod is planned again: each of these takes about a second.
const TICK: SignedDuration = SignedDuration::from_millis(500);
/// How old a reading may be that is waited for: twenty pods take a second or more to read.
const NEW_READING: SignedDuration = SignedDuration::from_secs(3);
/// How old a reading may be while DNS or pods are waited for, to act as soon as they are there: the balance wants
/// another at 10 s, and a round of reads takes its time.
const KEPT_READING: SignedDuration = SignedDuration::from_secs(6);

impl TargetPlanner<'_, '_> {
    /// Assesses the target's evidence, and describes its balance.
    pub(super) fn assess(&mut self) -> (Option<Assessment>, Option<BalanceStatus>) {
        let topology = self.ctx.pass.settled_topology();
        let assessment = assess_target(&self.ctx, topology.as_ref());
        let balance = assessment
            .as_ref()
            .map(|a| describe_balance(&self.ctx, a, topology.as_ref()));
        if assessment.is_none() {
            let target = &mut self.ctx.status;
            target.balance = None;
            target.template = None;
            target.template_time = None;
        }
        (assessment, balance)
    }

    /// Whether evidence decides, rather than stamps.
    pub(super) fn is_by_evidence(&self, assessment: &Assessment) -> bool {
        let ctx = &self.ctx;
        if !ctx.status.owned || ctx.stale.is_empty() {
            return ctx.status.owned;
        }
        let silent_since = silent_since(ctx).filter(|_| assessment.usable.is_none());
        let has_waited = |opened: Option<&Time>, patience| {
            let since = opened.zip(silent_since).map(|(o, s)| o.0.max(s));
            since.is_some_and(|s| ctx.pass.now.duration_since(s) >= patience)
        };
        let is_blind =
            ctx.has_urgent_pods() && has_waited(ctx.status.urgent_open_time.as_ref(), BLIND_AFTER);
        // Without a failover nothing is broken now, but stale pods are not held without end either.
        let patience = ctx.pass.policy.pacing.progress_deadline;
        let is_silent = has_waited(ctx.status.open_time.as_ref(), patience);
        // A token recycles every pod; a rollout moves them all at once.
        !is_blind
            && !is_silent
            && !ctx.status.triggers.contains(&Trigger::Manual)
            && ctx.policy.recycle.method != Method::Rollout
    }

    pub(super) fn advance_by_evidence(
        &mut self,
        assessment: &Assessment,
        policy_gate: Result<(), ClosedGate>,
    ) {
        remember_templates(&mut self.ctx);
        let wants_moves = assessment.wants_moves(&self.ctx);
        let Some(usable) = &assessment.usable else {
            return self.wait_for_evidence(assessment, policy_gate);
        };
        self.follow_weights(usable);
        if !wants_moves {
            self.ctx.status.balance = Some(usable.decision.memory.clone());
            self.wish = Err(WidenReason::Reached);
            return self.stamp_or_finish(assessment, usable, policy_gate);
        }
        self.out.action = describe_balance_step(&self.ctx, Some(&usable.decision));
        let selector = Selector::Evidence(assessment, usable);
        let is_open = policy_gate.is_ok();
        let outcome = policy_gate.and_then(|()| self.select_next_step(selector));
        self.wish_for_name(&usable.decision, &outcome);
        self.apply_outcome(selector, outcome);
        if is_open && self.out.step.is_none() {
            self.stamp_placed_pods(usable);
        }
        if self.out.running || self.ctx.running().is_some() {
            self.out.watch_pods = usable.changing_pods();
            if let Some(Step::Pods { pods, .. }) = &self.out.step {
                let uids = pods.iter().map(|p| p.uid.clone());
                self.out.watch_pods.extend(uids);
            }
        }
    }

    /// Reports weights that DNS works against, once, and comes back when a reader has its next part.
    fn follow_weights(&mut self, usable: &UsableEvidence) {
        let weights = usable.weights();
        if let Some(at) = weights.next_step {
            self.changes.wake_at(at);
        }
        // What was shown before is in the status at once, whatever gates hold the target.
        let mut shown = self.ctx.pass.world.status.balance.iter();
        let is_said = shown
            .any(|b| b.target == self.ctx.policy.name && b.message.contains(WEIGHTS_FIGHT_DNS));
        if is_said || !self.ctx.policy.has_pool(Endpoint::Reader) {
            return;
        }
        if let Some(fight) = weights.describe_fight_with_dns(self.ctx.counted.len()) {
            let note = format!("target {}: {fight}", self.ctx.policy.name);
            self.changes.notices.push(Notice::WeightsFightDns(note));
        }
    }

    /// Stamps the pods that a failover has left where they belong, though others have to move: they have nothing to wait
    /// for, and an episode over many pods takes long.
    fn stamp_placed_pods(&mut self, usable: &UsableEvidence) {
        let ctx = &self.ctx;
        let may_stamp = ctx.has_urgent_pods()
            && check_epoch(ctx, Privilege::default()).is_ok()
            && ctx.is_due_epoch_recorded();
        if may_stamp && let Some(step) = by_evidence::select_stamps(ctx, usable) {
            self.changes.wake_at(self.next_tick());
            self.out.step = Some(step);
        }
    }

    /// Waits for evidence that can be relied on, if something depends on it.
    fn wait_for_evidence(&mut self, assessment: &Assessment, policy_gate: Result<(), ClosedGate>) {
        self.keep_name_for_batch();
        let ctx = &self.ctx;
        let memory = ctx.status.balance.as_ref();
        let started = ctx.running().is_some() || memory.is_some_and(|m| m.episode.is_some());
        if !started && ctx.stale.is_empty() {
            self.out.held = policy_gate.err();
            return;
        }
        self.out.action = describe_balance_step(ctx, None);
        let idle = policy_gate
            .is_ok()
            .then(|| by_evidence::select_idle_stamps(ctx, &assessment.evidence));
        if let Some(step) = idle.flatten()
            && check_epoch(ctx, Privilege::default()).is_ok()
            && ctx.is_due_epoch_recorded()
        {
            self.changes.wake_at(self.next_tick());
            self.out.step = Some(step);
            return;
        }
        if policy_gate.is_ok()
            && let Err(halted) = check_halted(ctx)
        {
            if let Some(until) = halted.until {
                self.changes.wake_at(until);
            }
            self.out.held = Some(halted);
            return;
        }
        let closed = policy_gate.err();
        self.wait_for_reading(
            closed.unwrap_or_else(|| ClosedGate::new(Gate::Evidence, assessment.message.clone())),
        );
        // Stale pods are not held without end: stamps decide when evidence has been silent for as long.
        if self.ctx.stale.is_empty() {
            let kind = ProgressKind::ByEvidence { has_untried: false };
            check_progress(&mut self.ctx, kind, &mut self.out, self.changes);
        }
    }

    fn wait_for_reading(&mut self, closed: ClosedGate) {
        self.out.max_reading_age = Some(NEW_READING);
        self.out.held = Some(closed);
        let now = self.ctx.pass.now;
        self.changes.wake_at(if self.is_reading_expected() {
            self.next_tick()
        } else {
            add_duration(now, RECHECK_INTERVAL)
        });
    }

    /// Whether a reading may come any second: what has not come for longer is asked for less often.
    fn is_reading_expected(&self) -> bool {
        let ctx = &self.ctx;
        let progress = ctx.running().map(|r| r.last_progress_time.0);
        let opened = ctx.status.open_time.as_ref().map(|t| t.0);
        let times = [progress, opened, silent_since(ctx)];
        let since = times.into_iter().flatten().max();
        since.is_none_or(|since| ctx.pass.now.duration_since(since) < BLIND_AFTER)
    }

    pub(super) fn select_by_evidence(
        &mut self,
        usable: &UsableEvidence,
        urgency: Urgency,
    ) -> Result<TargetOutcome, ClosedGate> {
        let ctx = &self.ctx;
        let Some(method) = single_pod_method(ctx) else {
            return Err(ClosedGate::new(
                Gate::Refused,
                "connections are uneven, and method Rollout moves no single pod: set recycle.fallback: Evict",
            ));
        };
        match check_measured_canary(ctx, method, &usable.misplaced_pods()) {
            Canary::Passed => {
                let message = describe_canary(ctx, method, "the first pod's connections are new");
                mark_verified(&mut self.ctx, message, self.changes);
                return Ok(TargetOutcome::Recorded);
            }
            Canary::Waiting(message) => {
                return Ok(TargetOutcome::Wait(BalanceWait {
                    closed: ClosedGate::new(Gate::Canary, message),
                    memory: usable.decision.memory.clone(),
                    needs_reading: usable.decision.measure,
                    is_idle: false,
                }));
            }
            Canary::NotNeeded => {}
        }
        let in_flight = self.own_in_flight;
        let free = by_evidence::count_free(ctx, usable, method, in_flight);
        let mut decision = usable.decide_with_free(free.count, ctx.pass.now);
        self.decided = Some(decision.receiver.clone().ok_or(WidenReason::NothingLeft));
        let ctx = &self.ctx;
        let selected = by_evidence::select_step(ctx, &decision, method, urgency, in_flight)?;
        if let Some((Step::Pods { pods, .. }, _)) = &selected {
            let repeats = pods.iter().filter(|p| decision.repeats.contains(&p.uid));
            let taken = u32::try_from(repeats.count()).unwrap_or(u32::MAX);
            let fleet = u32::try_from(ctx.counted.len()).unwrap_or(u32::MAX);
            count_repeats(&mut decision.memory, taken, fleet, ctx.pass.now);
        }
        if let Some((step, adds)) = selected {
            return Ok(TargetOutcome::Step(SelectedStep {
                step,
                adds,
                memory: Some(decision.memory),
            }));
        }
        let wait = decision.wait.as_ref();
        let is_idle = wait == Some(&Wait::NothingFree);
        let closed = free.closed.filter(|_| is_idle);
        Ok(TargetOutcome::Wait(BalanceWait {
            closed: closed.unwrap_or_else(|| balance_gate(&ctx.pass, wait)),
            memory: decision.memory,
            needs_reading: decision.measure,
            is_idle,
        }))
    }

    /// Takes a step. One of the balance is watched until its pods are back.
    pub(super) fn take_step(&mut self, selected: SelectedStep) {
        self.adds = selected.adds;
        self.out.step = Some(selected.step);
        if let Some(memory) = selected.memory {
            self.ctx.status.balance = Some(memory);
            mark_progress(&mut self.ctx);
            self.watch_closely(true);
            self.changes.wake_at(self.next_tick());
        }
    }

    /// Asks for readings and DNS samples at the pace of a run.
    pub(super) fn watch_closely(&mut self, needs_reading: bool) {
        self.out.boost_dns = true;
        self.out.max_reading_age = Some(if needs_reading {
            NEW_READING
        } else {
            KEPT_READING
        });
    }

    /// Returns when to plan again while something is waited for that takes about a second.
    pub(super) fn next_tick(&self) -> Timestamp {
        let now = self.ctx.pass.now;
        now.saturating_add(TICK).unwrap_or(now)
    }

    /// Stamps stale pods that do not have to move, or finishes the run in progress.
    fn stamp_or_finish(
        &mut self,
        assessment: &Assessment,
        usable: &UsableEvidence,
        policy_gate: Result<(), ClosedGate>,
    ) {
        if self.ctx.stale.is_empty() {
            return self.finish_balanced(assessment, usable, policy_gate);
        }
        self.out.action = describe_balance_step(&self.ctx, Some(&usable.decision));
        let ctx = &self.ctx;
        let gate = policy_gate.and_then(|()| check_epoch(ctx, Privilege::default()));
        if let Err(closed) = gate {
            self.out.held = Some(closed);
        } else if !ctx.is_due_epoch_recorded() {
            self.changes.wake_at(ctx.pass.now);
        } else if let Some(step) = by_evidence::select_stamps(ctx, usable) {
            self.changes.wake_at(self.next_tick());
            self.out.step = Some(step);
        } else if let (Some(wait @ Wait::Incurable(_)), true) =
            (&usable.decision.wait, ctx.running().is_some())
        {
            let halt = Halt::new(HaltReason::Incurable, wait.to_string());
            self.out.held = Some(ClosedGate::new(Gate::Halted, halt.message.clone()));
            halt_run(&mut self.ctx, &halt, self.changes);
        } else if usable.is_measured_since_opened(ctx) {
            // Misplaced, and nothing that may be done about it: no reading soon would help.
            let evicts = single_pod_method(ctx) == Some(Method::Evict);
            self.out.held = Some(if evicts && ctx.is_single_replica() {
                single_replica_gate()
            } else {
                exhausted_gate(ctx)
            });
            let at = add_duration(ctx.pass.now, RECHECK_INTERVAL);
            self.changes.wake_at(at);
            // Nobody is left to try: a run whose method has failed on too many ends here.
            let kind = ProgressKind::ByEvidence { has_untried: false };
            check_progress(&mut self.ctx, kind, &mut self.out, self.changes);
        } else {
            let message = "connections must be measured after the epoch has opened";
            self.wait_for_reading(ClosedGate::new(Gate::Evidence, message));
        }
    }

    /// Finishes the run in progress of a target without stale pods, and shows what comes next.
    fn finish_balanced(
        &mut self,
        assessment: &Assessment,
        usable: &UsableEvidence,
        policy_gate: Result<(), ClosedGate>,
    ) {
        let decision = &usable.decision;
        if self.ctx.status.owned && self.ctx.running().is_some() {
            let even = decision.is_done;
            if !even && matches!(decision.wait, Some(Wait::NotTriggered { .. })) {
                // It was even for a moment, as pools came back one by one. What started the episode starts it
                // once more; a pod is recycled three times in a run at most.
                if let Some(memory) = &mut self.ctx.status.balance {
                    memory.event = None;
                }
                self.changes.wake_at(self.next_tick());
                self.out.running = true;
                return;
            }
            if let Some(until) = usable.find_doubt_end(&self.ctx) {
                let message = "pods were renewed while DNS may still have led them as before the failover, and with pools of \
                     both roles that does not show in the counts";
                self.out.held = Some(ClosedGate::new(Gate::Dns, message));
                self.out.running = true;
                self.watch_closely(false);
                self.changes.wake_at(until);
                return;
            }
            let result = if even {
                RunResult::Succeeded
            } else {
                RunResult::Uneven
            };
            let message = assessment.describe_outcome();
            finish_run(&mut self.ctx, result, &message, self.changes);
        }
        if usable.has_drain() {
            // Who waits for the drain deletes the instance next: what is left is told soon, and not from long ago.
            self.out.max_reading_age = Some(KEPT_READING);
        }
        self.show_next(policy_gate);
        if let (None, Some(wake)) = (&self.out.held, decision.wake) {
            self.changes.wake_at(wake);
        }
    }
}

/// Returns since when evidence has been silent; `None` while its first readings are awaited. Where no pod may be read, none is
/// awaited.
fn silent_since(ctx: &TargetContext) -> Option<Timestamp> {
    if !ctx.pass.world.evidence_allowed {
        return Some(Timestamp::UNIX_EPOCH);
    }
    ctx.found.evidence.silent_since
}

/// Remembers the pods' templates while no rollout is in progress. Other ones than before mean that a rollout has ended.
fn remember_templates(ctx: &mut TargetContext) {
    let workload = ctx.found.workload.as_ref();
    let rolling = workload.is_some_and(WorkloadFacts::is_moving_pods);
    if rolling || ctx.counted.is_empty() {
        return;
    }
    let templates = ctx.hash_templates();
    if ctx.status.template.as_ref() == Some(&templates) {
        return;
    }
    if ctx.status.template.is_some() {
        ctx.status.template_time = Some(status_time(ctx.pass.now));
    }
    ctx.status.template = Some(templates);
}
