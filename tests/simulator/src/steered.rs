//! The rule at work: a controller that measures, looks up, decides by `domain/balance`, and acts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};

use crate::case::{Landing, LookUps, SimulationCase};
use crate::dns::Millis;
use crate::narrowed::NarrowedName;
use crate::world::SimulatedWorld;
use dbbalance_api::rebalance_state::RebalanceState;
use dbbalance_api::spec::{BalanceSpec, InstanceWeight};
use dbbalance_core::balance::{
    self, Decision, EndpointAnswer, Holdings, Inputs, OtherConnections, PodView, Pools, Reach,
    Settings,
};
use dbbalance_core::topology::{InstanceId, MemberId, ResourceId, Topology};
use dbbalance_core::weights::{ReaderFacts, ReaderWeights};

/// A run that takes longer has not ended.
pub const DEADLINE: Millis = 3_600_000;

const SECOND: Millis = 1_000;

struct Controller<'a> {
    case: &'a SimulationCase,
    reach: Reach,
    settings: &'a Settings,
    look_ups: LookUps,
    topology: Topology,
    weights: ReaderWeights,
    names: Vec<InstanceId>,
    memory: RebalanceState,
    looks: VecDeque<EndpointAnswer>,
    views: BTreeMap<String, (Holdings, Millis)>,
    reading: Option<Millis>,
    name: Option<NarrowedName>,
}

/// How a steered run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The rule said `Balanced`.
    Balanced,
    /// The rule gave up.
    GaveUp,
    /// Neither in an hour.
    Deadline,
}

/// Runs the rule until it says that it has ended.
pub fn recycle_steered(
    case: &SimulationCase,
    world: &mut SimulatedWorld,
    reach: Reach,
    settings: &Settings,
    look_ups: LookUps,
    landing: Option<Landing>,
) -> End {
    let names: Vec<InstanceId> = (0..case.after)
        .map(|i| InstanceId(format!("reader-{i:02}")))
        .collect();
    let name = landing.map(|l| NarrowedName::new(&names, l.hold_seconds, l.is_cached, reach));
    let interval = if name.is_some() { SECOND / 2 } else { SECOND };
    let mut controller = Controller {
        case,
        reach,
        settings,
        look_ups,
        topology: reader_topology(&names),
        weights: weigh_readers(&names, &case.weights),
        names,
        memory: RebalanceState::default(),
        looks: VecDeque::new(),
        views: BTreeMap::new(),
        reading: None,
        name,
    };
    let mut tick = world.began;
    while world.now < world.began + DEADLINE {
        let decision = controller.decide(world);
        if decision.memory.episode.is_none() {
            if decision.verdict.is_balanced() {
                return End::Balanced;
            }
            if decision.memory.gave_up.is_some() {
                return End::GaveUp;
            }
        }
        controller.act(world, decision);
        let next = controller.reading.map_or(tick, |done| done.min(tick));
        if world.run_to(next.max(world.now)) {
            continue;
        }
        if controller.reading.is_some_and(|done| done <= world.now) {
            controller.read(world);
        }
        if tick <= world.now {
            controller.look_up(world);
            tick += interval;
        }
    }
    End::Deadline
}

fn reader_topology(names: &[InstanceId]) -> Topology {
    let member = |name: &InstanceId| MemberId {
        instance: name.clone(),
        resource: ResourceId(format!("db-{}", name.0)),
    };
    Topology {
        arn: "arn".into(),
        resource: ResourceId("cluster".into()),
        writer: member(&InstanceId("writer".into())),
        readers: names.iter().map(member).collect::<BTreeSet<_>>(),
    }
}

/// The weights of the readers, in their order; those that are not given are 100.
fn weigh_readers(names: &[InstanceId], weights: &[i32]) -> ReaderWeights {
    let told = names
        .iter()
        .zip(weights)
        .map(|(name, weight)| InstanceWeight {
            instance: name.0.clone(),
            weight: *weight,
        });
    let spec = BalanceSpec {
        weights: told.collect(),
        ..BalanceSpec::default()
    };
    let readers = names.iter().map(|instance| ReaderFacts {
        instance,
        class: None,
        came: None,
    });
    ReaderWeights::compute(
        &spec,
        &readers.collect::<Vec<_>>(),
        &[],
        Timestamp::UNIX_EPOCH,
    )
}

