//! A model of apply and report around the plan, with every fault that may befall them.
//!
//! It holds safety rules 1 to 4 at each effect. What it does to pods is done by `kube`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::kube::Kube;
use super::recorder::PlanRecorder;
use super::{at, rules, seconds, since_claim};
use crate::open_epoch;
use crate::testing::parse_policy;
use crate::world::{EffectBackoff, World};
use crate::{Plan, PodStep, Step, plan};
use dbbalance_api::spec::Method;
use dbbalance_api::status::{DbBalancePolicyStatus, RunResult};
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::stamp::{Attempt, Claim, Stamp};
use dbbalance_core::workload::WorkloadFacts;

/// Where the operator dies.
#[allow(clippy::enum_variant_names)] // each says before what
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    BeforeClaim,
    BeforeEffect,
    BeforeStamp,
    BeforeStatus,
    BeforeEvent,
}

/// A world that goes on.
pub(crate) struct Model {
    pub(crate) world: World,
    pub(crate) kube: Kube,
    pub(crate) now: Timestamp,
    /// The next pass dies here.
    pub(crate) crash: Option<Crash>,
    /// The next claim loses its race.
    pub(crate) lost_race: bool,
    /// The method fails on this pod of every so many; 0 is never.
    pub(crate) failing: u64,
    /// Evictions are answered with 429.
    pub(crate) blocked: bool,
    /// Effects by pod and epoch.
    pub(crate) effects: HashMap<(String, i64, Method), usize>,
    /// Runs taken up again by an edit, each of which may try its pods anew.
    pub(crate) resumed: usize,
    /// Workloads that are away for a while.
    pub(crate) gone: Vec<Option<WorkloadFacts>>,
    /// What DNS serves: a topology in letters, or `-` while it fails. None looks at nothing.
    pub(crate) dns: Option<String>,
    /// Print what happens.
    pub(crate) told: bool,
    /// Records each plan.
    pub(crate) recorder: Option<PlanRecorder>,
    /// Creation times of `EpochOpened`, by its words.
    events: BTreeMap<String, Timestamp>,
}

impl Model {
    /// Goes on from a world at a second.
    pub(crate) fn new(world: World, second: i64) -> Self {
        Self {
            kube: Kube::new(world.targets.len()),
            now: at(second),
            crash: None,
            lost_race: false,
            failing: 0,
            blocked: false,
            effects: HashMap::new(),
            resumed: 0,
            gone: vec![None; world.targets.len()],
            dns: None,
            told: false,
            recorder: None,
            events: BTreeMap::new(),
            world,
        }
    }

    /// Lets time pass without the operator.
    pub(crate) fn wait(&mut self, secs: i64) {
        for _ in 0..secs {
            self.now = self.now.saturating_add(seconds(1)).unwrap();
            self.kube.tick(&mut self.world.targets, self.now);
        }
        self.observe();
    }

    /// Says what happens, if asked to.
    pub(crate) fn tell(&self, what: impl Fn(&Self) -> String) {
        if self.told {
            println!("{} {}", self.now.duration_since(at(0)), what(self));
        }
    }

    fn tell_plan(&self, plan: &Plan, crash: Option<Crash>) {
        self.tell(|m| {
            let of = |p: &crate::TargetPlan| {
                let takes: Vec<String> = super::pods_of(p.step.as_ref())
                    .iter()
                    .map(|s| format!("{} {:?} {}", s.name, s.method, s.claim))
                    .collect();
                let held = p
                    .held
                    .as_ref()
                    .map(|h| format!("{:?} {}", h.gate, h.message));
                format!(
                    "{} {held:?} {takes:?} {:?}",
                    p.action,
                    p.step.as_ref().map(std::mem::discriminant)
                )
            };
            let parts: Vec<String> = plan.targets.iter().map(of).collect();
            let status: Vec<String> = m
                .world
                .status
                .targets
                .iter()
                .map(|t| {
                    format!(
                        "due {} stale {}/{} {:?}",
                        t.due_epoch,
                        t.stale,
                        t.pods,
                        t.run.as_ref().map(|r| (r.epoch, r.result))
                    )
                })
                .collect();
            format!(
                "{parts:#?} {status:#?} crash {crash:?} wake {:?} notices {:?}",
                plan.wake, plan.notices
            )
        });
    }

