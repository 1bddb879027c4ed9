//! A model of real pools in pods, of DNS and of the probe around the plan of a measured target, with the faults
//! that may befall them. At each step the rules are held against what was measured.

mod rules;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use serde_json::json;

use super::kube::Kube;
use super::model::Crash;
use super::recorder::PlanRecorder;
use super::{at, measured, pods_of, seconds, since_claim};
use crate::open_epoch;
use crate::testing::parse_policy;
use crate::world::{TopologyState, World};
use crate::{Plan, PodStep, Step, plan, recorded_topology};
use dbbalance_api::spec::Method;
use dbbalance_core::debounce::SettlingChanges;
use dbbalance_core::evidence::{Measured, PodMeasurement, PodReading, Socket};
use dbbalance_core::evidence::{Unreadable, UnreadableReason};
use dbbalance_core::pod::{PodFacts, PodKey};
use dbbalance_core::stamp::{Attempt, Claim, MoveCounter, Stamp};
use dbbalance_core::topology::Topology;

/// Connections of a pod's reader pool, and of its writer pool where it has one.
const READER: u16 = 6;
const WRITER: u16 = 4;
/// A cache keeps an answer so long, in seconds.
const CACHED: i64 = 5;
/// Without a wish, pods are read this often.
const HEARTBEAT: i64 = 60;

/// Pods with pools, and everything around them.
pub(crate) struct Pools {
    pub(crate) world: World,
    pub(crate) kube: Kube,
    pub(crate) now: Timestamp,
    pub(crate) crash: Option<Crash>,
    /// What DNS serves: the writer first, in letters.
    pub(crate) dns: String,
    /// The cluster endpoint's answers alternate with this instance's.
    pub(crate) flicker: Option<char>,
    /// UIDs of pods that cannot be read.
    pub(crate) unread: BTreeSet<String>,
    /// Seconds by which readings lag behind.
    pub(crate) lag: i64,
    /// The effect does nothing on a pod of every so many; 0 is never.
    pub(crate) deaf: usize,
    /// Connections to the writer that each pod opens beside its pools.
    pub(crate) strays: u16,
    /// A reader that the pods' own endpoint leaves out, though the cluster's names it.
    pub(crate) left_out: Option<char>,
    /// Effects by pod and the run that it was in.
    pub(crate) effects: HashMap<(String, Timestamp), usize>,
    /// What the pods truly hold.
    held: BTreeMap<String, Vec<Socket>>,
    /// The same, some seconds ago, oldest first.
    past: Vec<(Timestamp, BTreeMap<String, Vec<Socket>>)>,
    /// Pods whose pools open with the next second.
    opening: BTreeSet<String>,
    settled: Topology,
    previous_writer: Option<String>,
    both: bool,
    ports: u16,
    read: Option<Timestamp>,
    wanted: bool,
    events: BTreeMap<String, Timestamp>,
    pub(crate) told: bool,
    /// Records each plan.
    pub(crate) recorder: Option<PlanRecorder>,
}

impl Pools {
    /// So many pods on `abc`, after their baseline at 0, spread evenly.
    pub(crate) fn new(method: Method, pods: usize, both: bool) -> Self {
        let none: &[(&str, u16)] = &[];
        let mut world = measured::measured(method, &vec![none; pods]);
        let mut pools = vec![json!({"endpoint": "Reader", "connectionsPerPod": READER})];
        if both {
            pools.push(json!({"endpoint": "Writer", "connectionsPerPod": WRITER}));
        }
        world.spec.targets[0].pools = serde_json::from_value(json!(pools)).unwrap();
        let mut model = Self {
            kube: Kube::new(1),
            now: at(10),
            crash: None,
            dns: "abc".into(),
            flicker: None,
            unread: BTreeSet::new(),
            lag: 0,
            deaf: 0,
            strays: 0,
            left_out: None,
            effects: HashMap::new(),
            held: BTreeMap::new(),
            past: Vec::new(),
            opening: BTreeSet::new(),
            settled: super::view("abc").topology,
            previous_writer: None,
            both,
            ports: 1000,
            read: None,
            wanted: true,
            events: BTreeMap::new(),
            told: std::env::var("STORY").is_ok(),
            recorder: None,
            world,
        };
        for n in 0..pods {
            let reader = if n % 2 == 0 { "b" } else { "c" };
            let sockets = model.connect(reader, "a");
            model.held.insert(format!("uid-web-{n}"), sockets);
        }
        model.wait(1);
        model
    }