fn simulated_time(at: Millis) -> Timestamp {
    let ms = i64::try_from(at).unwrap_or(i64::MAX);
    Timestamp::UNIX_EPOCH
        .saturating_add(SignedDuration::from_millis(ms))
        .unwrap_or(Timestamp::MAX)
}

impl Controller<'_> {
    fn decide(&self, world: &SimulatedWorld) -> Decision {
        let pods: Vec<PodView> = world
            .pods
            .iter()
            .filter(|p| !p.is_gone)
            .map(|p| {
                let view = self.views.get(&p.id);
                PodView {
                    id: p.id.clone(),
                    node: Some(node_name(p.node)),
                    holds: view.map(|(holds, _)| holds.clone()),
                    read_at: view.map(|(_, at)| simulated_time(*at)),
                    ready: true,
                    in_flight: p.is_away,
                    started: None,
                    last_recycled: p.recycled.map(simulated_time),
                    recycles: p.recycles,
                    movable: true,
                    before_failover: false,
                    stale: false,
                }
            })
            .collect();
        let looks: Vec<EndpointAnswer> = self.looks.iter().cloned().collect();
        balance::decide_balance(&Inputs {
            now: simulated_time(world.now),
            topology: &self.topology,
            leaving: &BTreeSet::new(),
            previous_writer: None,
            weights: &self.weights,
            others: &OtherConnections::default(),
            pools: Pools::Reader,
            pods: &pods,
            looks: &looks,
            writer_looks: &[],
            free: self.case.max_unavailable().saturating_sub(world.away()),
            canary: false,
            event: Some(simulated_time(world.began)),
            reach: self.reach,
            name: self
                .name
                .as_ref()
                .map(|n| n.lead(simulated_time(world.now))),
            settings: self.settings,
            memory: &self.memory,
            scope: "",
            recent_change: false,
        })
    }

    fn act(&mut self, world: &mut SimulatedWorld, decision: Decision) {
        self.memory = decision.memory;
        if let Some(name) = &mut self.name {
            let now = simulated_time(world.now);
            let has_batch = self.memory.batch.is_some();
            name.steer(decision.receiver.as_ref(), has_batch, &mut world.dns, now);
        }
        for id in decision.urgent.iter().chain(&decision.moves) {
            let Some(pod) = world.pods.iter().position(|p| p.id == *id) else {
                continue;
            };
            if matches!(self.reach, Reach::Slow { .. }) {
                world.evict(pod);
            } else {
                world.signal(pod);
            }
        }
        let idle = self.reading.is_none();
        if idle && (decision.measure || self.views.is_empty()) {
            let takes = world.rng.u64(1_000..=3_000);
            self.reading = Some(world.now + takes);
        }
    }

    fn read(&mut self, world: &SimulatedWorld) {
        self.reading = None;
        self.views = world
            .pods
            .iter()
            .filter(|p| !p.is_gone)
            .map(|p| {
                let by_instance = self.names.iter().cloned().zip(p.held.iter().copied());
                let holds = Holdings {
                    by_instance: by_instance.filter(|(_, n)| *n > 0).collect(),
                    ..Holdings::default()
                };
                (p.id.clone(), (holds, world.now))
            })
            .collect();
    }

    fn look_up(&mut self, world: &mut SimulatedWorld) {
        if let Some(name) = &mut self.name {
            let now = simulated_time(world.now);
            return name.look_up(&mut world.dns, world.now, now, &mut world.rng);
        }
        if self.reach == Reach::Unseen {
            return;
        }
        let places: Vec<(usize, Option<String>)> = match self.look_ups {
            LookUps::Own => vec![(0, None); self.settings.looks],
            LookUps::InPod => (0..self.case.nodes())
                .map(|n| (n, Some(node_name(n))))
                .collect(),
        };
        let old = world.now.saturating_sub(3 * SECOND);
        while self
            .looks
            .front()
            .is_some_and(|l| l.at < simulated_time(old))
        {
            self.looks.pop_front();
        }
        for (at, via) in places {
            let answer = world.dns.ask(at, world.now, &mut world.rng);
            self.looks.push_back(EndpointAnswer {
                at: simulated_time(world.now),
                instance: self.names.get(answer).cloned(),
                via,
            });
        }
    }
}

fn node_name(n: usize) -> String {
    format!("node-{n:03}")
}
