//! Random worlds from a tape of bytes: zero is the simplest choice, so that proptest shrinks
//! towards a quiet world.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::{at, claim, dns_view, found, stamp, target, unseen, verify, view};
use crate::epochs::record_topology;
use crate::world::{
    EffectBackoff, TargetOverlap, TargetWorld, TopologyError, TopologyState, World,
};
use dbbalance_api::spec::{DnsSpec, Fallback, Method, Mode, OnTimeout, TargetSpec};
use dbbalance_api::status::{PendingEpochStatus, RunResult, RunStatus, TargetStatus, Trigger};
use dbbalance_core::budget::Load;
use dbbalance_core::stamp::{Attempt, PolicyMark};
use dbbalance_core::workload::RolloutStrategy;

const METHODS: [Method; 5] = [
    Method::Signal,
    Method::Evict,
    Method::Http,
    Method::Rollout,
    Method::Annotate,
];
const TRIGGERS: [Trigger; 5] = [
    Trigger::ReaderAdded,
    Trigger::Failover,
    Trigger::Manual,
    Trigger::ReaderRemoved,
    Trigger::Replaced,
];
const TOPOLOGIES: [&str; 6] = ["abc", "abcd", "bac", "ab", "a", "cdef"];
/// The time at which a random world is looked at.
pub(crate) const NOW: i64 = 1000;

/// Bytes to choose by; past its end all is zero.
pub(crate) struct Tape<'a> {
    bytes: &'a [u8],
    next: usize,
}

impl<'a> Tape<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0 }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(byte) % n
    }

    /// True once in `n`, never at the end of the tape.
    pub(crate) fn rare(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    pub(crate) fn of<T: Clone>(&mut self, all: &[T]) -> T {
        let n = self.below(all.len());
        all[n].clone()
    }

    /// A time before now, or seldom after it.
    fn time(&mut self) -> Timestamp {
        at(NOW - self.of(&[20, 5, 0, 45, 90, 400, 899, 901, 3000, -30]))
    }

    fn epoch(&mut self) -> i64 {
        self.of(&[3, 2, 1, 4])
    }
}

/// A target's spec.
pub(crate) fn target_spec(tape: &mut Tape, name: &str) -> TargetSpec {
    let mut spec = target(name, tape.of(&METHODS));
    match spec.recycle.method {
        Method::Signal | Method::Http if tape.rare(3) => {
            spec.recycle.fallback = Some(Fallback::Evict);
        }
        _ => {}
    }
    if tape.rare(4) {
        spec.recycle.allow_single_replica = Some(true);
    }
    if tape.rare(5) {
        spec.pools.remove(tape.below(2));
    }
    if tape.rare(6) && spec.recycle.method != Method::Rollout {
        spec.workload_ref = None;
        spec.selector = Some(LabelSelector::default());
    }
    spec
}

/// A whole world.
pub(crate) fn world(bytes: &[u8]) -> World {
    let tape = &mut Tape::new(bytes);
    let count = 1 + tape.below(3);
    let targets = (0..count)
        .map(|n| target_spec(tape, &format!("t{n}")))
        .collect();
    let mut world = unseen(targets, 0);
    world.spec.pacing.max_unavailable = tape.of(&[
        IntOrString::String("25%".into()),
        IntOrString::Int(1),
        IntOrString::Int(4),
        IntOrString::String("100%".into()),
    ]);
    world.spec.pacing.interval_seconds = tape.of(&[10, 1, 60]);
    if tape.rare(3) {
        world.spec.budget.max_connections = Some(tape.of(&[400, 100, 20, 200, 1]));
    }
    standing(tape, &mut world);
    world.topology = match tape.below(12) {
        10 => TopologyState::Pending,
        11 => TopologyState::Failing {
            error: TopologyError {
                reason: "Throttled",
                message: "throttled".into(),
            },
            last: Some(view("abc")),
        },
        _ => TopologyState::Current(view(tape.of(&TOPOLOGIES))),
    };
    if tape.rare(8) {
        for facts in reading_facts(&mut world) {
            facts.class = None;
        }
    }
    world.peers.running = tape.of(&[0, 1, 2, 3]);
    world.peers.held.estimated = Load {
        reader: tape.of(&[0, 100, 1000]),
        writer: tape.of(&[0, 50]),
    };
    world.peers.in_flight.reader = tape.of(&[0, 10, 100]);
    for index in 0..count {
        let name = format!("t{index}");
        world.targets[index] = target_world(tape, &name);
        if world.spec.targets[index].workload_ref.is_none() {
            world.targets[index].workload = None;
        }
    }
    if !tape.rare(12) {
        status(tape, &mut world);
    }
    dns(tape, &mut world);
    world
}