    /// The operator begins anew: what it only remembered is gone.
    pub(crate) fn restart(&mut self) {
        self.world.settling = SettlingChanges::default();
        for found in &mut self.world.targets {
            found.backoff = None;
        }
    }

    fn observe(&mut self) {
        if let Some(letters) = &self.dns {
            let readers = if letters.len() > 1 {
                &letters[1..]
            } else {
                letters
            };
            let end = self.now.duration_since(at(0)).as_secs();
            self.world.dns = Arc::new(super::dns_view(
                end,
                &letters[..1].repeat(8),
                &readers.repeat(8),
            ));
        }
        let mark = self.world.policy.mark();
        let pods = self.world.targets.iter().flat_map(|t| &t.pods);
        let stamps = pods.filter_map(|p| p.stamp.as_ref());
        let workloads = self
            .world
            .targets
            .iter()
            .filter_map(|t| t.workload.as_ref());
        let stamps = stamps.chain(workloads.filter_map(|w| w.template_stamp.as_ref()));
        self.world.highest_stamp = stamps.filter(|s| s.policy == mark).map(|s| s.epoch).max();
    }

    /// One pass: observe, validate, plan, apply, report.
    pub(crate) fn pass(&mut self) -> Plan {
        self.observe();
        let valid = parse_policy(&self.world);
        let plan = plan(&self.world, &valid, self.now);
        if let Some(recorder) = &mut self.recorder {
            recorder.record_plan(&plan, self.now);
        }
        rules::check(&self.world, &plan, self.now);
        let crash = self.crash.take();
        self.tell_plan(&plan, crash);
        let before = self.world.status.clone();
        let mut status = plan.status.clone();
        for (index, part) in plan.targets.iter().enumerate() {
            let done = match &part.step {
                Some(Step::Pods { pods, stamp, .. }) => self.recycle(index, pods, stamp, crash),
                Some(Step::Rollout { stamp, .. }) => {
                    if crash == Some(Crash::BeforeClaim) {
                        false
                    } else {
                        self.roll(index, stamp, &mut status);
                        true
                    }
                }
                // Only where connections are measured, which no such world is.
                Some(Step::Stamp { .. }) => unreachable!("a stamp without a measurement"),
                None => continue,
            };
            if !done {
                self.restart();
                return plan;
            }
            let run = status.targets[index].run.as_mut().unwrap();
            run.last_step_time = Some(super::Time(
                Timestamp::from_second(self.now.as_second()).unwrap(),
            ));
        }
        if crash == Some(Crash::BeforeEvent) {
            self.restart();
            return plan;
        }
        if let Some(opening) = &plan.open {
            let created = Timestamp::from_second(self.now.as_second()).unwrap();
            let created = *self.events.entry(opening.note.clone()).or_insert(created);
            open_epoch(
                &mut status,
                opening.epoch,
                created.saturating_add(seconds(1)).unwrap(),
            );
        }
        if crash == Some(Crash::BeforeStatus) {
            self.restart();
            return plan;
        }
        for (old, new) in before.targets.iter().zip(&status.targets) {
            let halted = old
                .run
                .as_ref()
                .is_some_and(|r| r.result == RunResult::Halted);
            let runs = new
                .run
                .as_ref()
                .is_some_and(|r| r.resumed_time.is_some() && r.result == RunResult::Running);
            self.resumed += usize::from(halted && runs);
        }
        self.world.status = status;
        self.world.settling = plan.settling.clone();
        for (index, part) in plan.targets.iter().enumerate() {
            for key in &part.annotate {
                let pods = &mut self.world.targets[index].pods;
                pods.iter_mut()
                    .find(|p| p.name == key.name)
                    .unwrap()
                    .has_topology = true;
            }
        }
        plan
    }