    /// The pods of the target.
    pub(crate) fn pods(&self) -> &[PodFacts] {
        &self.world.targets[0].pods
    }

    /// Pods of the target have another topology around them; DNS follows later.
    pub(crate) fn topology(&mut self, letters: &str) {
        self.world.topology = TopologyState::Current(super::view(letters));
    }

    /// DNS follows the topology, and the pods can be read again.
    pub(crate) fn calm(&mut self) {
        let TopologyState::Current(view) = &self.world.topology else {
            return;
        };
        let names = view.topology.members().map(|(m, _)| m.instance.0.as_str());
        self.dns = names.collect();
        self.flicker = None;
        self.unread.clear();
        self.lag = 0;
        self.deaf = 0;
        self.crash = None;
        self.kube.heals = true;
        self.world.spec.budget.max_connections = None;
    }

    /// The operator begins anew: what it only remembered is gone.
    pub(crate) fn restart(&mut self) {
        self.world.settling = SettlingChanges::default();
        let found = &mut self.world.targets[0];
        found.backoff = None;
        found.evidence.before.clear();
        found.evidence.measured = Measured::default();
        self.read = None;
    }

    fn connect(&mut self, reader: &str, writer: &str) -> Vec<Socket> {
        self.ports = if self.ports > 60_000 {
            1000
        } else {
            self.ports + 20
        };
        let mut to = vec![(reader, READER)];
        if self.both {
            to.push((writer, WRITER));
        }
        if self.strays > 0 {
            to.push((writer, self.strays));
        }
        measured::sockets(self.ports, &to)
    }

    /// What the endpoints lead to now: reader and writer.
    fn answers(&self) -> (String, String) {
        let second = self.now.as_second();
        let readers = if self.dns.len() > 1 {
            &self.dns[1..]
        } else {
            &self.dns
        };
        let turn = usize::try_from(second / CACHED).unwrap() * 7 / 3 % readers.len();
        let reader = readers[turn..=turn].to_owned();
        let flickers = self.flicker.filter(|_| second % 3 == 0);
        let writer = flickers.map_or_else(|| self.dns[..1].to_owned(), String::from);
        (reader, writer)
    }

    /// Every pod opens its pools anew, evenly on `b` and `c`.
    pub(crate) fn reopen(&mut self) {
        let uids: Vec<String> = self.held.keys().cloned().collect();
        for (n, uid) in uids.into_iter().enumerate() {
            let sockets = self.connect(if n % 2 == 0 { "b" } else { "c" }, "a");
            self.held.insert(uid, sockets);
        }
        self.wait(1);
    }

    /// The reader that the pods' endpoint leads to, if `answer` is the cluster's.
    fn reader_of_pods(&self, answer: String) -> String {
        let letter = answer.chars().next();
        if letter != self.left_out || letter.is_none() {
            return answer;
        }
        let mut readers = self.dns.chars().skip(1).filter(|c| Some(*c) != letter);
        let even = self.now.as_second() / CACHED % 2 == 0;
        let other = if even { readers.next() } else { readers.last() };
        other.map_or(answer, String::from)
    }

    /// Lets time pass without the operator.
    pub(crate) fn wait(&mut self, secs: i64) {
        for _ in 0..secs {
            self.now = self.now.saturating_add(seconds(1)).unwrap();
            self.kube.tick(&mut self.world.targets, self.now);
            let (reader, writer) = self.answers();
            let second = self.now.duration_since(at(0)).as_secs();
            measured::looks(&mut self.world, second, &reader, &writer);
            let started: Vec<String> = self
                .pods()
                .iter()
                .filter(|p| p.started.is_some() && !p.terminating)
                .map(|p| p.uid.clone())
                .collect();
            for uid in &started {
                if self.opening.remove(uid) || !self.held.contains_key(uid) {
                    let reader = self.reader_of_pods(reader.clone());
                    let sockets = self.connect(&reader, &writer);
                    self.held.insert(uid.clone(), sockets);
                }
            }
            self.held.retain(|uid, _| started.contains(uid));
            self.past.push((self.now, self.held.clone()));
            if self.past.len() > 6 {
                self.past.remove(0);
            }
            self.probe();
        }
    }