/// Looks at both endpoints, and what happens when they do not follow.
fn dns(tape: &mut Tape, world: &mut World) {
    if tape.rare(2) {
        world.spec.dns = DnsSpec::default();
        world.spec.dns.timeout_seconds = tape.of(&[300, 0, 20]);
        world.spec.dns.on_timeout = tape.of(&[OnTimeout::Hold, OnTimeout::Proceed]);
    }
    let writer = tape.of(&["bbbbbbbb", "", "aaaabbbb", "--------", "cccccccc"]);
    let reader = tape.of(&["bcbdbcbc", "", "cccccccc", "--------", "zzbbbbbb"]);
    let end = tape.of(&[NOW, NOW - 4, NOW - 60]);
    world.dns = Arc::new(dns_view(end, writer, reader));
}

fn reading_facts(
    world: &mut World,
) -> impl Iterator<Item = &mut dbbalance_core::topology::MemberFacts> {
    match &mut world.topology {
        TopologyState::Current(view) => Some(view.facts.values_mut()),
        TopologyState::Pending | TopologyState::Failing { .. } => None,
    }
    .into_iter()
    .flatten()
}

/// What stands above all targets: mode, pauses, windows, rights, a token.
pub(crate) fn standing(tape: &mut Tape, world: &mut World) {
    match tape.below(24) {
        23 => world.spec.mode = Mode::Observe,
        22 => world.spec.suspend = true,
        21 => world.policy.pause_until = Some("2099-01-01T00:00:00Z".into()),
        20 => world.policy.pause_until = Some("tomorrow".into()),
        19 => world.policy.pause_until = Some("1999-01-01T00:00:00Z".into()),
        18 => world.role_allowed = false,
        17 => {
            world.overlaps = vec![TargetOverlap {
                first: "t0".into(),
                second: "t1".into(),
                pod: "p".into(),
            }];
        }
        16 => {
            let window = json!({ "name": "w", "type": "Deny", "schedule": "* * * * *", "durationSeconds": 60 });
            world.spec.windows = vec![serde_json::from_value(window).unwrap()];
        }
        15 => world.policy.token = Some("again".into()),
        14 => world.policy.generation = Some(2),
        13 => world.highest_stamp = Some(7),
        12 => world.spec.triggers.failover.settle_seconds = 60,
        11 => world.spec.triggers.failover.enabled = false,
        10 => world.signal_allowed = false,
        _ => {}
    }
}

fn target_world(tape: &mut Tape, name: &str) -> TargetWorld {
    let pods = tape.of(&[4, 8, 1, 2, 12, 0]);
    let mut found = found(name, pods);
    for pod in &mut found.pods {
        random_pod(tape, pod);
    }
    let up = found.pods.iter().filter(|p| !p.terminating).count();
    if let Some(workload) = &mut found.workload {
        workload.present = up;
        workload.updated = up;
        match tape.below(16) {
            15 => workload.wanted += 2,
            14 => workload.updated /= 2,
            13 => workload.paused = true,
            12 => workload.observed = false,
            11 => workload.strategy = RolloutStrategy::Recreate,
            10 => workload.owner = Some("Foo bar".into()),
            9 => workload.ignored = true,
            8 => workload.template_stamp = Some(stamp(3)),
            7 => workload.template_stamp = Some(stamp(2)),
            6 => workload.wanted = workload.wanted.saturating_sub(1),
            _ => {}
        }
    }
    match tape.below(16) {
        15 => found.workload = None,
        14 => found.owned_by = Some("older".into()),
        13 => {
            found.backoff = Some(EffectBackoff {
                gate: crate::Gate::DisruptionBudget,
                message: "429".into(),
                until: at(NOW + 5),
            });
        }
        _ => {}
    }
    found
}