    fn recycle(
        &mut self,
        index: usize,
        pods: &[PodStep],
        stamp: &Stamp,
        crash: Option<Crash>,
    ) -> bool {
        if crash == Some(Crash::BeforeClaim) {
            return false;
        }
        for step in pods {
            if std::mem::take(&mut self.lost_race) {
                continue;
            }
            let found = &mut self.world.targets[index];
            let pod = found.pods.iter_mut().find(|p| p.uid == step.uid).unwrap();
            assert_eq!(pod.resource_version, step.resource_version);
            pod.resource_version = format!("rv{}", self.kube.next());
            // As written and read back: whole seconds.
            pod.claim = Claim::parse(&step.claim.to_string());
            // A later attempt keeps the mark of the first.
            if step.claim.attempt == Attempt::First || pod.since_claim.is_none() {
                let claim = pod.claim.as_ref();
                pod.since_claim = claim.map(|c| since_claim(c, pod.ready));
            }
            if crash == Some(Crash::BeforeEffect) {
                return false;
            }
            if step.method == Method::Evict && self.blocked {
                pod.claim = pod.claim.take().and_then(Claim::released);
                let until = self.now.saturating_add(seconds(10)).unwrap();
                found.backoff = Some(EffectBackoff {
                    gate: crate::Gate::DisruptionBudget,
                    message: "429".into(),
                    until,
                });
                break;
            }
            let number: u64 = step.uid.bytes().map(u64::from).sum();
            let fails = self.failing > 0 && number.is_multiple_of(self.failing);
            if fails && step.method == Method::Evict {
                continue;
            }
            // An eviction happens once; other methods once more for a claim that nobody ended.
            let key = (step.uid.clone(), step.claim.epoch, step.method);
            let tries = self.effects.entry(key).or_default();
            *tries += 1;
            let most = if step.method == Method::Evict { 1 } else { 2 };
            assert!(
                *tries <= most * (1 + self.resumed),
                "{} is recycled {tries} times by {:?}",
                step.name,
                step.method
            );
            if fails {
                continue;
            }
            if step.method == Method::Evict {
                self.kube.delete(pod, self.now);
                continue;
            }
            if crash == Some(Crash::BeforeStamp) {
                return false;
            }
            pod.resource_version = format!("rv{}", self.kube.next());
            pod.claim = None;
            pod.stamp = Some(stamp.clone());
            pod.recycles = step.recycles;
            pod.has_topology = true;
        }
        true
    }

    fn roll(&mut self, index: usize, stamp: &Stamp, status: &mut DbBalancePolicyStatus) {
        let found = &mut self.world.targets[index];
        let workload = found.workload.as_mut().unwrap();
        assert_ne!(
            workload.template_stamp.as_ref(),
            Some(stamp),
            "rolled twice"
        );
        workload.template_stamp = Some(stamp.clone());
        self.kube.deploy(index, found);
        let generation = found.workload.as_ref().unwrap().generation;
        let run = status.targets[index].run.as_mut().unwrap();
        run.template_generation = Some(generation);
    }

    /// Passes until nothing more happens: the operator wakes when it asked to, or when a pod
    /// changes. Returns the last plan.
    pub(crate) fn settle(&mut self, most: i64) -> Plan {
        let end = self.now.saturating_add(seconds(most)).unwrap();
        loop {
            let mut before = self.world.clone();
            let plan = self.pass();
            before.dns = Arc::clone(&self.world.dns);
            if self.now >= end {
                return plan;
            }
            if self.world != before {
                self.wait(1);
                continue;
            }
            let next = [plan.wake, self.kube.next_event(self.now)];
            match next.into_iter().flatten().filter(|t| *t < end).min() {
                Some(time) => {
                    let gap = time.duration_since(self.now).as_secs();
                    self.jump(gap);
                }
                None => return plan,
            }
        }
    }

    /// Jumps over a time in which no pod changes, and ticks once.
    fn jump(&mut self, gap: i64) {
        if gap > 1 {
            self.now = self.now.saturating_add(seconds(gap - 1)).unwrap();
        }
        self.wait(1);
    }
}