    /// Reads the pods, if somebody waits for that or the last time is long ago.
    fn probe(&mut self) {
        let due = |at: Timestamp| self.now.duration_since(at) >= seconds(HEARTBEAT);
        if !self.wanted && !self.read.is_none_or(due) {
            return;
        }
        self.read = Some(self.now);
        let behind = usize::try_from(self.lag).unwrap();
        let Some((at, held)) = self.past.iter().rev().nth(behind) else {
            return;
        };
        let pods = &mut self.world.targets[0].evidence.measured.pods;
        pods.retain(|uid, _| held.contains_key(uid));
        for (uid, sockets) in held {
            let reading = if self.unread.contains(uid) {
                let why = Unreadable::new(UnreadableReason::Timeout, "no answer");
                PodMeasurement::Unreadable { at: *at, why }
            } else {
                let sockets = sockets.as_slice().into();
                PodMeasurement::Read(PodReading { at: *at, sockets })
            };
            pods.insert(uid.clone(), reading);
        }
    }

    /// One pass: observe, validate, plan, apply, report.
    pub(crate) fn pass(&mut self) -> Plan {
        let mark = self.world.policy.mark();
        let stamps = self.pods().iter().filter_map(|p| p.stamp.as_ref());
        self.world.highest_stamp = stamps.filter(|s| s.policy == mark).map(|s| s.epoch).max();
        let plan = plan(&self.world, &parse_policy(&self.world), self.now);
        if let Some(recorder) = &mut self.recorder {
            recorder.record_plan(&plan, self.now);
        }
        let crash = self.crash.take();
        self.tell(&plan, crash);
        self.go_by(&plan);
        self.check(&plan);
        self.wanted = plan.targets[0].max_reading_age.is_some();
        let mut status = plan.status.clone();
        match &plan.targets[0].step {
            Some(Step::Pods { pods, stamp, .. }) => {
                if !self.recycle(pods, stamp, crash) {
                    self.restart();
                    return plan;
                }
                let second = Timestamp::from_second(self.now.as_second()).unwrap();
                let run = status.targets[0].run.as_mut().unwrap();
                run.last_step_time = Some(super::Time(second));
            }
            Some(Step::Stamp { pods, stamp }) => {
                for PodKey { uid, version, .. } in pods {
                    let serial = self.kube.next();
                    let pod = self.pod(uid);
                    assert_eq!(pod.resource_version, *version);
                    pod.resource_version = format!("rv{serial}");
                    pod.stamp = Some(stamp.clone());
                }
            }
            Some(Step::Rollout { .. }) => panic!("no such method here"),
            None => {}
        }
        if let Some(opening) = &plan.open {
            if crash == Some(Crash::BeforeEvent) {
                self.restart();
                return plan;
            }
            let created = Timestamp::from_second(self.now.as_second()).unwrap();
            let created = *self.events.entry(opening.note.clone()).or_insert(created);
            let time = created.saturating_add(seconds(1)).unwrap();
            open_epoch(&mut status, opening.epoch, time);
        }
        if crash == Some(Crash::BeforeStatus) {
            self.restart();
            return plan;
        }
        self.world.status = status;
        self.world.settling = plan.settling.clone();
        plan
    }

