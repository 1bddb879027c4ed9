//! Advances the runs of a policy: each target through gates, canary and selection to its next step.

mod by_evidence;
mod by_name;
mod by_stamp;

use jiff::SignedDuration;

use crate::descriptions::pods::describe_refused_pods;
use crate::drain::record_drains;
use crate::epochs::baseline::load_target_status;
use crate::gates::budget::count_in_flight;
use crate::gates::policy::check_policy;
use crate::gates::{Admission, check_gates};
use crate::name::{NameFacts, StandingName, TargetWish, decide_name};
use crate::policy::{ParsedPolicy, readable_policy};
use crate::runs::RunChanges;
use crate::runs::lifecycle::{resume_run, start_run, supersede_run};
use crate::runs::progress::{ProgressKind, check_progress, was_running};
use crate::selection::assessment::{Assessment, UsableEvidence};
use crate::selection::by_evidence::Urgency;
use crate::selection::shares::count_shares;
use crate::target::{PassContext, TargetContext, status_count};
use crate::times::add_duration;
use crate::types::{ClosedGate, Gate, Plan, Step, TargetPlan};
use crate::world::World;
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_api::status::{BalanceStatus, TargetStatus};
use dbbalance_core::balance::{OtherConnections, ReaderShares};
use dbbalance_core::budget::Load;
use dbbalance_core::narrow::WidenReason;
use dbbalance_core::pod::PodFacts;
use dbbalance_core::topology::InstanceId;

/// How many ended runs the status keeps.
const MAX_HISTORY: usize = 10;
/// The most pods that get topology annotations in one pass.
const MAX_ANNOTATIONS: usize = 50;
/// How soon a gate is checked again that policies of other namespaces may hold.
const RECHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(5);

/// Advances the runs of all targets.
pub(crate) fn advance_runs(
    world: &World,
    parsed: &ParsedPolicy,
    now: jiff::Timestamp,
    plan: &mut Plan,
) {
    let policy = readable_policy(parsed);
    let specs = policy.targets.iter().zip(&world.targets);
    let mut statuses: Vec<_> = specs
        .map(|(spec, found)| load_target_status(world, spec, found, now, plan))
        .collect();
    let mut changes = RunChanges {
        notices: std::mem::take(&mut plan.notices),
        history: plan.status.history.clone(),
        wake: plan.wake,
    };
    let mut facts = NameFacts::gather(world, parsed, &plan.status, &plan.settling, now);
    let name = StandingName::find(world, parsed, &facts);
    let pass = PassContext {
        world,
        policy,
        status: &plan.status,
        settling: &plan.settling,
        name: &name,
        now,
    };
    // The recycles and runs of all targets count, not only of those that come first.
    let mut own_in_flight = Load::default();
    let mut shares = Vec::new();
    for (index, status) in statuses.iter().enumerate() {
        let ctx = TargetContext::new(pass, index, status.clone());
        own_in_flight = own_in_flight.plus(count_in_flight(&ctx));
        // Of an only target none is asked for before it is planned.
        let is_only = statuses.len() == 1;
        shares.push(if is_only {
            ReaderShares::Unmeasured
        } else {
            count_shares(&ctx, None)
        });
    }
    let mut running: Vec<bool> = statuses.iter().map(|t| was_running(world, t)).collect();
    let mut balances = Vec::new();
    let mut wishes = Vec::new();
    let mut targets = Vec::new();
    for (index, slot) in statuses.iter_mut().enumerate() {
        running[index] = false;
        let mut ctx = TargetContext::new(pass, index, std::mem::take(slot));
        ctx.others = sum_others(world, &shares, index);
        let planner = TargetPlanner {
            out: empty_target_plan(&ctx),
            ctx,
            adds: Load::default(),
            own_running: running.iter().filter(|r| **r).count(),
            own_in_flight,
            decided: None,
            wish: Err(WidenReason::NothingLeft),
            changes: &mut changes,
        };
        let policy_gate = check_policy(world, parsed, index, now);
        let target = planner.advance(policy_gate);
        running[index] = target.out.running;
        own_in_flight = own_in_flight.plus(target.adds);
        shares[index] = target.out.shares.clone();
        *slot = target.status;
        balances.extend(target.balance);
        wishes.push(target.wish);
        targets.push(target.out);
    }
    let RunChanges {
        notices,
        mut history,
        wake,
    } = changes;
    history.truncate(MAX_HISTORY);
    plan.notices = notices;
    plan.wake = wake;
    plan.status.history = history;
    plan.status.targets = statuses;
    plan.status.balance = balances;
    plan.targets = targets;
    let pass = PassContext {
        world,
        policy,
        status: &plan.status,
        settling: &plan.settling,
        name: &name,
        now,
    };
    plan.status.drain = record_drains(&pass, plan);
    decide_name(world, parsed, &mut facts, &wishes, plan);
}