fn random_pod(tape: &mut Tape, facts: &mut dbbalance_core::pod::PodFacts) {
    match tape.below(32) {
        31 => facts.ready = false,
        30 => facts.terminating = true,
        29 => facts.finished = true,
        28 => facts.ignored = true,
        27 => {
            facts.ready = false;
            facts.started = None;
        }
        26 => facts.created = tape.time(),
        25 => facts.started = Some(tape.time()),
        24 => facts.template = "t2".into(),
        23 | 22 => facts.stamp = Some(stamp(tape.epoch())),
        14..=21 => {
            facts.claim = Some(claim(tape.epoch(), 1, 0));
            facts.claim.as_mut().unwrap().attempt =
                Attempt::from_number(tape.of(&[1, 2, 3, 4, 5, 9])).unwrap();
            facts.claim.as_mut().unwrap().time = tape.time();
            if tape.rare(6) {
                facts.claim.as_mut().unwrap().policy = PolicyMark::from_uid("somebody");
            }
        }
        13 => {
            facts.stamp = Some(stamp(tape.epoch()));
            facts.stamp.as_mut().unwrap().policy = PolicyMark::from_uid("somebody");
        }
        _ => {}
    }
}

fn status(tape: &mut Tape, world: &mut World) {
    let status = &mut world.status;
    status.epoch = Some(3);
    status.topology = Some(record_topology(&view(tape.of(&TOPOLOGIES)).topology));
    if tape.rare(10) {
        status.topology = None;
    }
    if tape.rare(8) {
        status.pending_epoch = Some(PendingEpochStatus {
            epoch: 4,
            fingerprint: "abcd".into(),
            triggers: vec![tape.of(&TRIGGERS)],
            targets: vec!["t0".into()],
            message: "x".into(),
            added: vec![tape.of(&["d", "b", "z"]).into()],
            settled_time: (!tape.rare(4)).then(|| Time(tape.time())),
            waiting_for: tape.rare(3).then(|| "DNS".into()),
            timed_out: tape.rare(4),
        });
    }
    if tape.rare(10) {
        status.reader_changes = super::restless_readers(at(396));
    }
    for index in 0..world.spec.targets.len() {
        let spec = &world.spec.targets[index];
        let entry = target_status(tape, spec);
        world.status.targets.push(entry);
    }
    let before = world.status.targets.clone();
    verify(world);
    for (target, before) in world.status.targets.iter_mut().zip(before) {
        if tape.rare(3) {
            target.method_verified = None;
        }
        if tape.rare(16) {
            *target = TargetStatus::default();
            target.name = before.name;
        }
    }
}

fn target_status(tape: &mut Tape, spec: &TargetSpec) -> TargetStatus {
    let due = tape.of(&[3, 2, 1]);
    let mut entry = TargetStatus {
        name: spec.name.clone(),
        reference: crate::policy::describe_reference(spec),
        owned: !tape.rare(16),
        baseline_epoch: 1,
        due_epoch: due,
        open_time: Some(Time(at(NOW - tape.of(&[100, 2, 35, 2000])))),
        triggers: vec![tape.of(&TRIGGERS)],
        fingerprint: "ffff".into(),
        ..TargetStatus::default()
    };
    if tape.rare(3) {
        entry.urgent_epoch = tape.of(&[3, 2]).min(due);
        entry.urgent_open_time = entry.open_time.clone();
    }
    if tape.rare(6) {
        entry.last_run_end_time = Some(Time(tape.time()));
    }
    if !tape.rare(6) {
        entry.run = Some(run(tape, spec, due));
    }
    entry
}

fn run(tape: &mut Tape, spec: &TargetSpec, due: i64) -> RunStatus {
    let epoch = if tape.rare(6) { due - 1 } else { due };
    let result = match tape.below(12) {
        11 => RunResult::Halted,
        10 => RunResult::Succeeded,
        9 => RunResult::Superseded,
        _ => RunResult::Running,
    };
    RunStatus {
        target: spec.name.clone(),
        epoch,
        triggers: vec![Trigger::ReaderAdded],
        start_time: Time(at(NOW - 90)),
        last_progress_time: Time(tape.time()),
        end_time: (result != RunResult::Running).then(|| Time(at(NOW - 10))),
        last_step_time: (!tape.rare(4)).then(|| Time(tape.time())),
        pods: 4,
        ready: tape.of(&[4, 1, 8]),
        stale: 4,
        template_generation: (tape.rare(6)).then(|| tape.of(&[1, 0, 2])),
        recycled: tape.of(&[0, 2]),
        failed: tape.of(&[0, 1]),
        result,
        message: None,
        resumed_time: (tape.rare(6)).then(|| Time(tape.time())),
        halted_generation: (result == RunResult::Halted).then_some(1),
        halted_reason: None,
        retry_time: None,
        retries: 0,
    }
}