    fn tell(&self, plan: &Plan, crash: Option<Crash>) {
        if !self.told {
            return;
        }
        let part = &plan.targets[0];
        let takes: Vec<String> = pods_of(part.step.as_ref())
            .iter()
            .map(|s| format!("{} {}", s.name, s.claim))
            .collect();
        println!(
            "{} {} {:?} takes {takes:?} crash {crash:?} {:?} totals {:?}",
            self.now.duration_since(at(0)),
            part.action,
            part.held.as_ref().map(|h| (h.gate, &h.message)),
            plan.status.targets[0]
                .run
                .as_ref()
                .map(|r| (r.epoch, r.result)),
            self.totals(),
        );
    }

    fn pod(&mut self, uid: &str) -> &mut PodFacts {
        let pods = &mut self.world.targets[0].pods;
        pods.iter_mut().find(|p| p.uid == uid).unwrap()
    }

    fn recycle(&mut self, pods: &[PodStep], stamp: &Stamp, crash: Option<Crash>) -> bool {
        if crash == Some(Crash::BeforeClaim) {
            return false;
        }
        for step in pods {
            let reading = self.reading(&step.uid).map(<[Socket]>::to_vec);
            if let Some(sockets) = reading {
                let before = &mut self.world.targets[0].evidence.before;
                before.insert(step.uid.clone(), sockets.into());
            }
        }
        for (index, step) in pods.iter().enumerate() {
            let serial = self.kube.next();
            let pod = self.pod(&step.uid);
            assert_eq!(pod.resource_version, step.resource_version);
            pod.resource_version = format!("rv{serial}");
            // As written and read back: whole seconds.
            pod.claim = Claim::parse(&step.claim.to_string());
            // A later attempt keeps the mark of the first.
            if step.claim.attempt == Attempt::First || pod.since_claim.is_none() {
                let claim = pod.claim.as_ref();
                pod.since_claim = claim.map(|c| since_claim(c, pod.ready));
            }
            pod.moved = step
                .moved
                .as_ref()
                .and_then(|m| MoveCounter::parse(&m.to_string()));
            if crash == Some(Crash::BeforeEffect) {
                return false;
            }
            let run = self.world.status.targets[0].run.as_ref().unwrap();
            let key = (step.uid.clone(), run.start_time.0);
            let tries = self.effects.entry(key).or_default();
            *tries += 1;
            assert!(
                *tries <= 3,
                "{} is recycled {tries} times in a run",
                step.name
            );
            if step.method == Method::Evict {
                let now = self.now;
                let found = &mut self.world.targets[0].pods;
                let pod = found.iter_mut().find(|p| p.uid == step.uid).unwrap();
                self.kube.delete(pod, now);
                continue;
            }
            if self.deaf == 0 || !index.is_multiple_of(self.deaf) {
                self.opening.insert(step.uid.clone());
            }
            if crash == Some(Crash::BeforeStamp) {
                return false;
            }
            let serial = self.kube.next();
            let pod = self.pod(&step.uid);
            pod.resource_version = format!("rv{serial}");
            pod.claim = None;
            pod.stamp = Some(stamp.clone());
            pod.recycles = step.recycles;
            pod.has_topology = true;
        }
        true
    }

    /// Takes the topology that the plan goes by: one that has just settled counts at once.
    fn go_by(&mut self, plan: &Plan) {
        let settled = plan.status.topology.as_ref().unwrap();
        self.previous_writer.clone_from(&settled.previous_writer);
        self.settled = recorded_topology(settled).unwrap();
    }

    /// Passes for so long, each second while something happens, else when it is due. Returns the last plan.
    pub(crate) fn settle(&mut self, most: i64) -> Plan {
        let end = self.now.saturating_add(seconds(most)).unwrap();
        loop {
            let before = (self.world.status.clone(), self.pods().to_vec());
            let plan = self.pass();
            if self.now >= end {
                return plan;
            }
            let same = before == (self.world.status.clone(), self.pods().to_vec());
            let heartbeat = self.now.saturating_add(seconds(HEARTBEAT)).ok();
            let next = [plan.wake, self.kube.next_event(self.now), heartbeat];
            let next = next.into_iter().flatten().min().unwrap_or(end).min(end);
            let gap = next.duration_since(self.now).as_secs();
            self.wait(if same && !self.wanted { gap.max(1) } else { 1 });
        }
    }
}