/// Widens the name of a policy that is being deleted, whose targets are not planned any more.
pub(crate) fn release_name(
    world: &World,
    parsed: &ParsedPolicy,
    now: jiff::Timestamp,
    plan: &mut Plan,
) {
    let mut facts = NameFacts::gather(world, parsed, &plan.status, &plan.settling, now);
    decide_name(world, parsed, &mut facts, &[], plan);
}

/// Returns what other policies and the policy's other targets hold of the readers.
fn sum_others(world: &World, shares: &[ReaderShares], own: usize) -> OtherConnections {
    let mut others = world.peers.shares.clone();
    for (index, shares) in shares.iter().enumerate() {
        if index != own {
            shares.add_to(&mut others);
        }
    }
    // Later, a target that cannot be read holds no other one.
    others.unread &= world.peers.is_young;
    others
}

fn empty_target_plan(ctx: &TargetContext) -> TargetPlan {
    TargetPlan {
        target: ctx.policy.name.clone(),
        action: "nothing to do".to_owned(),
        held: None,
        step: None,
        annotate: Vec::new(),
        in_flight: count_in_flight(ctx),
        shares: ReaderShares::Unmeasured,
        running: false,
        max_reading_age: None,
        watch_pods: Vec::new(),
        boost_dns: false,
    }
}

/// Plans one target in one pass.
struct TargetPlanner<'a, 'c> {
    ctx: TargetContext<'a>,
    out: TargetPlan,
    /// What its step adds to the connections in flight.
    adds: Load,
    /// Runs in progress of the policy's other targets.
    own_running: usize,
    /// What recycles in progress of the whole policy may add.
    own_in_flight: Load,
    /// The receiver that the balance has decided on with the pods that are free, or why on none; once it has.
    decided: Option<Result<InstanceId, WidenReason>>,
    /// The reader that the name must lead to, or why to none.
    wish: Result<InstanceId, WidenReason>,
    changes: &'c mut RunChanges,
}

/// One target, planned.
struct PlannedTarget {
    status: TargetStatus,
    balance: Option<BalanceStatus>,
    wish: TargetWish,
    out: TargetPlan,
    adds: Load,
}

/// By what the pods of a target are selected.
#[derive(Clone, Copy)]
enum Selector<'s> {
    Stamps,
    Evidence(&'s Assessment, &'s UsableEvidence),
}

impl Selector<'_> {
    /// Whether it empties a reader that a user drains.
    fn drains(self) -> bool {
        match self {
            Self::Stamps => false,
            Self::Evidence(_, usable) => usable.drains(),
        }
    }

    fn progress_kind(self, ctx: &TargetContext) -> ProgressKind {
        match self {
            Self::Stamps => ProgressKind::ByStamp,
            Self::Evidence(_, usable) => ProgressKind::ByEvidence {
                has_untried: usable.has_untried_pods(ctx),
            },
        }
    }
}

/// What comes of the gates, the canary and the selection.
enum TargetOutcome {
    /// A decision was made that must be recorded before anything is done.
    Recorded,
    /// What was started goes on by itself.
    InProgress,
    /// Take this step.
    Step(SelectedStep),
    /// Nothing now, for a reason of the balance.
    Wait(BalanceWait),
}

/// A wait of the balance.
struct BalanceWait {
    closed: ClosedGate,
    memory: RebalanceState,
    /// Whether a new reading is needed, rather than one that is kept fresh.
    needs_reading: bool,
    /// Whether it waits for no work of the run: no pod is free. It holds none of the cluster's places meanwhile.
    is_idle: bool,
}

/// A step, with what it may add and what the balance remembers of it.
struct SelectedStep {
    step: Step,
    adds: Load,
    memory: Option<RebalanceState>,
}

impl TargetPlanner<'_, '_> {
    /// Advances the target. `policy_gate`: what holds it as a whole.
    fn advance(mut self, policy_gate: Result<(), ClosedGate>) -> PlannedTarget {
        let ctx = &mut self.ctx;
        ctx.status.pods = status_count(ctx.counted.len());
        ctx.status.stale = status_count(ctx.stale.len());
        if ctx.status.owned && policy_gate.is_ok() {
            let missing = |p: &&&PodFacts| !p.has_topology && p.is_born_since(&ctx.status);
            let pods = ctx.counted.iter().filter(missing).take(MAX_ANNOTATIONS);
            self.out.annotate = pods.map(|p| p.key()).collect();
        }
        supersede_run(ctx, self.changes);
        let (assessment, balance) = self.assess();
        let broken = assessment.as_ref().is_some_and(|a| a.is_urgent(&self.ctx));
        let is_urgent = broken || self.ctx.has_urgent_pods();
        let run = self.ctx.recorded_run();
        match assessment {
            Some(assessment) if self.is_by_evidence(&assessment) => {
                self.advance_by_evidence(&assessment, policy_gate);
            }
            _ => self.advance_by_stamp(policy_gate),
        }
        if let Some(text) = describe_refused_pods(&self.ctx.refused_stale()) {
            self.out.action = format!("{}; {text}", self.out.action);
        }
        self.out.shares = count_shares(&self.ctx, self.out.step.as_ref());
        PlannedTarget {
            status: self.ctx.status,
            balance,
            wish: TargetWish {
                run,
                receiver: self.wish,
                is_urgent,
            },
            out: self.out,
            adds: self.adds,
        }
    }

    /// Takes the target through the gates, the canary and the selection.
    fn select_next_step(&mut self, selector: Selector) -> Result<TargetOutcome, ClosedGate> {
        let is_urgent = self.is_urgent(selector);
        let only_urgent =
            match check_gates(&self.ctx, is_urgent, selector.drains(), self.own_running)? {
                Admission::Proceed { only_urgent } => only_urgent,
                Admission::ResumeRun(run, cause) => {
                    resume_run(&mut self.ctx, *run, cause, self.changes);
                    return Ok(TargetOutcome::Recorded);
                }
                Admission::StartRun => {
                    let (triggers, message) = self.describe_run(selector);
                    start_run(&mut self.ctx, triggers, message, self.changes);
                    return Ok(TargetOutcome::Recorded);
                }
                Admission::RecordFirst => return Ok(TargetOutcome::Recorded),
            };
        match selector {
            Selector::Stamps => self.select_by_stamp(only_urgent),
            Selector::Evidence(_, usable) => {
                let urgency = Urgency {
                    is_urgent,
                    only_urgent,
                };
                self.select_by_evidence(usable, urgency)
            }
        }
    }

    /// Whether the target has the privileges of a failover now.
    fn is_urgent(&self, selector: Selector) -> bool {
        match selector {
            Selector::Stamps => self.ctx.has_urgent_pods(),
            Selector::Evidence(assessment, _) => assessment.is_urgent(&self.ctx),
        }
    }

    /// Takes what comes of the gates into the plan, and says when to reconcile again.
    fn apply_outcome(&mut self, selector: Selector, outcome: Result<TargetOutcome, ClosedGate>) {
        let now = self.ctx.pass.now;
        let by_evidence = matches!(selector, Selector::Evidence(..));
        self.out.running = true;
        match outcome {
            Ok(TargetOutcome::Recorded) => {
                self.changes.wake_at(now);
                if by_evidence {
                    self.watch_closely(true);
                }
            }
            Ok(TargetOutcome::InProgress) => {}
            Ok(TargetOutcome::Step(selected)) => self.take_step(selected),
            Ok(TargetOutcome::Wait(wait)) => self.wait_for_balance(wait),
            Err(closed) => self.hold(closed, by_evidence),
        }
        // Runs of a failover wait for no others, nor do others wait for them.
        self.out.running &= !self.is_urgent(selector);
        let kind = selector.progress_kind(&self.ctx);
        check_progress(&mut self.ctx, kind, &mut self.out, self.changes);
        if self.out.step.is_none() {
            self.adds = Load::default();
        }
        self.out.in_flight = self.out.in_flight.plus(self.adds);
    }

    fn wait_for_balance(&mut self, wait: BalanceWait) {
        self.watch_closely(wait.needs_reading);
        self.ctx.status.balance = Some(wait.memory);
        let recheck = add_duration(self.ctx.pass.now, RECHECK_INTERVAL);
        let tick = self.next_tick();
        self.changes
            .wake_at(if wait.is_idle { recheck } else { tick });
        self.out.running &= !wait.is_idle;
        self.out.held = Some(wait.closed);
    }

    /// Holds the target at a gate. `rechecks`: the gate is checked again soon, whichever it is.
    fn hold(&mut self, closed: ClosedGate, rechecks: bool) {
        self.out.running = self.ctx.running().is_some() && closed.gate.is_pace();
        if let Some(until) = closed.until {
            self.changes.wake_at(until);
        } else if rechecks || matches!(closed.gate, Gate::Pacing | Gate::Budget) {
            // What others on the cluster hold changes without a notice to this policy.
            let at = add_duration(self.ctx.pass.now, RECHECK_INTERVAL);
            self.changes.wake_at(at);
        }
        self.out.held = Some(closed);
    }
}
